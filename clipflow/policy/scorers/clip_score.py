"""CLIPScore of an image and its caption (Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric")."""

from typing import Any

import numpy as np

from clipflow.policy.scorers.base import Evidence, Floats, Scorer
from clipflow.policy.scorers.caption import caption_cosines
from clipflow.spec import Rule

_PREFIX = "A photo depicts "
_WEIGHT = 2.5


class ClipScore(Scorer):
    """`score_<rule>`: 2.5 * max(cosine, 0) of the stored vector and "A photo depicts " + caption.

    The authors' w and prefix, section 3 of the paper. They used CLIP ViT-B/32: numbers of other encoders are
    not on the scale of their tables.
    """

    needs_text = True
    needs_caption = True

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N], 0 to 2.5; NaN without a caption or a vector."""
        scores = _WEIGHT * np.maximum(caption_cosines(evidence, _PREFIX), 0)
        return {f"score_{rule.name}": scores.astype(np.float32)}
