"""The loader `remote`: models that bring their own code, described from their files; none of it is run here.

`transformers` hands over to this loader what needs it, once a job says `trust_remote_code: true`.
"""

from pathlib import Path
from typing import Any, NamedTuple

from clipflow.encoders.base import Encoder
from clipflow.encoders.conversion import converted_folder, is_pickled
from clipflow.encoders.fingerprint import checkpoint_fp
from clipflow.encoders.folder import PICKLES, WEIGHTS, find_folder
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.info import EncoderInfo, Score
from clipflow.encoders.json_file import read_json
from clipflow.encoders.open_clip_geometry import open_clip_geometry
from clipflow.encoders.preprocess import load_preprocess
from clipflow.encoders.remote_code import (
    check_pinned,
    find_code,
    fingerprints,
    model_class,
    refusal,
)
from clipflow.encoders.text_settings import text_settings
from clipflow.encoders.weights import tensors
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

__all__ = ["CONVENTIONS", "NAME", "Convention", "describe", "load", "load_image_side", "load_preprocess"]

NAME = "remote"


class Convention(NamedTuple):
    """How a class of foreign code is called, and what its authors mean by what it gives.

    Attributes:
        images: The method that takes `pixel_values`.
        texts: The method that takes `input_ids`; None where the texts are another model's.
        image_side: The modules that images go through; an empty name is the whole model.
        text_side: The modules that nothing but texts goes through.
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
    text_side: tuple[str, ...]
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
    text_side=("text_model", "text_projection"),
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
        text_side=("text_model", "text_projection"),
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
        text_side=(),
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
    weights = (*WEIGHTS, *PICKLES) if spec.allow_pickle else WEIGHTS
    folder, commit = find_folder(spec.model, spec.revision, weights, code=spec.trust_remote_code)
    config = read_json(folder / "config.json")
    if not config:
        raise EncoderError(f"{folder} holds no config.json.", "Name a checkpoint in Hugging Face's layout.")
    if not spec.trust_remote_code:
        raise refusal(spec.model, config)
    convention = find_convention(config, spec.model)
    code = find_code(spec, folder, commit, config)
    if spec.allow_pickle and is_pickled(folder):
        folder = converted_folder(folder)
    found = tensors(folder)
    geometry = _geometry(folder, config, convention)
    text = _text_settings(folder, config, convention) if convention.texts else {}
    return EncoderInfo.described(
        spec,
        _number(config, convention.width),
        geometry,
        found,
        commit=commit,
        folder=str(folder),
        loader=NAME,
        family=str(config.get("model_type")),
        has_text=convention.texts is not None,
        score=convention.score,
        checkpoint_fp=checkpoint_fp(
            folder, found, config, NAME, text, spec.truncate_dim, code=fingerprints(spec.model, code)
        ),
        text=text,
        code=code,
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`; this runs the code that `info.code` names, and no other."""
    from clipflow.encoders.remote_towers import RemoteEncoder

    return RemoteEncoder(info, precision, device)


def load_image_side(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """An encoder that refuses texts, in less memory; the same code runs as for `load`."""
    from clipflow.encoders.remote_towers import RemoteEncoder

    return RemoteEncoder(info, precision, device, texts=False)


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
        written = clip_processor(side)
    geometry = _as_open_clip(written) if own_processor(written) else read_geometry(written, "clip")
    geometry.check_size((side, side))
    return geometry


def clip_processor(side: int) -> dict[str, Any]:
    """The configuration of CLIP's image processor for pictures of `side` pixels along an edge."""
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def own_processor(written: dict[str, Any]) -> bool:
    """Whether the content of a preprocessor_config.json speaks to a class of the model's own code."""
    return "resize_mode" in written


def _as_open_clip(written: dict[str, Any]) -> Geometry:
    """That of Jina's image processor, a class of its own that is never run: it holds a copy of open_clip's transform.

    See huggingface.co/jinaai/jina-clip-implementation, processing_clip.py and transform.py.
    """
    size, mode = written.get("size", 224), written["resize_mode"]
    if mode not in ("shortest", "squash"):
        raise EncoderError(f"The image processor's resize_mode {mode!r} for {size} is not supported.")
    return open_clip_geometry(written, size)


def _text_settings(folder: Path, config: dict[str, Any], convention: Convention) -> dict[str, Any]:
    longest = min(convention.longest, (config.get("text_config") or {}).get("max_position_embeddings", 1 << 30))
    return text_settings(folder, longest, padding="longest", mask=convention.mask)
