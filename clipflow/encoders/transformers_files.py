"""The loader `transformers`: CLIP and SigLIP checkpoints in Hugging Face's layout, described from files alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipflow.encoders import remote_files
from clipflow.encoders.base import Encoder
from clipflow.encoders.fingerprint import checkpoint_fp, preprocess_fp
from clipflow.encoders.folder import find_folder
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.info import EncoderInfo, Score
from clipflow.encoders.preprocess import FixedSize
from clipflow.encoders.remote_code import needs_code, refusal
from clipflow.encoders.weights import Tensor, tensors
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

if TYPE_CHECKING:
    from clipflow.encoders.base import Preprocess

NAME = "transformers"


class Family(NamedTuple):
    """What a `model_type` stands for.

    Attributes:
        architecture: The class that loads it.
        score: How its authors turn a cosine into a probability.
        width: The tensor whose size tells the length of a vector, and on which axis.
        padding: Of texts, as the model was trained.
        mask: Whether the text side is told which tokens are padding.
    """

    architecture: str
    score: Score
    width: tuple[str, int]
    padding: str
    mask: bool


FAMILIES = {
    "clip": Family("CLIPModel", "softmax", ("visual_projection.weight", 0), "longest", True),
    "siglip": Family("SiglipModel", "sigmoid", ("vision_model.head.probe", 2), "max_length", False),
}

# SigLIP 2 was trained on lower-cased text, and its Gemma tokenizer does not lower-case by itself.
_LOWER_CASED = frozenset({"GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer"})


def describe(spec: EncoderSpec) -> EncoderInfo:
    """See `clipflow.encoders.describe`."""
    folder, commit = find_folder(spec.model, spec.revision)
    config = _json(folder / "config.json")
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
    geometry = read_geometry(_processor(folder), kind)
    _fits(geometry, config)
    text = _text_settings(folder, config, family)
    return EncoderInfo(
        model=spec.model,
        revision=spec.revision,
        commit=commit,
        folder=str(folder),
        loader=NAME,
        family=kind,
        dim=_dim(found, family, spec.model),
        has_text=True,
        score=family.score,
        logit_scale=_number(found, "logit_scale"),
        logit_bias=_number(found, "logit_bias"),
        checkpoint_fp=checkpoint_fp(folder, found, config, NAME, text),
        preprocess_fp=preprocess_fp(geometry),
        text=text,
        preprocess=geometry.body(),
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    """See `clipflow.encoders.load_encoder`."""
    from clipflow.encoders.transformers_towers import TransformersEncoder

    return TransformersEncoder(info, precision, device)


def load_preprocess(info: EncoderInfo) -> "Preprocess":
    """See `clipflow.encoders.load_preprocess`."""
    return FixedSize(Geometry.from_body(info.preprocess))


def _family(kind: str, model: str) -> Family:
    if kind not in FAMILIES:
        raise EncoderError(
            f"{model} is of the family {kind!r}, which is not supported yet.",
            f"Supported families: {', '.join(sorted(FAMILIES))} (SigLIP 2 at a fixed resolution is siglip).",
        )
    return FAMILIES[kind]


def _processor(folder: Path) -> dict[str, Any]:
    own = _json(folder / "preprocessor_config.json")
    joint = _json(folder / "processor_config.json").get("image_processor")
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
    tokenizer = _json(folder / "tokenizer_config.json")
    longest = (config.get("text_config") or {}).get("max_position_embeddings", 77 if family.mask else 64)
    return {
        "max_length": int(min(longest, tokenizer.get("model_max_length") or longest)),
        "padding": family.padding,
        "padding_side": "right",
        "attention_mask": family.mask,
        "lower_case": not family.mask and tokenizer.get("tokenizer_class") in _LOWER_CASED,
    }


def _dim(found: dict[str, Tensor], family: Family, model: str) -> int:
    name, axis = family.width
    if name not in found or len(found[name].shape) <= axis:
        raise EncoderError(f"The weights of {model} lack {name}.", f"They are not those of a {family.architecture}.")
    return found[name].shape[axis]


def _number(found: dict[str, Tensor], name: str) -> float | None:
    return found[name].number() if name in found else None


def _json(path: Path) -> dict[str, Any]:
    """The content of a file, nothing if there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise EncoderError(f"{path} cannot be read as JSON.", "Download the checkpoint again.") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} is not a JSON object.", "Download the checkpoint again.")
    return content
