"""The loader `open-clip`: models of open_clip, described from files alone.

torch is needed for describing only where weights are pickled, or named by architecture and file.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipflow.encoders.base import Encoder
from clipflow.encoders.fingerprint import preprocess_fp, settled, tokenizer_state
from clipflow.encoders.folder import find_folder
from clipflow.encoders.geometry import CLIP_MEAN, CLIP_STD, Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.open_clip_checkpoint import Checkpoint, find_checkpoint, needs_open_clip
from clipflow.encoders.preprocess import Resize
from clipflow.encoders.weights import header, weights_digest
from clipflow.errors import EncoderError, first_line
from clipflow.spec import EncoderSpec, digest

if TYPE_CHECKING:
    from clipflow.encoders.base import Preprocess

NAME = "open-clip"
_BPE = "sentencepiece.bpe.model"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", _BPE)
# Names without an owner, from before the hub had owners, that open_clip's configurations use.
_OWNERS = {
    "bert-base-uncased": "google-bert",
    "roberta-base": "FacebookAI",
    "xlm-roberta-base": "FacebookAI",
    "xlm-roberta-large": "FacebookAI",
}
# Which weights a tower starts from before those of the checkpoint replace them: without effect here.
_STARTS = frozenset({"timm_model_pretrained", "hf_model_pretrained"})


def describe(spec: EncoderSpec) -> EncoderInfo:
    """See `clipflow.encoders.describe`."""
    found = find_checkpoint(spec.model, spec.revision, spec.allow_pickle)
    _no_foreign_parts(found.model_cfg, spec.model)
    weights, scale, bias = _weights(found.weights)
    if (width := int(found.model_cfg["embed_dim"])) < (spec.truncate_dim or 1):
        raise EncoderError(f"{spec.model} has {width} dimensions only.", "Lower encoder.truncate_dim.")
    geometry = open_clip_geometry(found.preprocess_cfg, found.model_cfg["vision_cfg"].get("image_size", 224))
    text = _text_settings(found)
    return EncoderInfo(
        model=spec.model,
        revision=spec.revision,
        commit=found.commit,
        folder=str(found.folder),
        loader=NAME,
        family="open_clip",
        dim=spec.truncate_dim or width,
        has_text=True,
        score="softmax" if found.model_cfg.get("init_logit_bias") is None else "sigmoid",
        logit_scale=scale,
        logit_bias=bias,
        checkpoint_fp=_checkpoint_fp(found, weights, text),
        preprocess_fp=preprocess_fp(geometry),
        text=text,
        preprocess=geometry.body(),
        truncate_dim=spec.truncate_dim,
        allow_pickle=spec.allow_pickle,
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`."""
    needs_open_clip()
    try:
        from clipflow.encoders.open_clip_towers import OpenClipEncoder
    except (ImportError, RuntimeError, AttributeError) as error:
        # torchvision fails in all of these ways beside a torch that it was not built for.
        raise EncoderError(
            f"open_clip does not import: {first_line(error)}", "Install the versions of constraints-open-clip.txt."
        ) from error
    return OpenClipEncoder(info, precision, device)


def load_preprocess(info: EncoderInfo) -> "Preprocess":
    """See `clipflow.encoders.load_preprocess`."""
    return Resize(Geometry.from_body(info.preprocess))


def open_clip_geometry(config: dict[str, Any], side: Any) -> Geometry:
    """What `open_clip.transform.image_transform_v2` computes.

    Args:
        config: A preprocess_cfg; what is missing has open_clip's default.
        side: The model's image_size, which open_clip prefers to the size that the configuration names.

    Raises:
        EncoderError: It asks for what open_clip does not have.
    """
    got = {key: value for key, value in config.items() if value is not None}
    size = (int(side[0]), int(side[1])) if isinstance(side, list | tuple) else (int(side), int(side))
    mode, filter = got.get("resize_mode", "shortest"), got.get("interpolation", "bicubic")
    if mode not in ("shortest", "longest", "squash") or filter not in ("bicubic", "bilinear", "random"):
        raise EncoderError(f"open_clip does not resize by {mode!r} and {filter!r}.", "Check preprocess_cfg.")
    square = size[0] == size[1]
    if filter == "random" or (mode == "shortest" and not square):
        filter = "bicubic"  # open_clip passes no filter on where it covers an oblong
    return Geometry(
        shortest=size[0] if mode == "shortest" and square else None,
        squash=size if mode == "squash" else None,
        crop=None if mode == "squash" else size,
        filter=filter,
        scale=1 / 255,
        mean=_channels(got.get("mean", CLIP_MEAN)),
        std=_channels(got.get("std", CLIP_STD)),
        cover=size if mode == "shortest" and not square else None,
        contain=size if mode == "longest" else None,
        centre="transformers" if mode == "squash" else "torchvision",
        fill=int(got.get("fill_color", 0)) if mode == "longest" else 0,
    )


