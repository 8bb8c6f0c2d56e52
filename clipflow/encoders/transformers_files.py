"""The loader `transformers`: checkpoints in Hugging Face's layout of its own families, described from files alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipflow.encoders import remote_files
from clipflow.encoders.base import Encoder
from clipflow.encoders.families import FAMILIES, Family
from clipflow.encoders.fingerprint import checkpoint_fp, preprocess_fp
from clipflow.encoders.folder import PICKLES, WEIGHTS, find_folder
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.json_file import read_json
from clipflow.encoders.pickled import converted, has_pickle
from clipflow.encoders.preprocess import Resize
from clipflow.encoders.remote_code import needs_code, refusal
from clipflow.encoders.weights import Tensor, tensors
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

if TYPE_CHECKING:
    from clipflow.encoders.base import Preprocess

NAME = "transformers"


# SigLIP 2 was trained on lower-cased text, and its Gemma tokenizer does not lower-case by itself.
_LOWER_CASED = frozenset({"GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer"})


# RoBERTa counts positions from the padding's id on, so that fewer are left for tokens (fairseq's make_positions).
_COUNT_FROM_PADDING = frozenset({"altclip"})


def describe(spec: EncoderSpec) -> EncoderInfo:
    """See `clipflow.encoders.describe`."""
    folder, commit = find_folder(spec.model, spec.revision, (*WEIGHTS, *PICKLES) if spec.allow_pickle else WEIGHTS)
    if spec.allow_pickle and has_pickle(folder):
        folder = converted(folder)
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
    found = tensors(folder)
    geometry = read_geometry(_processor(folder), family.processor)
    if family.one_size:
        _fits(geometry, config)
    text = _text_settings(folder, config, family) if family.has_text else {}
    full = _dim(found, family, spec.model)
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
        family=kind,
        dim=spec.truncate_dim or full,
        has_text=family.has_text,
        score=family.score,
        logit_scale=_number(found, "logit_scale"),
        logit_bias=_number(found, "logit_bias"),
        checkpoint_fp=checkpoint_fp(folder, found, config, NAME, text, spec.truncate_dim),
        preprocess_fp=preprocess_fp(geometry),
        text=text,
        preprocess=geometry.body(),
        truncate_dim=spec.truncate_dim,
        allow_pickle=spec.allow_pickle,
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`."""
    from clipflow.encoders.transformers_towers import TransformersEncoder

    return TransformersEncoder(info, precision, device)


def load_image_side(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """An encoder that refuses texts, in less memory."""
    from clipflow.encoders.transformers_towers import TransformersEncoder

    return TransformersEncoder(info, precision, device, texts=False)


def load_preprocess(info: EncoderInfo) -> "Preprocess":
    """See `clipflow.encoders.load_preprocess`."""
    return Resize(Geometry.from_body(info.preprocess))


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


def _fits(geometry: Geometry, config: dict[str, Any]) -> None:
    side = (config.get("vision_config") or {}).get("image_size", 224)
    wanted = tuple(side) if isinstance(side, list) else (side, side)
    if geometry.size != wanted:
        raise EncoderError(
            f"The image processor makes {geometry.size} pixels where the model takes {wanted}.",
            "The files of two checkpoints are mixed; download it again.",
        )


def _text_settings(folder: Path, config: dict[str, Any], family: Family) -> dict[str, Any]:
    tokenizer = read_json(folder / "tokenizer_config.json")
    text = config.get("text_config") or {}
    longest = int(text.get("max_position_embeddings", family.longest))
    if config["model_type"] in _COUNT_FROM_PADDING:
        longest -= int(text.get("pad_token_id", 1)) + 1
    longest = min(longest, family.cut or longest)
    return {
        "max_length": int(min(longest, tokenizer.get("model_max_length") or longest)),
        "padding": family.padding,
        "padding_side": "right",
        "attention_mask": family.mask,
        "lower_case": tokenizer.get("tokenizer_class") in _LOWER_CASED,
    }


def _dim(found: dict[str, Tensor], family: Family, model: str) -> int:
    name, axis = family.width
    # A checkpoint saved from a larger model puts that one's prefix before every name.
    name = next((one for one in sorted(found) if one.endswith("." + name)), name) if name not in found else name
    if name not in found or len(found[name].shape) <= axis:
        raise EncoderError(f"The weights of {model} lack {name}.", f"They are not those of a {family.architecture}.")
    return found[name].shape[axis]


def _number(found: dict[str, Tensor], name: str) -> float | None:
    return found[name].number() if name in found else None
