"""From the authors' files of known heads to ours (see `policy.head_file`). No code of a file is run."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from clipflow.encoders import describe
from clipflow.errors import UsageError
from clipflow.policy.head_file import write_head
from clipflow.spec import EncoderSpec

_KERAS_EPSILON = 1e-7


@dataclass(frozen=True)
class Kind:
    """A kind of head.

    Attributes:
        outputs: Of each layer, in the order of computing.
        activation: Between layers, and `output` after the last.
        scaled: Whether the file holds `mean` and `variance` or `std` of its inputs.
    """

    outputs: tuple[int, ...]
    activation: str
    output: str
    scaled: bool


KINDS = {
    # github.com/LAION-AI/aesthetic-predictor: one linear layer.
    "aesthetic_v1": Kind((1,), "none", "none", scaled=False),
    # github.com/christophschuhmann/improved-aesthetic-predictor: five, with nothing but dropout between them.
    "aesthetic_v2": Kind((1024, 128, 64, 16, 1), "none", "none", scaled=False),
    # github.com/LAION-AI/CLIP-based-NSFW-Detector: a Keras model that standardises its inputs.
    "nsfw": Kind((64, 512, 256, 1), "relu", "sigmoid", scaled=True),
}


def convert_head(source: str, target: str, kind: str, encoder: EncoderSpec) -> dict[str, Any]:
    """Write the head in `source`, a state dict saved by torch, as `target`.

    A layer is `weight` [out, in], or `kernel` [in, out] as Keras has it, and `bias` [out], all under one prefix
    that ends in `.` or `/` or is empty. Layers are told apart by their shapes. A scaled kind has `mean` [in], and
    `variance` or `std` [in], under any prefix; `count` is passed over. Nothing else may stand there.

    Args:
        kind: One of `KINDS`.
        encoder: Whose vectors the head was trained on; its checkpoint is written into the file.

    Raises:
        UsageError: `source` is no such state dict, or `target` cannot be written.
        EncoderError: There is no such encoder.
    """
    if not target.endswith(".safetensors"):
        raise UsageError(f"{target} is no name for a head.", "Let it end in .safetensors.")
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        raise UsageError(
            f"{kind!r} is no kind of head.", f"Did you mean {near[0]!r}?" if near else f"Kinds are {', '.join(KINDS)}."
        )
    path = Path(source).expanduser()
    state = _state_dict(path)
    info = describe(encoder)
    layers, scaling = _parts(path, state)
    wanted = _chain(info.dim, KINDS[kind])
    # In one kind no two layers have the same shape.
    by_shape = {weight.shape: (weight, bias) for weight, bias in layers}
    shapes = sorted((weight.shape for weight, _ in layers), reverse=True)
    if shapes != sorted(wanted, reverse=True):
        raise UsageError(
            f"{path.name} is no {kind} head for {info.model}: its layers are {_listed(shapes)}, "
            f"and must be {_listed(wanted)}.",
            "Name the kind that it is, and the encoder that it was trained on.",
        )
    if set(scaling) != ({"mean", "std"} if KINDS[kind].scaled else set()):
        needs = "needs mean, and variance or std, of its inputs" if KINDS[kind].scaled else "scales no inputs"
        raise UsageError(f"{path.name} is no {kind} head: such a head {needs}.", "Name the kind that it is.")
    tensors = {f"{at}.weight": by_shape[shape][0] for at, shape in enumerate(wanted)}
    tensors |= {f"{at}.bias": by_shape[shape][1] for at, shape in enumerate(wanted)} | scaling
    about = {
        "activation": KINDS[kind].activation,
        "output": KINDS[kind].output,
        "checkpoint_fp": info.checkpoint_fp,
        "kind": kind,
        "source": f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    }
    digest = write_head(target, tensors, about)
    return {"head": target, "sha256": digest, "model": info.model, "layers": [list(shape) for shape in wanted], **about}


def _chain(dim: int, kind: Kind) -> list[tuple[int, int]]:
    """Shapes [out, in] in the order of computing."""
    return list(zip(kind.outputs, (dim, *kind.outputs[:-1]), strict=True))


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except Exception as error:
        raise UsageError(
            f"{path} is not a state dict of tensors and nothing else, as torch saves it.",
            "Save model.state_dict(): a pickle of anything more can run any code, and is not opened.",
        ) from error
    if not isinstance(state, dict) or not state or not all(torch.is_tensor(value) for value in state.values()):
        raise UsageError(f"{path} holds no state dict of tensors.", "Save model.state_dict().")
    return {str(name): value.detach().to(torch.float32).numpy() for name, value in state.items()}


def _parts(
    path: Path, state: dict[str, np.ndarray]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, np.ndarray]]:
    """The layers, weight [out, in] and bias, and the scaling."""
    prefixes: dict[str, dict[str, np.ndarray]] = {}
    scaling: dict[str, np.ndarray] = {}
    for name, values in state.items():
        prefix, last = re.fullmatch(r"(.*[./])?([^./]*)", name, re.DOTALL).groups("")  # type: ignore[union-attr]
        if last in ("mean", "std", "variance"):
            key = "mean" if last == "mean" else "std"
            scaling[key] = np.maximum(np.sqrt(values), _KERAS_EPSILON) if last == "variance" else values
        elif last in ("weight", "bias"):
            prefixes.setdefault(prefix, {})[last] = values
        elif last == "kernel":
            prefixes.setdefault(prefix, {})["weight"] = np.ascontiguousarray(values.T)
        elif last != "count":
            raise UsageError(f"{path.name} holds {name}, which is no part of a head.", "Save the head alone.")
    for prefix, layer in prefixes.items():
        if set(layer) != {"weight", "bias"} or layer["weight"].ndim != 2:
            raise UsageError(
                f"{path.name}: {prefix or 'it'} is no linear layer with a weight and a bias.", "Save the head alone."
            )
    return [(layer["weight"], layer["bias"]) for layer in prefixes.values()], scaling


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"
