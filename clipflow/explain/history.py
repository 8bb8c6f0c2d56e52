"""The history of one row over the versions that the table still has."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import lance
import pyarrow.compute as pc

from clipflow.schema import REVIEW_COLUMNS

VERSIONS = 200
"""So many versions are looked at, the newest ones."""

_WATCHED = ("status", "reasons", "run_id", "policy_id", *REVIEW_COLUMNS)

State = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One version in which the row's state is another than in the version before.

    Attributes:
        event: `first` (as the oldest version looked at has it), `appeared`, `changed` or `removed`.
        changed: Old and new value by column; only new ones where the row was not there before.
    """

    version: int
    at: datetime
    event: str
    changed: dict[str, Any]


@dataclass(frozen=True)
class History:
    """The steps, oldest first, and how far back they reach.

    Attributes:
        versions: Versions that were looked at.
        older: Retained versions that were not.
    """

    steps: list[Step]
    versions: int
    older: int

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def read_history(dataset: lance.LanceDataset, image_id: str, limit: int = VERSIONS) -> History:
    """What became of a row, version by version.

    A fragment that two versions share is read once: the cost is that of the fragments that changed.

    Args:
        dataset: At its latest version.
    """
    versions = sorted(dataset.versions(), key=lambda version: int(version["version"]))
    looked_at = versions[-limit:]
    seen: dict[str, State | None] = {}
    steps: list[Step] = []
    before: State | None = None
    for number, version in enumerate(looked_at):
        state = _state(dataset.checkout_version(version["version"]), image_id, seen)
        if state != before:
            event = _event(before, state, first=number == 0 and len(looked_at) < len(versions))
            # In local time without a zone. Lance turns its number into a time before it answers; its types know both.
            dated: Any = version["timestamp"]
            at = dated.astimezone(UTC)
            steps.append(Step(int(version["version"]), at, event, _changed(before, state)))
        before = state
    return History(steps, len(looked_at), len(versions) - len(looked_at))


def _state(dataset: lance.LanceDataset, image_id: str, seen: dict[str, State | None]) -> State | None:
    by_id = {fragment.fragment_id: fragment for fragment in dataset.get_fragments()}
    marks = {key: _mark(fragment) for key, fragment in by_id.items()}
    fresh = [key for key, mark in marks.items() if mark not in seen]
    seen |= dict.fromkeys(marks[key] for key in fresh)
    if fresh:
        watched = [name for name in _WATCHED if name in dataset.schema.names]
        scanner = dataset.scanner(
            columns=[*watched, "vector"],
            filter=pc.field("image_id") == image_id,
            fragments=[by_id[key] for key in fresh],
            with_row_address=True,
        )
        for row in scanner.to_table().to_pylist():
            there = {"vector": row["vector"] is not None} | {name: row[name] for name in watched}
            seen[marks[row["_rowaddr"] >> 32]] = there
    return next((state for mark in marks.values() if (state := seen[mark]) is not None), None)


def _mark(fragment: lance.LanceFragment) -> str:
    """Equal for fragments that hold the same rows: the same files, and the same rows removed."""
    parts = fragment.metadata
    return repr((parts.id, parts.files, parts.overlays, fragment.deletion_file()))


def _event(before: State | None, now: State | None, *, first: bool) -> str:
    if now is None:
        return "removed"
    if before is None:
        return "first" if first else "appeared"
    return "changed"


def _changed(before: State | None, now: State | None) -> dict[str, Any]:
    if now is None:
        return {}
    if before is None:
        return {name: value for name, value in now.items() if value is not None}
    return {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
