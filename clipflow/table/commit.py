"""The commit of staged rows: who wins, who is forgotten, what may not happen.

Every rule about several writers of one table stands here, so that the main flow does not know them:

- a row of the table that planning saw is replaced; one that another run wrote meanwhile stays
  when its source is newer, or as new and its vector or failure came later;
- a passing failure never replaces a row that has a vector;
- a human's verdict is handed over when the bytes are the same;
- what was forgotten does not return;
- a run whose policy is no longer the table's, or whose row was closed, commits nothing;
- rows staged for another set of columns are staged again.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader

from clipflow.errors import PolicyChanged, StagedFilesGone
from clipflow.failures import PASSING
from clipflow.schema import REVIEW_COLUMNS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import metadata
from clipflow.table.forgotten import Forgotten, read_forgotten
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.runs import Operation
from clipflow.table.stage import KEYS, Receipt, stage_rows, triples_of

_EXISTING = [
    "image_id",
    "run_id",
    "source_modified",
    "embedded_at",
    "status",
    "reasons",
    "content_sha256",
    *REVIEW_COLUMNS,
]
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


@dataclass
class Landed:
    """What a commit came to.

    Attributes:
        version: The table's version that holds it.
        outcomes: Images by what became of them.
        statuses: Rows that were embedded or reused, by verdict.
        reasons: Rule names and failure codes.
    """

    version: int
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def commit_receipts(address: TableAddress, receipts: Sequence[Receipt], operation: Operation, policy_id: str) -> Landed:
    """Make staged rows visible in one version.

    Raises:
        PolicyChanged, OperationClosed, StagedFilesGone, CommitContention: See `clipflow.errors`.
    """
    landed = Landed(0)

    def decide(dataset: lance.LanceDataset) -> Change:
        nonlocal landed
        _check_policy(dataset, policy_id)
        operation.ensure_open()
        landed = Landed(dataset.version)
        decision = _Decision(operation.run_id, _existing(dataset, receipts), read_forgotten(address), landed)
        change = Change()
        for receipt in receipts:
            keep, patches = decision.of(receipt.keys)
            whole = len(keep) == len(receipt.keys) and not patches
            if not keep:
                continue
            _check_files(address, receipt)
            if whole and _fits(receipt, dataset):
                change.new.extend(receipt.fragments)
            else:
                change.new.extend(_stage_again(address, dataset, receipt, keep, patches).fragments)
        change.removed.extend(decision.removed)
        return change

    dataset = guarded_commit(
        address, address.images, decide, {"clipflow.run_id": operation.run_id, "clipflow.verb": "run"}
    )
    landed.version = dataset.version
    return landed


class _Decision:
    """Who wins, row by row, at one version of the table."""

    def __init__(self, run_id: str, existing: dict[str, Row], forgotten: Forgotten, landed: Landed) -> None:
        self._run_id = run_id
        self._existing = existing
        self._forgotten = forgotten
        self._landed = landed
        self._seen: set[str] = set()
        self.removed: list[int] = []

    def of(self, keys: pa.Table) -> tuple[list[int], dict[int, Row]]:
        """The offsets of the rows that land, and the review columns to carry over, by offset."""
        keep: list[int] = []
        patches: dict[int, Row] = {}
        for offset, staged in enumerate(keys.to_pylist()):
            there = self._existing.get(staged["image_id"])
            repeated = staged["image_id"] in self._seen or (there is not None and there["run_id"] == self._run_id)
            self._seen.add(staged["image_id"])
            if repeated:
                # A stage that ran twice; the first of the two was counted.
                continue
            outcome, lands = self._outcome(staged, there)
            if lands:
                keep.append(offset)
                if there is not None:
                    self.removed.append(there["_rowaddr"])
                    if there["reviewed_verdict"] is not None and there["content_sha256"] == staged["content_sha256"]:
                        patches[offset] = {name: there[name] for name in REVIEW_COLUMNS}
                        staged["status"] = there["reviewed_verdict"]
            self._count(outcome, staged)
        return keep, patches

    def _outcome(self, staged: Row, there: Row | None) -> tuple[str, bool]:
        if self._forgotten.covers(staged["image_id"], staged["content_sha256"]):
            return "forgotten", False
        if there is None:
            return staged["outcome"], True
        if there["run_id"] != staged["prior_run_id"] and _age(there) >= _age(staged):
            return "unchanged", False
        return staged["outcome"], not (_is_passing(staged) and there["status"] != "failed")

    def _count(self, outcome: str, staged: Row) -> None:
        self._landed.outcomes[outcome] += 1
        if outcome in ("embedded", "reused"):
            self._landed.statuses[staged["status"]] += 1
        if outcome in ("embedded", "reused", "failed"):
            self._landed.reasons.update(staged["reasons"])


def _age(row: Row) -> tuple[datetime, bool, datetime]:
    """The newer source first; of one source whatever was learned before a moment's failure; then the newer result."""
    return row["source_modified"] or _LONG_AGO, not _is_passing(row), row["embedded_at"] or _LONG_AGO


def _is_passing(row: Row) -> bool:
    return row["status"] == "failed" and row["reasons"][0] in PASSING


def _existing(dataset: lance.LanceDataset, receipts: Sequence[Receipt]) -> dict[str, Row]:
    """The table's rows under the staged ids."""
    ids = pa.concat_tables([receipt.keys for receipt in receipts]).column("image_id").unique()
    rows = dataset.to_table(columns=_EXISTING, filter=pc.field("image_id").isin(ids), with_row_address=True)
    return {row["image_id"]: row for row in rows.to_pylist()}


def _check_policy(dataset: lance.LanceDataset, policy_id: str) -> None:
    if metadata(dataset)["policy_id"] != policy_id:
        raise PolicyChanged(
            f"The policy of {dataset.uri} changed while this run was under way.",
            "Run the job again with the table's new policy.",
        )


def _check_files(address: TableAddress, receipt: Receipt) -> None:
    """A clean-up beside a run may have taken staged files; naming them would break the whole table."""
    files = [_path(address, file.path) for fragment in receipt.fragments for file in fragment.files]
    filesystem = address.storage.filesystem(address.images)
    if gone := [path for path in files if not filesystem.exists(path)]:
        raise StagedFilesGone(
            f"{len(gone)} staged files of {address.uri} were removed before their commit.",
            "Run the job again, and do not clean up unverified files beside a run.",
        )


def _path(address: TableAddress, file: str) -> str:
    return os.path.join(address.images, "data", file)


def _fits(receipt: Receipt, dataset: lance.LanceDataset) -> bool:
    """Lance does not compare staged files with the table's columns: a cast or a reordering would be misread."""
    now = triples_of(dataset)
    staged = set(receipt.triples)
    return staged <= set(now) and all(
        dataset.schema.field(name).nullable for number, name, kind in set(now) - staged if "." not in name
    )


def _stage_again(
    address: TableAddress, dataset: lance.LanceDataset, receipt: Receipt, keep: list[int], patches: dict[int, Row]
) -> Receipt:
    parts = [
        LanceFileReader(_path(address, file.path), storage_options=address.options).read_all().to_table()
        for fragment in receipt.fragments
        for file in fragment.files
    ]
    rows = pa.concat_tables(parts).take(pa.array(keep, pa.int64()))
    for name in (*REVIEW_COLUMNS, "status") if patches else ():
        values = rows.column(name).to_pylist()
        for position, offset in enumerate(keep):
            if offset in patches:
                values[position] = patches[offset]["reviewed_verdict" if name == "status" else name]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, rows.schema.field(name).type))
    return stage_rows(rows, KEYS.empty_table(), {}, address, dataset)
