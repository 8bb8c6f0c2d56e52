"""A policy made ready for a table: what its rows come to, and how they are told so."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_columns
from clipflow.encoders import EncoderInfo, encoder_spec, text_encoder
from clipflow.errors import PolicyChanged, PolicyError
from clipflow.policy.check import check_policy, details_read, fingerprints, match_columns, score_columns
from clipflow.policy.judge import Bools, prepare
from clipflow.policy.rescore import known_scores, rescore
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import TextEncoder
from clipflow.policy.scorers.duplicate import Places
from clipflow.policy.settle import Settled, Start, has_duplicates, settle
from clipflow.schema import TIME
from clipflow.spec import PolicySpec
from clipflow.table.address import TableAddress
from clipflow.table.census import Census
from clipflow.table.dataset import ensure_columns, metadata
from clipflow.table.first_seen import BY_FIRST_SEEN, ORDER, is_by_first_seen
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import about_images, scores_of
from clipflow.table.moved import ensure_in_place
from clipflow.table.persist import persist
from clipflow.table.runs import Operation
from clipflow.table.settling import differing, settled_columns, with_settled
from clipflow.table.stage import write_rows
from clipflow.table.verdict_times import TIMES, status_times


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

    @property
    def ordered(self) -> bool | None:
        """Whether originals are told by `first_seen_at` from now on; None leaves the order to the table."""
        return True if has_duplicates(self.policy) else None

    @classmethod
    def of(cls, policy: PolicySpec, dataset: lance.LanceDataset, *, texts: bool = True) -> "Judging":
        """Check the policy against the table, encode its labels and read its weights.

        Args:
            texts: Without, no text is encoded, and rules that need it can only take what the table holds.
        """
        about = about_images(dataset)
        info = EncoderInfo.from_card(json.loads(about["encoder"]))
        captions = bool(dataset.count_rows("caption IS NOT NULL"))
        attributes = [name.removeprefix("attr_") for name in dataset.schema.names if name.startswith("attr_")]
        check_policy(policy, info, captions=captions, attributes=attributes)
        _ensure_details(policy, dataset)
        encode = text_encoder(encoder_spec(info), info)
        ready = [rule for rule in policy.rules if texts or not find_scorer(rule.score, rule.name).needs_text]
        prepared = prepare(policy.model_copy(update={"rules": tuple(ready)}), info, encode)
        return cls(policy, fingerprints(policy, info), prepared, encode)

    def all_of(self, dataset: lance.LanceDataset) -> Found:
        """Every row of a version, decided anew."""
        census = Census(dataset, self.policy, by_first_seen=self.ordered)
        known = known_scores(census, self.policy, self.fingerprints, scores_of(metadata(dataset)))
        columns = rescore(dataset, census, self.policy, self.prepared, known, self.encode_texts)
        settled = settle(self.policy, self.prepared, census, Start.anew(self.policy, census, columns))
        rescored = {rule: int((census.embedded & ~mask).sum()) for rule, mask in known.items()}
        rescored = {rule: rows for rule, rows in rescored.items() if f"score_{rule}" in columns}
        return Found(census, settled, self._stale(census, settled), rescored)

    def rest_of(self, dataset: lance.LanceDataset, before: Found) -> Found:
        """The rows of a later version, decided anew where they are others than before."""
        census = Census(dataset, self.policy, by_first_seen=self.ordered)
        start = Start.carried(self.policy, census, before.census, before.settled)
        known = {rule.name: ~start.fresh for rule in self.policy.rules}
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
                **({ORDER: BY_FIRST_SEEN} if self.ordered else {}),
            }
            if any(there.get(key) != value for key, value in values.items()):
                dataset.update_schema_metadata({**values})

        persist(address, address.images, once)

    def changed_order(self, dataset: lance.LanceDataset) -> bool:
        """Whether the table's originals are told in the order from before `first_seen_at`."""
        return bool(self.ordered) and not is_by_first_seen(dataset)

    def changed_scores(self, dataset: lance.LanceDataset) -> bool:
        """Whether the same policy now gives other scores: a file that it names has changed."""
        return scores_of(metadata(dataset)).get(self.policy.policy_id) != self.fingerprints

    def ensure_current(self, dataset: lance.LanceDataset) -> None:
        """Raises PolicyChanged when another judge was faster, TableError when the table was migrated."""
        ensure_in_place(dataset)
        if metadata(dataset)["policy_id"] != self.policy.policy_id:
            raise PolicyChanged(f"{dataset.uri} got another policy meanwhile.", "Judge again, if this one shall hold.")

    def rewritten(self, found: Found) -> pa.Table:
        """The stale rows' new values, in the order of their row ids."""
        places = np.flatnonzero(found.stale)
        places = places[np.argsort(found.census.row_ids[places])]
        columns = settled_columns(found.census, found.settled, places)
        columns["status_at"] = self._status_times(found, places)
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
            times = {"status_at": self._status_times(rest, places)}
            rows = with_columns(rows, self._provenance(len(places)) | times)
            return Change(write_rows(rows, address, dataset), rest.census.addresses[places].tolist(), always=True)

        return guarded_commit(address, address.images, decide, operation.properties)

    def _status_times(self, found: Found, places: Places) -> pa.Array:
        names = [name for name in TIMES if name in found.census.columns]
        before = found.census.rows(places, names)
        if "status_at" not in names:
            before = before.append_column("status_at", pa.nulls(len(before), TIME))
        return status_times(before, found.settled.verdicts.status.take(pa.array(places)))

    def _stale(self, census: Census, settled: Settled) -> Bools:
        other = pc.not_equal(census.strings("policy_id"), self.policy.policy_id).fill_null(True)
        return np.asarray(differing(census, settled) | other.to_numpy(zero_copy_only=False))

    def _provenance(self, rows: int) -> dict[str, pa.Array]:
        moment = pa.array([datetime.now(UTC)] * rows, TIME)
        return {"policy_id": pa.array([self.policy.policy_id] * rows, pa.string()), "judged_at": moment}


def _ensure_details(policy: PolicySpec, dataset: lance.LanceDataset) -> None:
    """A measure that is null because of how its image was decoded would let a rule pass in silence."""
    for column in sorted(details_read(policy)):
        if rows := dataset.count_rows(f"{column} IS NULL AND status != 'failed'"):
            raise PolicyError(
                f"A rule reads {column}, which {rows} rows do not have: decode: draft made their pictures smaller.",
                "Leave the rule out, or fill a new table by `clipflow migrate` with --set decode=exact.",
            )
