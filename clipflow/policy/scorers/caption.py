"""Cosine between an image and its caption."""

from typing import Any

import numpy as np

from clipflow.policy.scorers.base import Evidence, Floats, Scorer, cosine, nothing
from clipflow.spec import Rule


class Caption(Scorer):
    """`score_<rule>`: cosine of the stored vector and the caption's, in float64, rounded to float32."""

    needs_text = True
    needs_caption = True

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N]; NaN without a caption or a vector."""
        return {f"score_{rule.name}": caption_cosines(evidence, "").astype(np.float32)}


def caption_cosines(evidence: Evidence, prefix: str) -> np.ndarray:
    """Cosine of each row's vector and the text `prefix + caption`, float64 [N]; NaN without one of the two."""
    captions = evidence.rows.column("caption").to_pylist()
    embedded = evidence.embedded
    scores = nothing(evidence).astype(np.float64)
    at = [i for i, text in enumerate(captions) if text and embedded[i]]
    if at:
        texts = evidence.encode_texts([prefix + captions[i] for i in at]).astype(np.float64)
        scores[at] = cosine(evidence.vectors[at], texts)
    return scores
