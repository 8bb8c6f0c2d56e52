"""Who wins, row by row: staged rows against those that the table holds at one version."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.failures import NOT_FOUND, PASSING
from clipflow.schema import REVIEW_COLUMNS, SOURCE_DELETED
from clipflow.table.existing import Row
from clipflow.table.first_seen import first_seen
from clipflow.table.forgotten import Forgotten
from clipflow.table.places import Bools, Places

TRIED = "@"
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass
class Landed:
    """What a commit came to.

    Attributes:
        version: The table's version that holds it.
        outcomes: Images by what became of them.
        statuses: Rows that were embedded or reused, by verdict.
        reasons: Rule names and failure codes.
        missing: (image_id, source_uri, run_id) of rows whose vector stays though nothing is found there any more.
    """

    version: int
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    missing: list[tuple[str, str, str]] = field(default_factory=list)

    def count_again(self, before: pa.Table, after: pa.Table) -> None:
        """Take over other verdicts of the same landed rows."""
        for sign, rows in ((-1, before), (1, after)):
            fine = rows.select(["status", "reasons"]).filter(pc.field("status") != "failed").to_pylist()
            for row in fine:
                self.statuses[row["status"]] += sign
                for reason in row["reasons"]:
                    self.reasons[reason] += sign
        self.statuses, self.reasons = +self.statuses, +self.reasons


class Decision:
    """The decision at one version of the table.

    Args:
        run_id: The run that staged the rows.
        existing: The table's rows under the staged ids.
        kept: Columns that a row takes over from the one it replaces.
        forgotten: Tombstones at that version.
        landed: Filled as rows are decided.
    """

    def __init__(
        self, run_id: str, existing: dict[str, Row], kept: Sequence[str], forgotten: Forgotten, landed: Landed
    ) -> None:
        self._run_id = run_id
        self._kept = kept
        self._existing = existing
        self._ids = pa.array(existing, pa.string())
        self._forgotten = forgotten
        self._landed = landed
        self.removed: list[int] = []
        self.tried: dict[int, tuple[int, str]] = {}
        """Of rows that stay, by row id: how often they were tried in vain since, and the code."""

    def of(self, keys: pa.Table, fresh: Bools) -> tuple[Places, dict[int, Row]]:
        """The offsets of the rows that land, and what they take over from the rows they replace, by offset.

        Args:
            keys: Of one receipt, N rows.
            fresh: bool [N], false for rows that are passed over.
        """
        special = fresh & self._are_special(keys)
        plain = fresh & ~special
        self._count_plain(keys.filter(pa.array(plain)))
        keep: list[int] = []
        patches: dict[int, Row] = {}
        offsets = np.flatnonzero(special)
        for offset, staged in zip(offsets.tolist(), keys.take(pa.array(offsets)).to_pylist(), strict=True):
            there = self._existing.get(staged["image_id"]) or self._existing.get(staged["former_id"])
            if there is not None and there["run_id"] == self._run_id:
                # They landed by a commit whose answer was lost.
                self._count(staged["outcome"], staged | {"status": there["status"]})
                continue
            outcome, lands = self._outcome(staged, there)
            if lands:
                keep.append(offset)
                if there is not None:
                    self.removed.append(there["_rowaddr"])
                    if patch := self._handed_over(staged, there):
                        patches[offset] = patch
                        staged["status"] = patch.get("status", staged["status"])
            elif there is not None and outcome == "failed":
                self._note_trial(staged, there)
            self._count(outcome, staged)
        return np.sort(np.append(np.flatnonzero(plain), np.array(keep, np.int64))), patches

    def _are_special(self, keys: pa.Table) -> Bools:
        """Bool [N]: rows that more must be asked of than what they are."""
        held = pc.is_in(keys.column("image_id"), self._ids).to_numpy()
        held = held | keys.column("former_id").is_valid().to_numpy()
        for name, hashes in (("image_id", self._forgotten.image_ids), ("content_sha256", self._forgotten.contents)):
            if hashes:
                held = held | np.fromiter((value in hashes for value in keys.column(name).to_pylist()), bool, len(keys))
        return np.asarray(held)

    def _count_plain(self, rows: pa.Table) -> None:
        """Of rows that land as they are."""
        self._landed.outcomes.update(_counts(rows.column("outcome")))
        fine = rows.filter(pc.not_equal(rows.column("outcome"), "failed"))
        self._landed.statuses.update(_counts(fine.column("status")))
        self._landed.reasons.update(_counts(pc.list_flatten(rows.column("reasons"))))

    def _outcome(self, staged: Row, there: Row | None) -> tuple[str, bool]:
        ids = (staged["image_id"], staged["former_id"])
        if any(self._forgotten.covers(key, staged["content_sha256"]) for key in ids):
            return "forgotten", False
        if there is None:
            return staged["outcome"], True
        if there["run_id"] != staged["prior_run_id"] and _age(there) >= _age(staged):
            return "unchanged", False
        return staged["outcome"], not (_is_passing(staged) and there["status"] != "failed")

    def _handed_over(self, staged: Row, there: Row) -> Row:
        patch = {name: there[name] for name in self._kept if there[name] is not None}
        same_bytes = there["content_sha256"] == staged["content_sha256"]
        if same_bytes and (seen := first_seen(there)) != staged["first_seen_at"]:
            patch["first_seen_at"] = seen
        if there["reviewed_verdict"] is not None and same_bytes:
            patch |= {name: there[name] for name in REVIEW_COLUMNS}
            if staged["status"] != "failed":
                # What has no vector stays failed; the verdict waits in its columns.
                patch["status"] = there["reviewed_verdict"]
        if patch.get("status", staged["status"]) == there["status"]:
            patch["status_at"] = there["status_at"] or there["judged_at"]
        return patch

    def _note_trial(self, staged: Row, there: Row) -> None:
        """A failure of the moment never replaces a vector; it is counted in the row that stays."""
        code = staged["reasons"][0]
        self.tried[there["_rowid"]] = (staged["attempts"], tried_under(code, staged["source_etag"]))
        if code == NOT_FOUND and SOURCE_DELETED not in (there["reasons"] or ()):
            self._landed.missing.append((there["image_id"], there["source_uri"], there["run_id"]))

    def _count(self, outcome: str, staged: Row) -> None:
        self._landed.outcomes[outcome] += 1
        if outcome in ("embedded", "reused"):
            self._landed.statuses[staged["status"]] += 1
        if outcome in ("embedded", "reused", "failed"):
            self._landed.reasons.update(staged["reasons"])


def tried_under(code: str, etag: str | None) -> str:
    """What `failed_under` says in a row with a vector: the code, and the state of the source that was tried.

    A few digits tell two states of one object apart; where storage did not say the state there are none.
    """
    return code if etag is None else f"{code}{TRIED}{hashlib.md5(etag.encode(), usedforsecurity=False).hexdigest()[:8]}"


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {found["values"]: found["counts"] for found in pc.value_counts(values).to_pylist()}


def _age(row: Row) -> tuple[datetime, bool, datetime]:
    """The newer source first; of one source whatever was learned before a moment's failure; then the newer result."""
    return row["source_modified"] or _LONG_AGO, not _is_passing(row), row["embedded_at"] or _LONG_AGO


def _is_passing(row: Row) -> bool:
    return row["status"] == "failed" and row["reasons"][0] in PASSING
