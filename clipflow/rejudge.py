"""`clipflow judge`: decide again from stored columns and vectors. No image is read, no image encoder runs.

    rescore ▸ settle ▸ announce ▸ rewrite ▸ seal

The new policy is announced in the table's metadata, so that runs by the old one end in PolicyChanged. Then rows get
their new verdict in commits of some fragments each: every row says in `policy_id` whose verdict it has, and whoever
is killed is followed by somebody who does the rest. A last guarded commit seals it: whatever a run had committed by
the old policy meanwhile is judged in it, and no stale commit comes after it.
"""

import json
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_values
from clipflow.encoders import EncoderInfo, encoder_spec, text_encoder
from clipflow.errors import ClipflowError, PolicyChanged
from clipflow.judgement import Judgement
from clipflow.policy.check import check_policy, fingerprints, match_columns, score_columns
from clipflow.policy.judge import Bools, prepare
from clipflow.policy.rescore import known_scores, rescore
from clipflow.policy.scorers.base import TextEncoder
from clipflow.policy.settle import Settled, Start, settle
from clipflow.report import RunReport
from clipflow.spec import PolicySpec, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.census import Census
from clipflow.table.dataset import ensure_columns, metadata
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import about_images, open_images, scores_of
from clipflow.table.persist import persist
from clipflow.table.rewrite import rewrite_columns
from clipflow.table.runs import Operation, record
from clipflow.table.settling import differing, settled_columns, with_settled
from clipflow.table.stage import write_rows

log = logging.getLogger("clipflow")


def rejudge(table: str, policy: PolicySpec, *, dry_run: bool = False, storage: StorageSpec | None = None) -> Judgement:
    """Give a table a policy, and every row the verdict that a run by this policy would have given it.

    Args:
        policy: What stands under `policy:` in a job file.
        dry_run: Only say what would change, and write nothing.

    Raises:
        PolicyError: The policy cannot be applied to this table.
        TableError, EncoderError: The table, or the text side of its encoder, cannot be opened.
        PolicyChanged, CommitContention, OperationClosed, StorageUnavailable: See `clipflow.errors`.
    """
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    about = about_images(dataset)
    judging = Judging.of(policy, dataset)
    report = Judgement(
        address.uri, int(dataset.version), int(dataset.version), policy.policy_id, about["policy_id"], dry_run=dry_run
    )
    clock = RunReport(uuid.uuid4().hex, report.table, report.version)
    if dry_run:
        _count(report, judging.all_of(dataset))
        return report
    report.run_id = clock.run_id
    start = record("judge", clock.run_id, {"table": {"uri": report.table}, "policy": policy.body()}, about)
    start |= {"policy_id": policy.policy_id, "policy": policy.body()}
    try:
        with Operation(address, start, clock) as operation:
            _rejudge(address, judging, operation, report, clock)
            operation.note(changed=report.changed, moves=report.moves, rescored=report.rescored)
            clock.version = report.version
    except ClipflowError as error:
        error.report = report.document()
        raise
    report.seconds = {"total": round(clock.seconds["total"], 3)}
    return report


def _rejudge(
    address: TableAddress, judging: "Judging", operation: Operation, report: Judgement, clock: RunReport
) -> None:
    # Before the table is read: a deletion waits for operations that are open, and must not miss one that reads a row.
    operation.open()
    found = judging.all_of(open_images(address))
    _count(report, found)
    new_policy = report.policy_id != report.from_policy_id or judging.changed_scores(open_images(address))
    if not new_policy and not found.stale.any():
        return
    judging.announce(address)
    log.info("judge: %d of %d rows change their status", report.changed, len(found.census))
    if found.stale.any():

        def check(dataset: lance.LanceDataset) -> None:
            operation.ensure_open()
            judging.ensure_current(dataset)

        rewrite_columns(address, judging.rewritten(found), check, operation.properties)
    report.version = int(judging.seal(address, operation, found).version)


def _count(report: Judgement, found: "Found") -> None:
    report.count(found.census.strings("status").to_pylist(), found.settled.verdicts.status.to_pylist())
    report.rescored = {rule: rows for rule, rows in found.rescored.items() if rows}


@dataclass(frozen=True)
class Found:
    """What the rows of one version come to.

    Attributes:
        stale: bool [N], rows that are stored otherwise.
        rescored: By rule, how many rows its scores were computed for.
    """

    census: Census
    settled: Settled
    stale: Bools
    rescored: dict[str, int]


