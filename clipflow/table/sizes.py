"""What a table takes on the store."""

from collections.abc import Iterable

import lance
from lance.fragment import FragmentMetadata


def data_bytes(dataset: lance.LanceDataset) -> int:
    """Bytes of the data files that the dataset's version names; indexes, versions and deletions are not in them."""
    return bytes_of(fragment.metadata for fragment in dataset.get_fragments())


def bytes_of(fragments: Iterable[FragmentMetadata]) -> int:
    """Bytes of fragments' data files."""
    return sum(file.file_size_bytes or 0 for fragment in fragments for file in fragment.files)
