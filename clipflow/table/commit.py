"""The commit of staged rows: who wins, who is forgotten, what may not happen.

Every rule about several writers of one table stands here, so that the main flow does not know them:

- a row of the table that planning saw is replaced; one that another run wrote meanwhile stays
  when its source is newer, or as new and its vector or failure came later;
- a passing failure never replaces a row that has a vector: it is counted in that row;
- a human's verdict is handed over when the bytes are the same, and so are a caption and attributes
  that the job does not declare, whatever the bytes;
- what was forgotten does not return;
- no key lands twice from one run, whatever went wrong before;
- a run whose policy is no longer the table's, or whose row was closed, commits nothing;
- rows staged for another set of columns are staged again, and files that no version names go;
- rows are told from their duplicates, and later ones that they precede are judged again.
"""

import logging
import os
from collections.abc import Collection, Sequence

import lance
import pyarrow as pa
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata

from clipflow.assignment import Assignment
from clipflow.columns import with_columns, with_values
from clipflow.errors import PolicyChanged, StagedFilesGone
from clipflow.policy.settle import has_duplicates
from clipflow.schema import REVIEW_COLUMNS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import metadata
from clipflow.table.decision import Decision, Landed
from clipflow.table.existing import Existing, Planned, Row, among
from clipflow.table.first_seen import FIRST_SEEN_COLUMNS
from clipflow.table.forgotten import read_forgotten
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import scores_of
from clipflow.table.key_set import KeySet
from clipflow.table.moved import ensure_in_place
from clipflow.table.places import Places, PlaceSet, firsts
from clipflow.table.runs import Operation
from clipflow.table.settling import settle_rows
from clipflow.table.stage import Receipt, fit, triples_of, write_rows

log = logging.getLogger("clipflow")

_EXISTING = [
    "image_id",
    "run_id",
    *FIRST_SEEN_COLUMNS,
    "status",
    "status_at",
    "judged_at",
    "reasons",
    "content_sha256",
    *REVIEW_COLUMNS,
]


class Committer:
    """The commits of one run.

    Args:
        given: The run.
        operation: Its row in the runs table, open.
        planned: What planning saw of the table; without it the first commit reads the keys of all rows.
    """

    def __init__(self, given: Assignment, operation: Operation, planned: Planned | None = None) -> None:
        self._given, self._operation = given, operation
        self._existing = Existing(planned or Planned())
        self._landed = PlaceSet()
        self._keys = KeySet()

    def commit(self, receipts: Sequence[Receipt]) -> Landed:
        """Make staged rows visible in one version.

        Raises:
            PolicyChanged, OperationClosed, StagedFilesGone, CommitContention: See `clipflow.errors`.
        """
        landed, read_version, alone = Landed(0), 0, True
        given, address = self._given, self._given.address
        change = Change()
        written = {file for receipt in receipts for file in _files(address, receipt.fragments)}
        keys = pa.concat_tables([receipt.keys for receipt in receipts])
        places = keys.column("place").to_numpy()
        # A stage that ran twice; the first of the two was counted.
        fresh = firsts(places) & ~self._landed.holds(places)
        ids = keys.column("image_id").filter(pa.array(fresh))
        self._keys.ensure_new(ids)

        def decide(dataset: lance.LanceDataset) -> Change:
            nonlocal landed, change, read_version, alone
            _check_policy(dataset, given)
            self._operation.ensure_open()
            landed, read_version = Landed(dataset.version), int(dataset.version)
            kept = [name for name in dataset.schema.names if _is_word(name) and name not in given.words]
            existing = self._existing.under(dataset, keys, [*_EXISTING, *kept])
            decision = Decision(self._operation.run_id, existing, kept, read_forgotten(address), landed)
            decided, at = [], 0
            for receipt in receipts:
                decided.append((receipt, *decision.of(receipt.keys, fresh[at : at + len(receipt.keys)])))
                at += len(receipt.keys)
            for receipt, keep, _ in decided:
                if len(keep):
                    _check_files(address, receipt)
            tried = _tried(dataset, decision)
            if has_duplicates(given.spec.policy):
                change, alone = _settle(given, dataset, decided, tried, decision.removed, landed)
            else:
                change = Change(removed=decision.removed)
                if len(tried):
                    change.new.extend(write_rows(tried, address, dataset))
                for receipt, keep, patches in decided:
                    if len(keep) == len(receipt.keys) and not patches and _fits(receipt, dataset):
                        change.new.extend(receipt.fragments)
                    elif len(keep):
                        change.new.extend(write_rows(_staged(address, receipt, keep, patches), address, dataset))
            written.update(_files(address, change.new))
            return change

        dataset = guarded_commit(address, address.images, decide, self._operation.properties)
        landed.version = dataset.version
        self._landed.add(places)
        self._keys.add(ids)
        if alone:
            self._existing.committed(dataset, read_version)
        if unused := written - set(_files(address, change.new)):
            # A receipt that came twice names files that are committed.
            unused -= {_path(address, file.path) for part in dataset.get_fragments() for file in part.metadata.files}
            _remove(address, unused)
        return landed


