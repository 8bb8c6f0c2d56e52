"""Erasing: what was deleted logically leaves the files, index by index, version by version, file by file."""

from dataclasses import dataclass
from datetime import timedelta

import lance

from clipflow.errors import ClipflowError
from clipflow.forget.files import TableFiles
from clipflow.forget.secrets import Secrets, forgotten_rows
from clipflow.table.address import TableAddress
from clipflow.table.clean_up import clean_up
from clipflow.table.compact import compact
from clipflow.table.dataset import as_ours
from clipflow.table.images import open_images
from clipflow.table.others import running
from clipflow.table.persist import persist
from clipflow.table.rebuild import rebuild
from clipflow.table.runs import Operation


@dataclass
class Erased:
    """What went.

    Attributes:
        versions: Old versions that can no longer be opened.
        files: Files of data, indexes and the like.
        bytes: Their size.
        indexes: Indexes that could not be built anew and were dropped.
    """

    versions: int = 0
    files: int = 0
    bytes: int = 0
    indexes: int = 0


def erase(files: TableFiles, secrets: Secrets, operation: Operation, erased: Erased) -> None:
    """Rewrite fragments that hold deleted rows, rebuild indexes, move all tags, remove all that is old.

    May be killed at any moment and called again. Beside operations that began later it leaves what they staged.
    """
    address = files.address
    compact(address, address.images, operation.ensure_open, deletions=True)
    erased.indexes += rebuild(address, operation.ensure_open)
    operation.ensure_open()
    persist(address, address.images, _move_tags)
    removed = clean_up(address, address.images, timedelta(0))
    erased.versions += removed.old_versions
    erased.files += (
        removed.data_files_removed
        + removed.index_files_removed
        + removed.deletion_files_removed
        + removed.transaction_files_removed
    )
    erased.bytes += removed.bytes_removed
    _sweep(files, secrets, operation, erased)


def _move_tags(dataset: lance.LanceDataset) -> None:
    for name, tag in dataset.tags.list().items():
        if tag["version"] < dataset.version:
            dataset.tags.update(name, dataset.version)


def _sweep(files: TableFiles, secrets: Secrets, operation: Operation, erased: Erased) -> None:
    """Remove files of operations that ended and that no version names.

    The order makes it safe: a file listed first was staged by an operation whose row was there before. If none
    is at work after that, its last commit is in the versions that are read last. Lance's own `delete_unverified`
    reads versions first, and would take a file that is committed meanwhile.
    """
    listed = {name: size for name, size in files.listed().items() if name.startswith(("data/", "_indices/"))}
    at_work = bool(running(files.address, operation))
    named = _named(files.address)
    for name, size in listed.items():
        if name in named or name.rpartition("/")[0] in named:
            continue
        # No commit can name a file with a forgotten row: it would stage the others again.
        if not at_work or forgotten_rows(files, name, size, secrets):
            files.remove(name)
            erased.files += 1
            erased.bytes += size


def _named(address: TableAddress) -> set[str]:
    """Data files and folders of indexes that a version names."""
    named: set[str] = set()
    for version in _versions(address):
        try:
            named |= _named_at(address, version)
        except (ClipflowError, ValueError, OSError) as error:
            # Somebody else cleans up too; any other version that cannot be read names who knows what.
            if version in _versions(address):
                raise as_ours(error, address.images) from error
    return named


def _versions(address: TableAddress) -> list[int]:
    return [int(version["version"]) for version in open_images(address).versions()]


def _named_at(address: TableAddress, version: int) -> set[str]:
    dataset = open_images(address, version)
    files = {f"data/{file.path}" for fragment in dataset.get_fragments() for file in fragment.metadata.files}
    return files | {f"_indices/{part.uuid}" for index in dataset.describe_indices() for part in index.segments}
