"""The job of a migration: the old table's last job with another encoder, into another table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from clipflow.context import context_given
from clipflow.encoders import describe
from clipflow.errors import JobFileError, UsageError
from clipflow.jobfile import parse_job, read_policy, read_text
from clipflow.migrate.thresholds import carried
from clipflow.spec import JobSpec, PolicySpec, StorageSpec
from clipflow.table.address import SUFFIX, TableAddress
from clipflow.table.dataset import metadata, open_dataset
from clipflow.table.images import about_images, policy_of

_KEPT = ("name", "limits", "compute", "decode", "retention_days")
_SETTABLE = ("encoder.", "limits.", "compute.", "table.vector=", "table.commit_rows=", "decode=", "name=")
ADDRESS, CAPTION, MODIFIED = "source uri", "source caption", "source modified"
"""Columns of the manifest. Attributes have no blanks in their names."""


def job_of(
    address: TableAddress,
    dataset: lance.LanceDataset,
    encoder: str,
    to: str | None,
    policy: str | Path | PolicySpec | None,
    sets: Sequence[str],
    storage: StorageSpec | None,
) -> JobSpec:
    """The whole job but for its source's address, which is another manifest for every interval.

    Args:
        dataset: The old table.
        encoder: The new encoder's model.
        to: The new table; None names it after the old one and the encoder.
        policy: Or where `jobfile.read_policy` finds it. None keeps the new table's, or carries the old one's over.
        sets: Changes as `--set` takes them, of encoder, limits, compute and the like.

    Raises:
        PolicyError: The old policy has rules on vectors, and none is given.
        UsageError: A part of the call is wrong.
    """
    for change in sets:
        if not change.startswith(_SETTABLE) or change.startswith("encoder.model="):
            raise JobFileError(
                f"--set {change.partition('=')[0]}: a migration takes it from the old table.",
                "Keys of encoder, limits and compute, table.vector and table.commit_rows may be set.",
            )
    last = _last_job(address)
    body: dict[str, Any] = {"name": "migrate", **{key: last[key] for key in _KEPT if key in last}}
    body["context"] = context_given()
    body["encoder"] = {"model": encoder}
    body["source"] = _source(dataset, last)
    vector = "float16" if dataset.schema.field("vector").type.value_type == pa.float16() else "float32"
    commit_rows = last.get("table", {}).get("commit_rows")
    body["table"] = {"uri": to or address.images, "vector": vector}
    body["table"] |= {"storage": storage.model_dump()} if storage else {}
    body["table"] |= {"commit_rows": commit_rows} if commit_rows else {}
    body = read_text(json.dumps(body), "the migration", sets).body()
    job = parse_job(body)
    encoder_id = describe(job.encoder, job.decode).encoder_id
    if encoder_id == about_images(dataset)["encoder_id"]:
        raise UsageError(
            f"The vectors of {address.uri} are of this very encoder ({encoder}, {encoder_id[:12]}).",
            "Name another; `clipflow judge` changes a policy.",
        )
    if to is None:
        body["table"]["uri"] = f"{address.images.removesuffix(SUFFIX)}_{encoder_id[:12]}{SUFFIX}"
    new = TableAddress.of(body["table"]["uri"], storage)
    if new.images == address.images:
        raise UsageError(f"{address.uri} is the old table.", "Name another with --table.")
    body["policy"] = _policy(dataset, new, policy).body()
    return parse_job(body)


def _policy(dataset: lance.LanceDataset, new: TableAddress, given: str | Path | PolicySpec | None) -> PolicySpec:
    if isinstance(given, PolicySpec):
        return given
    if given is not None:
        return read_policy(given)
    # What was given once for the new table need not be given again to go on.
    if (there := open_dataset(new)) is not None and "policy" in metadata(there):
        return policy_of(metadata(there))
    return carried(policy_of(about_images(dataset)))


def _source(dataset: lance.LanceDataset, last: dict[str, Any]) -> dict[str, Any]:
    attributes = [name.removeprefix("attr_") for name in dataset.schema.names if name.startswith("attr_")]
    captions = dataset.count_rows("caption IS NOT NULL") > 0
    return {
        "kind": "manifest",
        "uri": "migration.parquet",
        "uri_column": ADDRESS,
        "modified": MODIFIED,
        "attributes": attributes,
        "storage": last.get("source", {}).get("storage", {}),
        **({"caption": CAPTION} if captions else {}),
    }


def _last_job(address: TableAddress) -> dict[str, Any]:
    """The body of the last job that wrote the table; empty when none is recorded."""
    runs = open_dataset(address, address.runs)
    if runs is None:
        return {}
    rows = runs.to_table(columns=["spec", "started_at"], filter="verb = 'run' AND spec IS NOT NULL")
    rows = rows.sort_by([("started_at", "descending")])
    return json.loads(rows.column("spec")[0].as_py()) if len(rows) else {}
