"""The loader `remote`: models that bring their own code, described from their files; none of it is run here.

`transformers` hands over to this loader what needs it, once a job says `trust_remote_code: true`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipflow.encoders.base import Encoder
from clipflow.encoders.fingerprint import checkpoint_fp, preprocess_fp
from clipflow.encoders.folder import find_folder
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.info import EncoderInfo, Score
from clipflow.encoders.json_file import read_json
from clipflow.encoders.preprocess import Resize
from clipflow.encoders.remote_code import (
    check_pinned,
    find_code,
    fingerprints,
    model_class,
    needs_code,
    refusal,
)
from clipflow.encoders.weights import tensors
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

if TYPE_CHECKING:
    from clipflow.encoders.base import Preprocess

__all__ = ["CONVENTIONS", "NAME", "Convention", "describe", "load", "load_preprocess", "needs_code", "refusal"]

NAME = "remote"


class Convention(NamedTuple):
    """How a class of foreign code is called, and what its authors mean by what it gives.

    Attributes:
        images: The method that takes `pixel_values`.
        texts: The method that takes `input_ids`; None where the texts are another model's.
        image_side: The modules that images go through; an empty name is the whole model.
        width: Where config.json tells the length of a vector.
        side: Where it tells the pixels along an edge.
        score: How its authors turn a cosine into a probability.
        class_token: Whether the vector is the first token of `last_hidden_state` and not the result itself.
        mask: Whether the text side is told which tokens are padding.
        longest: Tokens of a text at most, beside what the checkpoint itself says.
        clip_processor: Whether a checkpoint that says nothing of preprocessing is meant to be used with CLIP's.
    """

    images: str
    texts: str | None
    image_side: tuple[str, ...]
    width: tuple[str, ...]
    side: tuple[str, ...]
    score: Score
    class_token: bool = False
    mask: bool = False
    longest: int = 77
    clip_processor: bool = False


# Sun et al. 2024, 8B and 18B (huggingface.co/BAAI/EVA-CLIP-8B): its page takes CLIP's processor from another model.
_EVA = Convention(
    images="encode_image",
    texts="encode_text",
    image_side=("vision_model", "visual_projection"),
    width=("projection_dim",),
    side=("vision_config", "image_size"),
    score="softmax",
    clip_processor=True,
)
CONVENTIONS = {
    "EvaCLIPModel": _EVA,
    "EVACLIPModel": _EVA,
    # Koukounas et al. 2024; its own `encode_text` cuts texts at 512 tokens.
    "JinaCLIPModel": Convention(
        images="get_image_features",
        texts="get_text_features",
        image_side=("vision_model", "visual_projection"),
        width=("projection_dim",),
        side=("vision_config", "image_size"),
        score="softmax",
        mask=True,
        longest=512,
    ),
    # Nussbaum et al. 2024; aligned with nomic-embed-text, which is a model of its own.
    "NomicVisionModel": Convention(
        images="__call__",
        texts=None,
        image_side=("",),
        width=("n_embd",),
        side=("img_size",),
        score="cosine",
        class_token=True,
    ),
}


def describe(spec: EncoderSpec) -> EncoderInfo:
    """See `clipflow.encoders.describe`. Imports neither torch nor transformers, and executes nothing.

    Raises:
        EncoderError: Code is not allowed, or not pinned to commits; nobody told clipflow how to call it.
    """
    if spec.trust_remote_code:
        check_pinned(spec)
    folder, commit = find_folder(spec.model, spec.revision, code=spec.trust_remote_code)
    config = read_json(folder / "config.json")
    if not config:
        raise EncoderError(f"{folder} holds no config.json.", "Name a checkpoint in Hugging Face's layout.")
    if not spec.trust_remote_code:
        raise refusal(spec.model, config)
    convention = find_convention(config, spec.model)
    code = find_code(spec, folder, commit, config)
    found = tensors(folder)
    geometry = _geometry(folder, config, convention)
    text = _text_settings(folder, config, convention)
    full = _number(config, convention.width)
    if spec.truncate_dim is not None and spec.truncate_dim > full:
        raise EncoderError(
            f"encoder.truncate_dim is {spec.truncate_dim}, and {spec.model} has {full} dimensions.",
            f"Choose at most {full}, or leave it out.",
        )
    return EncoderInfo(
        model=spec.model,
        revision=spec.revision,
        commit=commit,
        folder=str(folder),
        loader=NAME,
        family=str(config.get("model_type")),
        dim=spec.truncate_dim or full,
        has_text=convention.texts is not None,
        score=convention.score,
        logit_scale=found["logit_scale"].number() if "logit_scale" in found else None,
        logit_bias=None,
        checkpoint_fp=checkpoint_fp(
            folder, found, config, NAME, text, spec.truncate_dim, code=fingerprints(spec.model, code)
        ),
        preprocess_fp=preprocess_fp(geometry),
        text=text,
        preprocess=geometry.body(),
        truncate_dim=spec.truncate_dim,
        code=code,
        allow_pickle=spec.allow_pickle,
    )


def load(info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> Encoder:
    """See `clipflow.encoders.load_encoder`; this runs the code that `info.code` names, and no other."""
    from clipflow.encoders.remote_towers import RemoteEncoder

    return RemoteEncoder(info, precision, device, texts=texts)


def load_preprocess(info: EncoderInfo) -> "Preprocess":
    """See `clipflow.encoders.load_preprocess`."""
    return Resize(Geometry.from_body(info.preprocess))


def find_convention(config: dict[str, Any], model: str) -> Convention:
    """How the class that a configuration names is called.

    Raises:
        EncoderError: It is none of those that are known.
    """
    named = model_class(config)
    if named not in CONVENTIONS:
        raise EncoderError(
            f"{model} needs {named}, and how that is called is not known here.",
            f"Known: {', '.join(sorted(CONVENTIONS))}. A loader of your own can do it (group clipflow.loaders).",
        )
    return CONVENTIONS[named]


def _number(config: dict[str, Any], path: tuple[str, ...]) -> int:
    value: Any = config
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, int):
        raise EncoderError(f"config.json says no {'.'.join(path)}.", "Download the checkpoint again.")
    return value


def _geometry(folder: Path, config: dict[str, Any], convention: Convention) -> Geometry:
    side = _number(config, convention.side)
    written = read_json(folder / "preprocessor_config.json")
    if not written and not convention.clip_processor:
        raise EncoderError(f"{folder} says nothing of how images are prepared.", "It needs preprocessor_config.json.")
    if not written:
        written = {"size": {"shortest_edge": side}, "crop_size": side}
    elif "resize_mode" in written:
        written = _as_clip(written)
    geometry = read_geometry(written, "clip")
    if geometry.size != (side, side):
        raise EncoderError(
            f"The image processor makes {geometry.size} pixels where the model takes {(side, side)}.",
            "The files of two checkpoints are mixed; download it again.",
        )
    return geometry


def _as_clip(written: dict[str, Any]) -> dict[str, Any]:
    """Jina's image processor, a class of its own that is never run, in the words of CLIP's."""
    size, mode, filter = written.get("size", 224), written["resize_mode"], written.get("interpolation", "bicubic")
    height, width = size if isinstance(size, list) else (size, size)
    if mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
        raise EncoderError(f"The image processor's resize_mode {mode!r} for {size} is not supported.")
    if filter not in ("bicubic", "bilinear"):
        raise EncoderError(f"The image processor's interpolation {filter!r} is not supported.")
    pair = {"height": height, "width": width}
    return {
        "size": {"shortest_edge": height} if mode == "shortest" else pair,
        "do_center_crop": mode == "shortest",
        "crop_size": pair,
        "resample": {"bilinear": 2, "bicubic": 3}[filter],
        "image_mean": written.get("mean"),
        "image_std": written.get("std"),
    }


def _text_settings(folder: Path, config: dict[str, Any], convention: Convention) -> dict[str, Any]:
    if convention.texts is None:
        return {}
    longest = min(convention.longest, (config.get("text_config") or {}).get("max_position_embeddings", 1 << 30))
    tokenizer = read_json(folder / "tokenizer_config.json")
    return {
        "max_length": int(min(longest, tokenizer.get("model_max_length") or longest)),
        "padding": "longest",
        "padding_side": "right",
        "attention_mask": convention.mask,
        "lower_case": False,
    }
