"""The loader `open-clip`: models of open_clip, described from files alone.

torch is needed for describing only where weights are pickled and not yet converted, or named by architecture and file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipflow.encoders.base import Encoder
from clipflow.encoders.fingerprint import settled, tokenizer_state
from clipflow.encoders.folder import find_folder
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.open_clip_checkpoint import Checkpoint, find_checkpoint, needs_open_clip
from clipflow.encoders.open_clip_geometry import open_clip_geometry
from clipflow.encoders.preprocess import Resize
from clipflow.encoders.text_settings import has_vocabulary
from clipflow.encoders.weights import Tensor, header, weights_digest
from clipflow.errors import EncoderError, first_line
from clipflow.spec import EncoderSpec, digest

if TYPE_CHECKING:
    from clipflow.encoders.base import Preprocess
    from clipflow.encoders.open_clip_towers import OpenClipEncoder

NAME = "open-clip"
_BPE = "sentencepiece.bpe.model"
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
    weights = header(found.weights)
    geometry = open_clip_geometry(found.preprocess_cfg, found.model_cfg["vision_cfg"].get("image_size", 224))
    text = _text_settings(found)
    return EncoderInfo.described(
        spec,
        int(found.model_cfg["embed_dim"]),
        geometry,
        weights,
        commit=found.commit,
        folder=str(found.folder),
        loader=NAME,
        family="open_clip",
        has_text=True,
        score="softmax" if found.model_cfg.get("init_logit_bias") is None else "sigmoid",
        checkpoint_fp=_checkpoint_fp(found, weights, text, spec.truncate_dim),
        text=text,
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`."""
    return _encoder_class()(info, precision, device)


def load_image_side(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """An encoder that refuses texts, in less memory."""
    return _encoder_class()(info, precision, device, texts=False)


def _encoder_class() -> "type[OpenClipEncoder]":
    needs_open_clip()
    try:
        from clipflow.encoders.open_clip_towers import OpenClipEncoder
    except (ImportError, RuntimeError, AttributeError) as error:
        # torchvision fails in all of these ways beside a torch that it was not built for.
        raise EncoderError(
            f"open_clip does not import: {first_line(error)}", "Install the versions of constraints-open-clip.txt."
        ) from error
    return OpenClipEncoder


def load_preprocess(info: EncoderInfo) -> "Preprocess":
    """See `clipflow.encoders.load_preprocess`."""
    return Resize(Geometry.from_body(info.preprocess), exact=True)


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


def tokenizer_folder(found: Checkpoint) -> Path | None:
    """Where the tokenizer of a model lies that brings or names one: with it, or on the hub; None for open_clip's own.

    Raises:
        EncoderError: It is on the hub, and not to be had from here.
    """
    name = found.model_cfg["text_cfg"].get("hf_tokenizer_name")
    if not name or has_vocabulary(found.folder):
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


def _checkpoint_fp(
    found: Checkpoint, weights: dict[str, Tensor], text: dict[str, Any], truncate_dim: int | None
) -> str:
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
            "weights": weights_digest(weights),
            "config": settled(config),
            "text": text,
            "loader": NAME,
            **({} if truncate_dim is None else {"truncate_dim": truncate_dim}),
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
