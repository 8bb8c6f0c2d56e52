"""`clipflow forget`: delete images for good, with a receipt."""

import argparse
from datetime import timedelta
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb
from clipflow.errors import UsageError


def add(verbs: Any) -> None:
    """The verb."""
    forget = add_verb(
        verbs,
        "forget",
        "delete images for good, with a receipt",
        _forget,
        "Remove rows from every file under a table, old versions and indexes included, and see to it that no later\n"
        "run brings them back. What was asked for is kept as hashes only. It may run beside jobs, be killed at any\n"
        "moment and be called again. Each kind of request adds to the others.",
    )
    add_table(forget)
    forget.add_argument("--uri", nargs="+", action="extend", default=[], metavar="URI", help="addresses of images")
    forget.add_argument(
        "--sha256", nargs="+", action="extend", default=[], metavar="HEX", help="bytes, under whatever address"
    )
    forget.add_argument("--where", metavar="SQL", help="rows that meet a condition on the table's columns")
    forget.add_argument(
        "--from",
        dest="listed",
        metavar="FILE",
        help="a path, an s3:// URI or env:NAME; one URI, sha256:HEX or image_id a line",
    )
    forget.add_argument(
        "--older-than",
        metavar="DURATION",
        help="rows whose source is older, e.g. 30d; newer uploads under their addresses are welcome",
    )
    forget.add_argument("--dry-run", action="store_true", help="say how many rows would go, and write nothing")
    forget.add_argument(
        "--wait",
        default="60s",
        metavar="DURATION",
        help="how long to wait for operations that began before, e.g. 90s or 10m (default 60s)",
    )


def _forget(call: argparse.Namespace) -> Answer:
    from clipflow.forget.forget import forget

    receipt = forget(
        call.table,
        uris=call.uri,
        sha256=call.sha256,
        where=call.where,
        listed=call.listed,
        dry_run=call.dry_run,
        older_than=None if call.older_than is None else _duration(call.older_than, "--older-than"),
        wait=_duration(call.wait, "--wait").total_seconds(),
    )
    return receipt.document(), receipt.text()


def _duration(text: str, option: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from clipflow.spec import Duration

    try:
        duration: timedelta = TypeAdapter(Duration).validate_python(f"{text}s" if text.isdecimal() else text)
    except ValidationError:
        raise UsageError(f"{option} {text} is no duration.", "Write it like 90s, 10m, 6h or 30d.") from None
    return duration
