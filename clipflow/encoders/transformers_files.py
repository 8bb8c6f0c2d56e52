"""The loader `transformers`: checkpoints in Hugging Face's layout of its own families, described from files alone."""

from pathlib import Path
from typing import Any

from clipflow.encoders import remote_files
from clipflow.encoders.base import Encoder
from clipflow.encoders.conversion import converted_folder, is_pickled
from clipflow.encoders.families import FAMILIES, Family
from clipflow.encoders.fingerprint import checkpoint_fp
from clipflow.encoders.folder import PICKLES, WEIGHTS, find_folder
from clipflow.encoders.geometry import read_geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.json_file import read_json
from clipflow.encoders.preprocess import load_preprocess
from clipflow.encoders.remote_code import needs_code, refusal
from clipflow.encoders.text_settings import text_settings
from clipflow.encoders.weights import Tensor, tensors
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

__all__ = ["NAME", "describe", "load", "load_image_side", "load_preprocess"]

NAME = "transformers"

# RoBERTa counts positions from the padding's id on, so that fewer are left for tokens (fairseq's make_positions).
_COUNT_FROM_PADDING = frozenset({"altclip"})


def describe(spec: EncoderSpec) -> EncoderInfo:
    """See `clipflow.encoders.describe`."""
    folder, commit = find_folder(spec.model, spec.revision, (*WEIGHTS, *PICKLES) if spec.allow_pickle else WEIGHTS)
    config = read_json(folder / "config.json")
    if not config:
        raise EncoderError(f"{folder} holds no config.json.", "Name a checkpoint in Hugging Face's layout.")
    kind = str(config.get("model_type"))
    # A checkpoint can borrow a family's name for a class of its own; the weights would then load into the wrong one.
    if "auto_map" in config or (kind in FAMILIES and needs_code(config, FAMILIES[kind].architecture)):
        if not spec.trust_remote_code:
            raise refusal(spec.model, config)
        return remote_files.describe(spec)
    family = _family(kind, spec.model)
    if spec.allow_pickle and is_pickled(folder):
        folder = converted_folder(folder)
    found = tensors(folder)
    geometry = read_geometry(_processor(folder), family.processor)
    if family.one_size:
        side = (config.get("vision_config") or {}).get("image_size", 224)
        geometry.check_size(tuple(side) if isinstance(side, list) else (side, side))
    text = _text_settings(folder, config, family) if family.has_text else {}
    return EncoderInfo.described(
        spec,
        _dim(found, family, spec.model),
        geometry,
        found,
        commit=commit,
        folder=str(folder),
        loader=NAME,
        family=kind,
        has_text=family.has_text,
        score=family.score,
        checkpoint_fp=checkpoint_fp(folder, found, config, NAME, text, spec.truncate_dim),
        text=text,
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`."""
    from clipflow.encoders.transformers_towers import TransformersEncoder

    return TransformersEncoder(info, precision, device)


def load_image_side(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """An encoder that refuses texts, in less memory."""
    from clipflow.encoders.transformers_towers import TransformersEncoder

    return TransformersEncoder(info, precision, device, texts=False)


def _family(kind: str, model: str) -> Family:
    if kind not in FAMILIES:
        raise EncoderError(
            f"{model} is of the family {kind!r}, which is not supported.",
            f"Supported families: {', '.join(sorted(FAMILIES))}.",
        )
    return FAMILIES[kind]


def _processor(folder: Path) -> dict[str, Any]:
    own = read_json(folder / "preprocessor_config.json")
    joint = read_json(folder / "processor_config.json").get("image_processor")
    # transformers prefers the part of the joint file where both are there.
    chosen = joint if isinstance(joint, dict) else own
    if not chosen:
        raise EncoderError(
            f"{folder} says nothing of how images are prepared.",
            "A checkpoint needs preprocessor_config.json or processor_config.json.",
        )
    return chosen


def _text_settings(folder: Path, config: dict[str, Any], family: Family) -> dict[str, Any]:
    text = config.get("text_config") or {}
    longest = int(text.get("max_position_embeddings", family.longest))
    if config["model_type"] in _COUNT_FROM_PADDING:
        longest -= int(text.get("pad_token_id", 1)) + 1
    return text_settings(folder, min(longest, family.cut or longest), padding=str(family.padding), mask=family.mask)


def _dim(found: dict[str, Tensor], family: Family, model: str) -> int:
    name, axis = family.width
    # A checkpoint saved from a larger model puts that one's prefix before every name.
    name = next((one for one in sorted(found) if one.endswith("." + name)), name) if name not in found else name
    if name not in found or len(found[name].shape) <= axis:
        raise EncoderError(f"The weights of {model} lack {name}.", f"They are not those of a {family.architecture}.")
    return found[name].shape[axis]