@dataclass(frozen=True)
class Judging:
    """A policy that is ready to be applied to a table.

    Attributes:
        fingerprints: By rule, what its scores follow from.
        prepared: By rule, what scoring needs.
    """

    policy: PolicySpec
    fingerprints: dict[str, str]
    prepared: dict[str, Any]
    encode_texts: TextEncoder

    @classmethod
    def of(cls, policy: PolicySpec, dataset: lance.LanceDataset) -> "Judging":
        """Check the policy against the table, encode its labels and read its weights."""
        about = about_images(dataset)
        info = EncoderInfo.from_card(json.loads(about["encoder"]))
        captions = bool(dataset.count_rows("caption IS NOT NULL"))
        attributes = [name.removeprefix("attr_") for name in dataset.schema.names if name.startswith("attr_")]
        check_policy(policy, info, captions=captions, attributes=attributes)
        encode = text_encoder(encoder_spec(info), info)
        return cls(policy, fingerprints(policy, info), prepare(policy, info, encode), encode)

    def all_of(self, dataset: lance.LanceDataset) -> Found:
        """Every row of a version, decided anew."""
        census = Census(dataset, self.policy)
        known = known_scores(census, self.policy, self.fingerprints, scores_of(metadata(dataset)))
        columns = rescore(dataset, census, self.policy, self.prepared, known, self.encode_texts)
        settled = settle(self.policy, self.prepared, census, Start.anew(self.policy, census, columns))
        rescored = {rule: int((census.embedded & ~mask).sum()) for rule, mask in known.items()}
        rescored = {rule: rows for rule, rows in rescored.items() if f"score_{rule}" in columns}
        return Found(census, settled, self._stale(census, settled), rescored)

    def rest_of(self, dataset: lance.LanceDataset, before: Found) -> Found:
        """The rows of a later version, decided anew where they are others than before."""
        census = Census(dataset, self.policy)
        start = Start.carried(self.policy, census, before.census, before.settled)
        known = known_scores(census, self.policy, self.fingerprints, scores_of(metadata(dataset)))
        known = {rule: mask | ~start.fresh for rule, mask in known.items()}
        columns = rescore(dataset, census, self.policy, self.prepared, known, self.encode_texts)
        for name, values in columns.items():
            start.columns[name][start.fresh] = values[start.fresh]
        settled = settle(self.policy, self.prepared, census, start)
        return Found(census, settled, self._stale(census, settled), {})

    def announce(self, address: TableAddress) -> None:
        """Write the policy into the table's metadata, and add the columns that its scores need."""
        fields = [pa.field(name, pa.float32()) for name in score_columns(self.policy)]
        fields += [pa.field(name, pa.string()) for name in match_columns(self.policy)]
        ensure_columns(address, address.images, pa.schema(fields))

        def once(dataset: lance.LanceDataset) -> None:
            there = metadata(dataset)
            # Of policies before this one too: rows that wait for their new verdict have scores of theirs.
            scores = {**scores_of(there), self.policy.policy_id: self.fingerprints}
            values = {
                "policy_id": self.policy.policy_id,
                "policy": json.dumps(self.policy.body(), sort_keys=True),
                "scores": json.dumps(scores, sort_keys=True),
            }
            if any(there.get(key) != value for key, value in values.items()):
                dataset.update_schema_metadata(values)

        persist(address, address.images, once)

    def changed_scores(self, dataset: lance.LanceDataset) -> bool:
        """Whether the same policy now gives other scores: a file that it names has changed."""
        return scores_of(metadata(dataset)).get(self.policy.policy_id) != self.fingerprints

    def ensure_current(self, dataset: lance.LanceDataset) -> None:
        """Raises PolicyChanged when another judge was faster."""
        if metadata(dataset)["policy_id"] != self.policy.policy_id:
            raise PolicyChanged(f"{dataset.uri} got another policy meanwhile.", "Judge again, if this one shall hold.")

    def rewritten(self, found: Found) -> pa.Table:
        """The stale rows' new values, in the order of their row ids."""
        places = np.flatnonzero(found.stale)
        places = places[np.argsort(found.census.row_ids[places])]
        columns = settled_columns(found.census, found.settled, places)
        return pa.table({"_rowid": found.census.row_ids[places], **columns, **self._provenance(len(places))})

    def seal(self, address: TableAddress, operation: Operation, found: Found) -> lance.LanceDataset:
        """Judge what came meanwhile, in a commit that conflicts with every commit that began before it."""

        def decide(dataset: lance.LanceDataset) -> Change:
            operation.ensure_open()
            self.ensure_current(dataset)
            rest = self.rest_of(dataset, found)
            places = np.flatnonzero(rest.stale)
            if not len(places):
                return Change(always=True)
            rows = with_settled(rest.census.rows(places), rest.census, rest.settled, places)
            for name, values in self._provenance(len(places)).items():
                rows = with_values(rows, name, values)
            return Change(write_rows(rows, address, dataset), rest.census.addresses[places].tolist(), always=True)

        return guarded_commit(address, address.images, decide, operation.properties)

    def _stale(self, census: Census, settled: Settled) -> Bools:
        other = pc.not_equal(census.strings("policy_id"), self.policy.policy_id).fill_null(True)
        return np.asarray(differing(census, settled) | other.to_numpy(zero_copy_only=False))

    def _provenance(self, rows: int) -> dict[str, pa.Array]:
        moment = pa.array([datetime.now(UTC)] * rows, pa.timestamp("us", tz="UTC"))
        return {"policy_id": pa.array([self.policy.policy_id] * rows, pa.string()), "judged_at": moment}
