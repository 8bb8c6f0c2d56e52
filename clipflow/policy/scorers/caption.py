"""Cosine between an image and its caption."""

import numpy as np

from clipflow.policy.scorers.base import Evidence, Floats
from clipflow.spec import Rule


class Caption:
    """`score_<rule>`: cosine of the stored vector and the caption's, in float64, rounded to float32."""

    parameters: frozenset[str] = frozenset()
    needs_text = True
    needs_caption = True

    def columns(self, rule: Rule) -> list[str]:
        """One column, `score_<rule>`."""
        return [f"score_{rule.name}"]

    def score(self, rule: Rule, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N]; NaN without a caption or a vector."""
        captions = evidence.columns["caption"]
        scores = np.full(len(captions), np.nan, np.float32)
        at = [i for i, text in enumerate(captions) if text and np.isfinite(evidence.vectors[i]).all()]
        if at:
            texts = evidence.encode_texts([captions[i] for i in at]).astype(np.float64)
            scores[at] = cosine(evidence.vectors[at], texts).astype(np.float32)
        return {rule.name: scores, f"score_{rule.name}": scores}


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine row by row, float64 [N] of two float64 [N, dim]; stored vectors are only nearly of length one."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: np.ndarray = np.einsum("nd,nd->n", left, right) / lengths
    return cosines
