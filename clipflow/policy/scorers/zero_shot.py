"""Zero-shot classification: how well one text of a set says what an image shows."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from clipflow.encoders.info import EncoderInfo, Score
from clipflow.errors import PolicyError
from clipflow.policy.scorers.base import Evidence, Floats, Scorer, TextEncoder, nothing, sigmoid, unit
from clipflow.spec import PolicySpec, Rule, digest

_ENSEMBLING = "unit vectors, mean, unit vector"
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")

Fault = tuple[str, str]
"""What is wrong, and the mend."""


@dataclass(frozen=True)
class Labels:
    """What scoring needs of a rule: one vector a label, in the order of the sorted keys, and how cosines are read.

    Attributes:
        vectors: float64 [labels, dim], of length one.
        how: The encoder's own way from cosines to probabilities.
        scale: Factor of a cosine, exp(logit_scale).
        bias: Added after scaling.
    """

    vectors: np.ndarray
    how: Score
    scale: float
    bias: float

    def probabilities(self, cosines: np.ndarray) -> np.ndarray:
        """Float64 [N, labels] to the same shape: softmax over labels, a sigmoid of each, or the cosine itself.

        Sources: Radford et al. 2021 (CLIP), figure 3; Zhai et al. 2023 (SigLIP), equation 1.
        """
        if self.how == "cosine":
            return cosines
        logits = self.scale * cosines + self.bias
        if self.how == "sigmoid":
            return sigmoid(logits)
        powers: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares


class ZeroShot(Scorer):
    """`score_<rule>`: the probability of `label` among `labels`; `score_<rule>__<key>` for every key of `keep`.

    A label's vector is made of all its texts in all templates as CLIP's authors do: each of length one, their
    mean, of length one again.
    """

    parameters = frozenset({"labels", "templates", "label", "none", "closed", "keep"})
    needs_text = True

    def check(self, rule: Rule, policy: PolicySpec, info: EncoderInfo) -> None:
        """Raises PolicyError for a set of labels that is no set, or says nothing of images outside of it."""
        for check in (_label_faults, _outside_faults, _keep_faults, _text_faults):
            for wrong, mend in check(rule, info):
                raise PolicyError(f"Rule {rule.name!r}: {wrong}", mend)

    def columns(self, rule: Rule) -> list[str]:
        """The score, and the labels that are kept."""
        return [f"score_{rule.name}", *(f"score_{rule.name}__{key}" for key in rule.keep or ())]

    def fingerprint(self, rule: Rule, info: EncoderInfo) -> str:
        """Equal for equal sets of labels, however they are written; another `keep` is another set of columns."""
        return digest(
            {
                "score": rule.score,
                "encoder": [*self.inputs(rule, info), info.score, info.logit_scale, info.logit_bias],
                "ensembling": _ENSEMBLING,
                "templates": _templates(rule, info),
                "labels": _texts(rule, info),
                "label": rule.label,
                "keep": sorted(rule.keep or ()),
            }
        )

    def prepare(self, rule: Rule, info: EncoderInfo, encode_texts: TextEncoder) -> Labels:
        """Encodes every text in every template, in one call."""
        templates, texts = _templates(rule, info), _texts(rule, info)
        filled = [[template.replace("{}", text) for template in templates for text in texts[key]] for key in texts]
        encoded = unit(encode_texts([text for label in filled for text in label]).astype(np.float64))
        ends = np.cumsum([len(label) for label in filled])
        vectors = unit(np.stack([part.mean(axis=0) for part in np.split(encoded, ends[:-1])]))
        if not np.isfinite(vectors).all():
            raise PolicyError(
                f"Rule {rule.name!r}: {info.model} has no vector for a text of its labels.", "Word the labels anew."
            )
        return Labels(vectors, _how(info), float(np.exp(info.logit_scale or 0)), info.logit_bias or 0.0)

    def score(self, rule: Rule, prepared: Labels, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N] by column; NaN without a vector."""
        at = evidence.embedded
        # Summed in one order whatever the number of rows: a batch's size decides no digit.
        cosines = np.einsum("nd,ld->nl", unit(evidence.vectors[at]), prepared.vectors)
        probabilities = prepared.probabilities(cosines).astype(np.float32)
        keys = sorted(rule.labels or ())
        found = {}
        for name, key in zip(self.columns(rule), [rule.label, *(rule.keep or ())], strict=True):
            found[name] = nothing(evidence)
            found[name][at] = probabilities[:, keys.index(str(key))]
        return found


