"""What the peers have in common: a list in, a table out, and one thread that computes."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

BATCH = 32

# As many as clipflow has requests on their way.
_AT_ONCE = 16


def arguments() -> tuple[list[str], str, str]:
    """Paths or URLs, the checkpoint's folder, the table."""
    return Path(sys.argv[1]).read_text().splitlines(), sys.argv[2], sys.argv[3]


def read(uri: str) -> bytes:
    """The bytes of a path or URL."""
    if not uri.startswith("http"):
        return Path(uri).read_bytes()
    import requests

    answer = requests.get(uri, timeout=60)
    answer.raise_for_status()
    return answer.content


def read_all(uris: Sequence[str]) -> list[bytes]:
    """Files one after another, URLs several at once."""
    if not uris[0].startswith("http"):
        return [read(uri) for uri in uris]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(read, uris))


def rows(uris: Sequence[str], vectors: np.ndarray) -> pa.Table:
    """Addresses and vectors [N, dim] of length 1, in float16 as clipflow stores them."""
    halves = vectors.astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), halves.shape[1])
    return pa.table({"source_uri": pa.array(uris), "vector": column})


def write(uris: Sequence[str], parts: Sequence[np.ndarray], table: str) -> None:
    """One commit, once all is done."""
    lance.write_dataset(rows(uris, unit(np.concatenate(parts))), table)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows [N, dim] scaled to length 1."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled
