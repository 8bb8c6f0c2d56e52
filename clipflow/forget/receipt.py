"""The receipt of a deletion."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from clipflow.forget.erase import Erased
from clipflow.forget.verify import Search

OUTSIDE = (
    "Outside of this receipt: the source objects, task logs, Ray logs, other versions that the bucket keeps, "
    "backups and copies."
)


@dataclass
class Receipt:
    """What a deletion did, or with `dry_run` would do. It names no image.

    Attributes:
        run_id: Its row in the runs table; None for a dry run, which leaves none.
        version: The images table's version afterwards.
        requests: Distinct addresses, ids and hashes asked for, those that a condition added among them.
        forgotten: Rows removed by this call.
        also_held: Of those, rows whose vector a row that stays holds too.
        verified: Whether every file was read afterwards and none held what was forgotten.
        pending: Operations that began before and are still at work; call again when they have ended.
        scanned: What verification read: files, bytes, decoded (files), rows.
        found: Files that still hold something, with its kinds; empty when verified.
    """

    table: str
    version: int
    from_version: int
    requests: int
    run_id: str | None = None
    forgotten: int = 0
    also_held: int = 0
    versions_removed: int = 0
    files_removed: int = 0
    bytes_removed: int = 0
    indexes_dropped: int = 0
    verified: bool = False
    pending: list[str] = field(default_factory=list)
    scanned: dict[str, int] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    outside: str = OUTSIDE
    seconds: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False

    def erase(self, erased: Erased) -> None:
        """Take over what went."""
        self.versions_removed, self.files_removed = erased.versions, erased.files
        self.bytes_removed, self.indexes_dropped = erased.bytes, erased.indexes

    def verify(self, search: Search) -> None:
        """Take over what was searched and found."""
        self.scanned = {"files": search.files, "bytes": search.size, "decoded": search.decoded, "rows": search.rows}
        self.found = {name: sorted(kinds) for name, kinds in sorted(search.found.items())}
        self.verified = not self.found

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow forget --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        would = "would be " if self.dry_run else ""
        held = f"; the vector of {self.also_held} is that of a row that stays too" if self.also_held else ""
        yield f"{self.requests} requests: {self.forgotten} rows {would}forgotten{held}"
        if not self.dry_run:
            yield (
                f"{self.versions_removed} old versions and {self.files_removed} files removed, "
                f"{self.bytes_removed / 1e6:.1f} MB"
            )
            if self.indexes_dropped:
                yield f"{self.indexes_dropped} indexes dropped that could not be built anew, as over too few rows"
            yield (
                f"verified: {self.scanned['files']} files read ({self.scanned['bytes'] / 1e6:.1f} MB), "
                f"{self.scanned['decoded']} of them decoded ({self.scanned['rows']} rows); "
                "none holds a key, an address, a caption or a vector of what was forgotten"
            )
            yield self.outside
        yield f"table {self.table}, version {self.version}"
