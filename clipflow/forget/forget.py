"""The main flow of forgetting: tombstones ▸ delete ▸ wait ▸ erase ▸ verify ▸ receipt.

Tombstones come first, so that nothing returns while the rest is done. All of them are acted upon, not only
those of this call: whatever a deletion that was killed left behind, the next one finds and finishes.
"""

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import lance

from clipflow.errors import ClipflowError, NotErased, StillRunning, TableError, UsageError
from clipflow.forget.delete import Deleted, delete, forgotten_now
from clipflow.forget.erase import Erased, erase
from clipflow.forget.files import TableFiles
from clipflow.forget.receipt import Receipt
from clipflow.forget.requests import Requests, gather_requests
from clipflow.forget.secrets import Secrets, gather_secrets
from clipflow.forget.verify import Search, verify
from clipflow.forget.waiting import wait_for_others
from clipflow.report import RunReport
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.forgotten import add_forgotten, read_forgotten
from clipflow.table.images import about_images, open_images
from clipflow.table.runs import Operation, record

log = logging.getLogger("clipflow")

WAIT_SECONDS = 60.0
_ROUNDS = 3
_NOTED = ("requests", "forgotten", "also_held", "versions_removed", "files_removed", "verified", "pending")
_STEPS = ("delete", "wait", "erase", "verify", "total")


def forget(
    table: str,
    *,
    uris: Sequence[str] = (),
    sha256: Sequence[str] = (),
    where: str | None = None,
    listed: str | None = None,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    wait: float = WAIT_SECONDS,
    storage: StorageSpec | None = None,
) -> Receipt:
    """Remove rows for good, so that no later run brings them back. May be killed at any moment and called again.

    Args:
        uris: Addresses of images; of each the row goes.
        sha256: Hashes of bytes; all rows with those bytes go.
        where: An SQL condition on the table's columns; the rows that meet it go, by their addresses.
        listed: A path, an s3:// URI or `env:NAME` of a list, see `requests.gather_requests`.
        older_than: Rows whose source is older go, without a tombstone: newer uploads under their addresses are welcome.
        dry_run: Only say how many rows would go, and write nothing.
        wait: Seconds to wait for operations that began before.

    Raises:
        UsageError: The call is wrong; nothing was written.
        StillRunning: The rows are gone, and nothing brings them back; files are not erased yet.
        NotErased: A file holds what was forgotten after all.
        OperationClosed, CommitContention, StorageUnavailable: See `clipflow.errors`.
    """
    if wait < 0:
        raise UsageError(f"wait is {wait:g} seconds; it must be 0 or more.", "Give --wait 60s.")
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    about = about_images(dataset)
    before = None if older_than is None else _before(older_than)
    _refuse_branches(dataset)
    requests = gather_requests(
        dataset,
        address.storage,
        uris=uris,
        sha256=sha256,
        where=where,
        listed=listed,
        by_age=before is not None,
    )
    version = int(dataset.version)
    receipt = Receipt(address.uri, version, version, sum(requests.counts().values()))
    if dry_run:
        there = read_forgotten(address)
        _foresee(dataset, Secrets(there | requests.tombstones, requests.uris, before), receipt)
        return receipt
    receipt.run_id = uuid.uuid4().hex
    clock = RunReport(receipt.run_id, receipt.table, version)
    spec = {
        "table": {"uri": receipt.table},
        "requests": requests.counts(),
        "wait": wait,
        "before": before and before.isoformat(),
    }
    try:
        with Operation(address, record("forget", receipt.run_id, spec, about), clock) as operation:
            operation.open()
            secrets = _bury(address, requests, operation, before)
            _forget(address, secrets, operation, receipt, clock, wait)
    except ClipflowError as error:
        error.report = receipt.document()
        raise
    return receipt


def _bury(address: TableAddress, requests: Requests, operation: Operation, before: datetime | None) -> Secrets:
    return Secrets(add_forgotten(address, requests.tombstones, operation), requests.uris, before)


def _before(age: timedelta) -> datetime:
    if age <= timedelta(0):
        raise UsageError(f"older_than is {age}; it must be more than nothing.", "Give --older-than 30d.")
    return datetime.now(UTC) - age


def _forget(
    address: TableAddress, secrets: Secrets, operation: Operation, receipt: Receipt, clock: RunReport, wait: float
) -> None:
    try:
        with clock.clock("delete"):
            deleted = delete(address, secrets, operation)
            _count(deleted, receipt, clock)
        with clock.clock("wait"):
            receipt.pending = wait_for_others(address, operation, wait)
        if receipt.pending:
            raise StillRunning(
                f"{receipt.forgotten} rows are gone and stay away, but operations that began before are at work "
                f"({', '.join(receipt.pending)}): files are not erased yet.",
                "Call it again when they have ended, or with a longer --wait.",
            )
        with clock.clock("delete"):
            # Once more: an operation that was closed just now may still stand before its commit, which this fails.
            more = delete(address, secrets, operation)
            _count(more, receipt, clock)
            deleted.vectors |= more.vectors
        search = _erase_and_verify(TableFiles(address), secrets, operation, receipt, clock)
        receipt.also_held = sum(number in search.held for number in deleted.vectors.values())
    finally:
        clock.version = receipt.version = int(open_images(address).version)
        clock.end()
        receipt.seconds = {step: round(clock.seconds[step], 3) for step in _STEPS}
        operation.note(**{name: getattr(receipt, name) for name in _NOTED})
    if not receipt.verified:
        raise NotErased(
            f"{len(receipt.found)} files under {address.uri} still hold what was forgotten, "
            f"{next(iter(receipt.found))} among them.",
            "Call it again; if it stays, remove what other programs left in that folder.",
        )


def _erase_and_verify(
    files: TableFiles, secrets: Secrets, operation: Operation, receipt: Receipt, clock: RunReport
) -> Search:
    with clock.clock("verify"):
        gather_secrets(files, secrets)
    erased = Erased()
    for turn in range(_ROUNDS):
        with clock.clock("erase"):
            erase(files, secrets, operation, erased)
            receipt.erase(erased)
        with clock.clock("verify"):
            search = verify(files, secrets)
            receipt.verify(search)
        log.info("forget: %d files read, %d still hold something", search.files, len(search.found))
        # A job beside us may have staged what it had fetched before; its commit drops it, and the next turn finds it.
        if receipt.verified or turn == _ROUNDS - 1:
            break
    return search


def _count(deleted: Deleted, receipt: Receipt, clock: RunReport) -> None:
    receipt.forgotten += len(deleted.vectors)
    clock.outcomes["forgotten"] = receipt.forgotten
    log.info("forget: %d rows deleted", len(deleted.vectors))


def _foresee(dataset: lance.LanceDataset, secrets: Secrets, receipt: Receipt) -> None:
    receipt.dry_run = True
    deleted = forgotten_now(dataset, secrets)
    receipt.forgotten = len(deleted.vectors)
    search = Search(secrets)
    search.data("", dataset.scanner(columns=[*secrets.key_columns, "vector"]).to_batches())
    receipt.also_held = sum(number in search.held for number in deleted.vectors.values())


def _refuse_branches(dataset: lance.LanceDataset) -> None:
    if branches := sorted(dataset.branches.list()):
        raise TableError(
            f"{dataset.uri} has branches ({', '.join(branches)}), which keep rows that the table forgets.",
            "Remove them first, with `dataset.branches.delete(NAME)`.",
        )