def _how(info: EncoderInfo) -> Score:
    return info.score if info.logit_scale is not None else "cosine"


def _canonical(text: str, info: EncoderInfo) -> str:
    """As the text side is given it: two spellings of one text are one."""
    text = unicodedata.normalize("NFC", text)
    return text.lower() if info.text.get("lower_case") else text


def _templates(rule: Rule, info: EncoderInfo) -> list[str]:
    return [_canonical(template, info) for template in (("{}",) if rule.templates is None else rule.templates)]


def _texts(rule: Rule, info: EncoderInfo) -> dict[str, list[str]]:
    """By key in sorted order, so that the order of writing decides no digit."""
    return {
        key: [_canonical(text, info) for text in ([texts] if isinstance(texts, str) else texts)]
        for key, texts in sorted((rule.labels or {}).items())
    }


def _label_faults(rule: Rule, info: EncoderInfo) -> Iterator[Fault]:
    if not rule.labels:
        yield "zero_shot needs labels.", "Write labels: {key: text, other: text}."
    if rule.label is None:
        yield "zero_shot needs label, the key whose probability is the score.", "Write label: and one key of labels."
    for name in ("label", "none"):
        key = getattr(rule, name)
        if key is not None and key not in (rule.labels or {}):
            yield f"{name} is {key!r}, which is no key of labels.", _nearest(key, rule)


def _outside_faults(rule: Rule, info: EncoderInfo) -> Iterator[Fault]:
    if rule.none is None and not rule.closed:
        yield (
            "its labels hold nothing for an image that shows none of them.",
            "Name such a label by none: KEY, or say closed: true if every image shows one of them.",
        )
    if rule.none is not None and rule.closed:
        yield "none and closed: true exclude each other.", "Keep one of the two."
    fewest = 1 if rule.closed and _how(info) != "softmax" else 2
    if len(rule.labels or ()) < fewest:
        yield "a single label is always the most probable one.", "Add a label for what else there may be."


def _keep_faults(rule: Rule, info: EncoderInfo) -> Iterator[Fault]:
    keep = rule.keep or ()
    for at, key in enumerate(keep):
        if key not in (rule.labels or {}):
            yield f"keep names {key!r}, which is no key of labels.", _nearest(key, rule)
        if key in keep[:at]:
            yield f"keep names {key!r} twice.", "Name it once."
        if not _COLUMN_NAME.fullmatch(key) or "__" in key:
            yield (
                f"the label {key!r} cannot name a column.",
                "A label that is kept matches [a-z][a-z0-9_]* and holds no double underscore.",
            )


def _text_faults(rule: Rule, info: EncoderInfo) -> Iterator[Fault]:
    templates = _templates(rule, info)
    if not templates:
        yield "templates is empty.", "Leave it out, or write at least '{}'."
    for at, template in enumerate(templates):
        if "{}" not in template:
            yield f"the template {template!r} has no place for a label.", "Write {} where the label's text goes."
        if template in templates[:at]:
            yield f"the template {template!r} stands there twice.", "Keep one of the two."
    seen: dict[str, str] = {}
    for key, texts in _texts(rule, info).items():
        if not texts or not all(text.strip() for text in texts):
            yield f"the label {key!r} has no text.", "Say in words what such an image shows."
        for text in texts:
            if text in seen:
                yield f"the text {text!r} stands under {seen[text]!r} and under {key!r}.", "Keep one of the two."
            seen[text] = key


def _nearest(key: str, rule: Rule) -> str:
    keys = sorted(rule.labels or ())
    near = get_close_matches(key, keys, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Keys are {', '.join(keys)}."