def _channels(values: Any) -> tuple[float, float, float]:
    each = values if isinstance(values, list | tuple) else [values] * 3
    if len(each) != 3:
        raise EncoderError(f"The mean or std {values!r} of preprocess_cfg is not one number per channel.")
    return float(each[0]), float(each[1]), float(each[2])


def _no_foreign_parts(config: dict[str, Any], model: str) -> None:
    """A configuration comes from a stranger: it names an architecture, and neither code nor another model."""
    options = config["text_cfg"].get("tokenizer_kwargs") or {}
    if options.get("trust_remote_code") or ":" in str(config["vision_cfg"].get("timm_model_name") or ""):
        raise EncoderError(
            f"{model} asks for code or for a model of somewhere else.", "Choose a checkpoint that is complete."
        )
    if options.get("reduction_mask"):
        raise EncoderError(
            f"{model} shortens texts by chance, which gives other vectors every time.",
            "Take reduction_mask out of its tokenizer_kwargs; texts are then cut at the end.",
        )


def _weights(path: Path) -> tuple[str, float | None, float | None]:
    """The digest, the scale and the bias of a file of weights."""
    if path.suffix == ".safetensors":
        found = header(path)
        scale, bias = (found[name].number() if name in found else None for name in ("logit_scale", "logit_bias"))
        return weights_digest(found), scale, bias
    from clipflow.encoders.pickled_weights import read_pickled

    state = read_pickled(path)
    scale, bias = (float(state[name]) if name in state else None for name in ("logit_scale", "logit_bias"))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), scale, bias


def tokenizer_folder(found: Checkpoint) -> Path | None:
    """Where the tokenizer of a model lies that brings or names one: with it, or on the hub; None for open_clip's own.

    Raises:
        EncoderError: It is on the hub, and not to be had from here.
    """
    name = found.model_cfg["text_cfg"].get("hf_tokenizer_name")
    if not name or any((found.folder / one).is_file() for one in _TOKENIZERS):
        return found.folder if name else None
    return find_folder(f"{_OWNERS[name]}/{name}" if name in _OWNERS else name, None, (_BPE,))[0]


def _text_settings(found: Checkpoint) -> dict[str, Any]:
    config = found.model_cfg["text_cfg"]
    text = {
        "max_length": int(config.get("context_length", 77)),
        "options": dict(config.get("tokenizer_kwargs") or {}),
        "mode": config.get("tokenizer_mode"),
    }
    if (folder := tokenizer_folder(found)) is not None:
        text["tokenizer"] = digest(tokenizer_state(folder))
    return text


def _checkpoint_fp(found: Checkpoint, weights: str, text: dict[str, Any]) -> str:
    config = {
        **found.model_cfg,
        **{
            part: {key: value for key, value in found.model_cfg[part].items() if key not in _STARTS}
            for part in ("vision_cfg", "text_cfg")
        },
    }
    if name := config["text_cfg"].get("hf_model_name"):
        config["hf_model"] = _foreign_config(name)
    return digest(
        {
            "weights": weights,
            "config": settled(config),
            "text": text,
            "loader": NAME,
        }
    )


def _foreign_config(name: str) -> dict[str, Any]:
    """The configuration of a text tower of transformers; open_clip takes it from the hub or a folder by this name."""
    from transformers import AutoConfig

    try:
        made: dict[str, Any] = AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"The text tower {name} is not here: {first_line(error)}", "Connect, or fill the hub's cache."
        ) from error
    return made
