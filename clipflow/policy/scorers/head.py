"""A head: a small network on the vector, trained by somebody to say one number."""

from dataclasses import dataclass

import numpy as np

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import PolicyError, UsageError
from clipflow.policy.head_file import HeadFile
from clipflow.policy.scorers.base import Evidence, Floats, Scorer, TextEncoder, nothing, sigmoid, unit
from clipflow.spec import PolicySpec, Rule, digest


@dataclass(frozen=True)
class Head:
    """What scoring needs of a head's file, in float64.

    Attributes:
        layers: Weight [out, in] and bias [out] of each layer; a single one where nothing stands between them.
        mean: [dim] or a single 0, taken off a vector of length one.
        std: [dim] or a single 1, what is left is divided by it.
        relu: Whether max(x, 0) stands between layers.
        sigmoid: Whether a sigmoid ends it.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    mean: np.ndarray
    std: np.ndarray
    relu: bool
    sigmoid: bool

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Float64 [N, dim] of length one to float64 [N]."""
        values = (vectors - self.mean) / self.std
        for at, (weight, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if at and self.relu else values) @ weight.T + bias
        return sigmoid(values[:, 0]) if self.sigmoid else values[:, 0]


class HeadScore(Scorer):
    """`score_<rule>`: what the head in the file `weights` says of the stored vector, scaled to length one.

    A head is valid for the checkpoint whose vectors it was trained on, and for no other of the same size.
    """

    parameters = frozenset({"weights"})

    def check(self, rule: Rule, policy: PolicySpec, info: EncoderInfo) -> None:
        """Reads the file; raises PolicyError when it is no head, or belongs to another encoder."""
        head = _read(rule)
        belongs = head.about.get("checkpoint_fp")
        if not belongs:
            raise PolicyError(
                f"Rule {rule.name!r}: {rule.weights} does not say which encoder's vectors it was trained on.",
                "Write it with `clipflow convert-head`, naming that encoder.",
            )
        if belongs != info.checkpoint_fp:
            raise PolicyError(
                f"Rule {rule.name!r}: {rule.weights} belongs to the checkpoint {belongs[:12]}; "
                f"this job's encoder {info.model} is {info.checkpoint_fp[:12]}.",
                "Name the encoder that the head was trained on, or a head for this encoder.",
            )
        if head.dim != info.dim:
            raise PolicyError(
                f"Rule {rule.name!r}: {rule.weights} takes vectors of {head.dim} dimensions; "
                f"{info.model} gives {info.dim}.",
                "Name a head for this encoder.",
            )

    def fingerprint(self, rule: Rule, info: EncoderInfo) -> str:
        """Follows the file's bytes, not its name."""
        return digest({"score": rule.score, "head": _read(rule).sha256, "encoder": info.encoder_id})

    def prepare(self, rule: Rule, info: EncoderInfo, encode_texts: TextEncoder) -> Head:
        """Reads the weights; workers need no file."""
        head = _read(rule)
        layers = [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in head.layers]
        relu = head.about["activation"] == "relu"
        while not relu and len(layers) > 1:
            (first, shift), (second, bias) = layers[:2]
            layers[:2] = [(second @ first, second @ shift + bias)]
        mean, std = head.scaling or (np.zeros(1), np.ones(1))
        return Head(tuple(layers), mean.astype(np.float64), std.astype(np.float64), relu, _ends_in_sigmoid(head))

    def score(self, rule: Rule, prepared: Head, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N]; NaN without a vector."""
        scores, at = nothing(evidence), evidence.embedded
        scores[at] = prepared(unit(evidence.vectors[at]))
        return {f"score_{rule.name}": scores}


def _ends_in_sigmoid(head: HeadFile) -> bool:
    return head.about["output"] == "sigmoid"


def _read(rule: Rule) -> HeadFile:
    if not rule.weights:
        raise PolicyError(f"Rule {rule.name!r}: head needs weights.", "Write weights: FILE.safetensors.")
    try:
        return HeadFile.read(rule.weights)
    except UsageError as error:
        raise PolicyError(f"Rule {rule.name!r}: {error.message}", error.mend) from error
