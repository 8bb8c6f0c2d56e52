"""What every scorer is, and what it sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.encoders.info import EncoderInfo
from clipflow.spec import PolicySpec, Rule, digest

Floats = npt.NDArray[np.float32]
TextEncoder = Callable[[list[str]], Floats]
Level = Literal["row", "table", "derived"]

_NOT_THE_SCORE = {"name", "review_below", "review_above", "reject_below", "reject_above"}


@dataclass(frozen=True)
class Evidence:
    """A batch of N rows as a scorer sees them.

    Attributes:
        rows: The table's columns without vector; measures, caption and attributes among them.
        vectors: float64 [N, dim], the vectors as stored; NaN where there is none.
        encode_texts: float32 [M, dim] of M texts by the table's encoder, L2-normalised.
        scores: Columns that rules scored before this one, float32 [N] by column name.
    """

    rows: pa.Table
    vectors: npt.NDArray[np.float64]
    encode_texts: TextEncoder
    scores: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def embedded(self) -> npt.NDArray[np.bool_]:
        """Bool [N]: rows that have a vector."""
        return np.asarray(np.isfinite(self.vectors).all(axis=1))


class Scorer:
    """One kind of score. It has no state: a rule says all it needs, and `prepare` makes it ready."""

    parameters: frozenset[str] = frozenset()
    """Keys of a rule, beyond name, score and bounds, that this scorer reads."""

    needs_text: bool = False
    """Whether it calls the encoder's text tower, for labels or for captions."""

    needs_caption: bool = False
    """Whether it reads the caption column."""

    level: ClassVar[Level] = "row"
    """`row`: a function of the row. `table`: of all rows, see `policy.settle`. `derived`: of other scores."""

    def check(self, rule: Rule, policy: PolicySpec, info: EncoderInfo) -> None:
        """Raises PolicyError when the rule's parameters are wrong, or wrong for this encoder.

        Reads no image and loads no model. `policy` holds the other rules.
        """

    def columns(self, rule: Rule) -> list[str]:
        """Names of the float32 columns it adds to the table; the first is the score that bounds compare."""
        return [f"score_{rule.name}"]

    def reads(self, rule: Rule) -> frozenset[str]:
        """Names of the columns it reads, vectors and captions apart; scores of other rules may be among them."""
        return frozenset()

    def matches(self, rule: Rule) -> list[str]:
        """Names of the columns it adds that hold the image_id of another row."""
        return []

    def fingerprint(self, rule: Rule, info: EncoderInfo) -> str:
        """64 hex digits: stored scores of equal fingerprints are the same numbers. Bounds do not count."""
        body = rule.model_dump(mode="json", exclude_none=True, exclude=_NOT_THE_SCORE)
        return digest([body, self.inputs(rule, info)])

    def inputs(self, rule: Rule, info: EncoderInfo) -> Any:
        """What else decides the numbers, as plain data: the text side, a file's hash."""
        return [info.encoder_id, info.text] if self.needs_text else None

    def prepare(self, rule: Rule, info: EncoderInfo, encode_texts: TextEncoder) -> Any:
        """What scoring needs beside the rows, made once a run: label vectors, weights. It pickles."""
        return None

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N] for every name in `columns`, the score itself first; NaN is null."""
        raise NotImplementedError(f"{type(self).__name__} scores no single rows")


def nothing(evidence: Evidence) -> Floats:
    """float32 [N] of NaN."""
    return np.full(len(evidence.vectors), np.nan, np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Float64 [N, dim], each row of length one; stored vectors are only nearly so."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of float64 of any shape, without overflow."""
    probabilities: np.ndarray = np.exp(-np.logaddexp(0, -values))
    return probabilities


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine row by row, float64 [N] of two float64 [N, dim]; stored vectors are only nearly of length one."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: np.ndarray = np.einsum("nd,nd->n", left, right) / lengths
    return cosines
