"""What `clipflow judge` did, or would do, in the words of the contract."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipflow.audit.report import label
from clipflow.schema import VERDICTS

SHOWN = 20
"""So many groups of a column, those in which most rows move, stand in the text."""


@dataclass
class Judgement:
    """The whole table before and after.

    Attributes:
        version: The images table's version afterwards.
        from_version: The version before; the same when nothing changed.
        policy_id: The policy of the table afterwards.
        from_policy_id: The one before.
        run_id: Its row in the runs table; None for a rehearsal, which leaves none.
        changed: Rows whose status changes.
        moves: From which status to which, and how many rows.
        groups: Of a rehearsal with columns to count by, see `movement.Movement`.
        list_file: Where a rehearsal wrote the rows that would move.
        rescored: By rule, how many rows its scores were computed for; of the others stored scores were taken.
        dry_run: Nothing was written.
    """

    table: str
    version: int
    from_version: int
    policy_id: str
    from_policy_id: str
    run_id: str | None = None
    changed: int = 0
    accepted: int = 0
    review: int = 0
    rejected: int = 0
    failed: int = 0
    moves: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    rescored: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False
    list_file: str | None = None

    def count(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Take over the status of every row, before and after."""
        pairs = Counter(zip(before, after, strict=True))
        moved = sorted((pair, rows) for pair, rows in pairs.items() if pair[0] != pair[1])
        self.moves = [{"from": pair[0], "to": pair[1], "rows": rows} for pair, rows in moved]
        self.changed = sum(move["rows"] for move in self.moves)
        for status in (*VERDICTS, "failed"):
            setattr(self, status, sum(rows for pair, rows in pairs.items() if pair[1] == status))

    def _group_lines(self) -> Iterator[str]:
        for column in dict.fromkeys(group["column"] for group in self.groups):
            groups = [group for group in self.groups if group["column"] == column]
            moving = [group for group in groups if group["changed"]]
            yield f"by {column}: rows move in {len(moving)} of {len(groups)} groups"
            for group in moving[:SHOWN]:
                moves = ", ".join(f"{one['rows']} {one['from']} to {one['to']}" for one in group["moves"])
                yield f"  {label(group['value'])}: {group['changed']} of {group['rows']} ({moves})"
            if len(moving) > SHOWN:
                yield f"  and {len(moving) - SHOWN} more groups; see --json"

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow judge --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        would = "would move" if self.dry_run else "moved"
        lines = [f"{move['rows']} {would} from {move['from']} to {move['to']}" for move in self.moves]
        lines = lines or [f"no row {would}"]
        lines += self._group_lines()
        lines += [f"rule {rule}: {rows} rows scored anew" for rule, rows in self.rescored.items()]
        lines.append(", ".join(f"{getattr(self, status)} {status}" for status in (*VERDICTS, "failed")))
        lines += [f"the rows stand in {self.list_file}"] if self.list_file else []
        lines.append(f"table {self.table}, version {self.version}, policy {self.policy_id[:12]}")
        return "\n".join(lines)