def _settle(
    given: Assignment,
    dataset: lance.LanceDataset,
    decided: Sequence[tuple[Receipt, Places, dict[int, Row]]],
    tried: pa.Table,
    removed: Sequence[int],
    landed: Landed,
) -> tuple[Change, bool]:
    """Duplicates are told at the commit: which rows are there before one of ours is known only here.

    Also gives whether only our rows are written. Others that are judged anew get new row ids, and one of them may be
    the row that a later commit of this run is to replace.
    """
    parts = [_staged(given.address, receipt, keep, patches) for receipt, keep, patches in decided if len(keep)]
    rows = sum(map(len, parts))
    parts += [tried] * bool(len(tried))
    if not parts:
        return Change(), True
    coming = pa.concat_tables([fit(part, dataset.schema.remove_metadata()) for part in parts])
    together = settle_rows(dataset, given.spec.policy, given.prepared, coming, removed)
    landed.count_again(coming.slice(0, rows), together.rows.slice(0, rows))
    change = Change(write_rows(together.rows, given.address, dataset), list(together.leaving))
    return change, len(together.rows) == together.came


def _tried(dataset: lance.LanceDataset, decision: Decision) -> pa.Table:
    """Copies of rows that stay, in which a trial in vain is counted; the rows themselves leave."""
    if not decision.tried:
        return dataset.schema.empty_table()
    rows = dataset.to_table(filter=among(decision.tried), with_row_address=True, with_row_id=True)
    trials = [decision.tried[key] for key in rows.column("_rowid").to_pylist()]
    decision.removed += rows.column("_rowaddr").to_pylist()
    rows = rows.drop_columns(["_rowaddr", "_rowid"])
    return with_columns(
        rows, {"attempts": [attempts for attempts, _ in trials], "failed_under": [code for _, code in trials]}
    )


def _files(address: TableAddress, fragments: Sequence[FragmentMetadata]) -> list[str]:
    return [_path(address, file.path) for fragment in fragments for file in fragment.files]


def _remove(address: TableAddress, files: Collection[str]) -> None:
    """Staged files that were not committed may hold what was forgotten. A later clean-up takes those that stay."""
    filesystem = address.storage.filesystem(address.images)
    for file in files:
        try:
            filesystem.rm_file(file)
        except Exception as error:
            log.warning("commit: a staged file could not be removed (%s)", type(error).__name__)


def _is_word(name: str) -> bool:
    return name == "caption" or name.startswith("attr_")


def _check_policy(dataset: lance.LanceDataset, given: Assignment) -> None:
    ensure_in_place(dataset)
    there, policy_id = metadata(dataset), given.spec.policy.policy_id
    scores = scores_of(there).get(policy_id)
    if there["policy_id"] != policy_id or scores not in (None, scores_of(given.about)[policy_id]):
        raise PolicyChanged(
            f"The policy of {dataset.uri} changed while this run was under way.",
            "Run the job again with the table's new policy.",
        )


def _check_files(address: TableAddress, receipt: Receipt) -> None:
    """A clean-up beside a run may have taken staged files; naming them would break the whole table."""
    files = _files(address, receipt.fragments)
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


def _staged(address: TableAddress, receipt: Receipt, keep: Places, patches: dict[int, Row]) -> pa.Table:
    """The rows at some offsets of a receipt's files, with what they take over."""
    parts = [
        LanceFileReader(file, storage_options=address.options).read_all().to_table()
        for file in _files(address, receipt.fragments)
    ]
    rows = pa.concat_tables(parts).take(pa.array(keep))
    for name in sorted({name for patch in patches.values() for name in patch}):
        values = rows.column(name).to_pylist()
        for position, offset in enumerate(keep.tolist()):
            if name in patches.get(offset, {}):
                values[position] = patches[offset][name]
        rows = with_values(rows, name, values)
    return rows
