"""SemDeDup: duplicates within clusters of the whole table.

Abbas et al. 2023, "SemDeDup: Data-efficient learning at web-scale through semantic deduplication", arXiv:2303.09540.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import PolicyError
from clipflow.policy.scorers.duplicate import NOBODY, Asked, Best, Duplicate, Places, Rows
from clipflow.policy.vectors import unit_vectors
from clipflow.spec import PolicySpec, Rule

# k-means: so many rows a cluster are enough to place its centre (as faiss has it), and so many rounds to settle it.
_SAMPLE, _ROUNDS, _TILE = 256, 20, 4_096

Vectors = npt.NDArray[np.float64]


class SemDeDup(Duplicate):
    """1 where a row is to be dropped, else 0; `score_<rule>__cosine` is the cosine that decides.

    Spherical k-means over the originals; in each cluster rows stand in the order of their distance from its centre,
    the farthest first and ties by image_id, and one is dropped whose cosine to an original before it exceeds
    1 - epsilon. Clusters move as the table grows, so it is computed over the whole table at every commit: it suits
    tables that are filled seldom, or judged after they were filled. It holds all vectors in memory.
    """

    parameters = frozenset({"clusters", "epsilon"})
    item = "vector"
    whole = True

    def check(self, rule: Rule, policy: PolicySpec, info: EncoderInfo) -> None:
        """Both parameters are needed."""
        if rule.clusters is None or rule.clusters < 1:
            raise PolicyError(f"Rule {rule.name!r}: semdedup needs clusters, 1 or more.", "Write clusters: 100.")
        if rule.epsilon is None or not 0 < rule.epsilon < 2:
            raise PolicyError(f"Rule {rule.name!r}: semdedup needs epsilon, between 0 and 2.", "Write epsilon: 0.05.")

    def columns(self, rule: Rule) -> list[str]:
        """The decision, and the cosine."""
        return [f"score_{rule.name}", f"score_{rule.name}__cosine"]

    def compare(self, rule: Rule, rows: Rows, asked: Asked, best: Best) -> None:
        """All of it anew."""
        assert rule.clusters is not None
        assert rule.epsilon is not None
        vectors = np.concatenate([unit_vectors(block) for _, block in rows.blocks(self.item)])
        cosines = np.full(len(vectors), np.nan, np.float32)
        best.match[:] = NOBODY
        embedded = np.flatnonzero(rows.embedded)
        # By image_id, which is a hash: an order that no order of arrival changes.
        embedded = embedded[pa.compute.sort_indices(rows.image_id.take(pa.array(embedded))).to_numpy()]
        originals = embedded[asked.eligible[embedded]]
        if len(originals):
            centres = _centres(vectors, originals, rule.clusters)
            for members, distance in _clusters(vectors, embedded, centres):
                order = members[np.argsort(-distance, kind="stable")]
                _search(vectors, order, asked.eligible[order], cosines, best.match)
        best.score[:] = np.where(rows.embedded, (cosines > np.float32(1 - rule.epsilon)).astype(np.float32), np.nan)
        best.more[f"score_{rule.name}__cosine"] = cosines


def _centres(vectors: Vectors, originals: Places, clusters: int) -> Vectors:
    """Spherical k-means (Lloyd), [K, dim]; the sample and the first centres follow from the ids alone."""
    sample = vectors[originals[: clusters * _SAMPLE]]
    centres = sample[np.linspace(0, len(sample) - 1, min(clusters, len(sample))).astype(int)]
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        moved = centres.copy()
        for cluster in np.unique(nearest):
            middle = sample[nearest == cluster].sum(axis=0)
            length = np.linalg.norm(middle)
            if length > 0:
                moved[cluster] = middle / length
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.asarray(centres)


def _clusters(vectors: Vectors, embedded: Places, centres: Vectors) -> Iterator[tuple[Places, npt.NDArray[np.float64]]]:
    """The members of each cluster, and their cosine distance from its centre."""
    nearest = np.empty(len(embedded), np.int64)
    distance = np.empty(len(embedded))
    for at in range(0, len(embedded), _TILE):
        cosines = vectors[embedded[at : at + _TILE]] @ centres.T
        nearest[at : at + _TILE] = cosines.argmax(axis=1)
        # Rounded, so that the last bits of a sum do not decide who stands first.
        distance[at : at + _TILE] = np.round(1 - cosines.max(axis=1), 12)
    for cluster in np.unique(nearest):
        inside = nearest == cluster
        yield embedded[inside], distance[inside]


def _search(
    vectors: Vectors, order: Places, eligible: npt.NDArray[np.bool_], cosines: npt.NDArray[np.float32], match: Places
) -> None:
    """The most similar original before each member."""
    for at in range(0, len(order), _TILE):
        some = order[at : at + _TILE]
        end = at + len(some)
        scores = (vectors[some] @ vectors[order[:end]].T).astype(np.float32)
        before = np.arange(end)[None, :] < np.arange(at, end)[:, None]
        scores = np.where(before & eligible[:end][None, :], scores, -np.inf)
        top = scores.max(axis=1)
        found = np.isfinite(top)
        cosines[some[found]] = top[found]
        match[some[found]] = order[scores.argmax(axis=1)[found]]
