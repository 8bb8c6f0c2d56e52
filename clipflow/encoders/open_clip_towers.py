"""Models of open_clip, loaded strictly: what does not match is an error, never random weights."""

import gc
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from clipflow.encoders.base import Pixels
from clipflow.encoders.fingerprint import tokenizer_state
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.open_clip_checkpoint import CONFIG, Checkpoint, find_again
from clipflow.encoders.open_clip_files import load_preprocess, tokenizer_folder
from clipflow.encoders.pickled_weights import State, is_archive
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.errors import EncoderError, first_line
from clipflow.spec import digest

# What belongs to texts in open_clip's models of both sides.
_TEXT_PARTS = (
    "text",
    "text_decoder",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
)
# Counted in training only, or a constant that old versions stored.
_NEEDLESS = (".num_batches_tracked", ".position_ids")


class OpenClipEncoder(TorchEncoder):
    """A described checkpoint with its weights loaded.

    Args:
        info: What `describe` said of it.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.
        texts: Whether to keep the text side.

    Raises:
        EncoderError: The weights do not fit the model or are not finite, the machine lacks the precision, or vectors
            are not those of open_clip's own way (see `clipflow.encoders.self_check`).
    """

    library = "open_clip itself"

    def __init__(self, info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> None:
        super().__init__(info, load_preprocess(info), precision, device, texts=texts)
        self._found = find_again(info.model, Path(info.folder), info.commit, info.allow_pickle)
        self.model = _load_model(info, self._found, self._texts).to(self.device)
        if self._texts:
            self._tokenizer = _load_tokenizer(info, self._found)
        self.check_and_settle()

    def images(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `TorchEncoder`."""
        return self.model.encode_image(inputs["pixel_values"])  # type: ignore[no-any-return]

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `TorchEncoder`."""
        return self.model.encode_text(tokens.to(self.device))  # type: ignore[no-any-return]

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [N, length]."""
        return self._tokenizer(list(texts))  # type: ignore[no-any-return]

    def image_side(self) -> list[torch.nn.Module]:
        """See `TorchEncoder`."""
        return [self.model.visual]

    def library_pixels(self, rgb: Pixels) -> dict[str, torch.Tensor]:
        """See `TorchEncoder`."""
        # As create_model_and_transforms has it: the size is the model's, all else the configuration's.
        asked = merge_preprocess_dict({"size": self.model.visual.image_size}, self._found.preprocess_cfg)
        asked["size"] = self.model.visual.image_size
        transform = image_transform_v2(PreprocessCfg(**asked), is_train=False)
        return {"pixel_values": transform(Image.fromarray(rgb))[None]}

    def library_tokens(self, text: str) -> torch.Tensor | None:
        """See `TorchEncoder`; None where a tokenizer of another model would come from the hub."""
        folder = self._found.folder
        if not (folder / CONFIG).is_file() or tokenizer_folder(self._found) not in (None, folder):
            return None
        return open_clip.get_tokenizer(f"local-dir:{folder}")([text])  # type: ignore[no-any-return]


def _load_model(info: EncoderInfo, found: Checkpoint, texts: bool) -> Any:
    if is_archive(found.source) and not found.model_cfg.get("quick_gelu"):
        raise EncoderError(
            f"{found.source.name} is an archive as OpenAI publishes them, whose models use QuickGELU.",
            "Choose the architecture whose name ends in -quickgelu.",
        )
    try:
        state: State = load_file(found.weights)
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{found.weights} cannot be read: {first_line(error)}", "Download it again.") from error
    try:
        model = _build(found.model_cfg)
        state = _fitting(model, state)
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError, AttributeError, OSError) as error:
        raise EncoderError(
            f"open_clip cannot build {info.model}: {first_line(error)}", "Check its configuration and its weights."
        ) from error
    _fill(model, state, info.model)
    if not texts:
        for name in _TEXT_PARTS:
            if hasattr(model, name):
                setattr(model, name, None)
        del state
        gc.collect()
    return model.eval()


def _build(config: dict[str, Any]) -> Any:
    """The model that open_clip's create_model would make, with weights that are yet to be filled in."""
    config = deepcopy(config)
    # Their own start weights would come from the network, to be overwritten at once.
    if config["vision_cfg"].get("timm_model_name"):
        config["vision_cfg"]["timm_model_pretrained"] = False
    foreign = bool(config["text_cfg"].get("hf_model_name"))
    if foreign:
        config["text_cfg"]["hf_model_pretrained"] = False
    if not (config.pop("custom_text", False) or foreign):
        return open_clip.CLIP(**config)
    return (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP)(**config)


def _fitting(model: Any, state: State) -> State:
    """Weights under the names of this version, from those of MobileCLIP's authors and of older versions."""
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):  # one number, stored with or without a dimension
        own = getattr(model, name, None)
        if name in state and own is not None and state[name].numel() == 1:
            state[name] = state[name].reshape(own.shape)
    return state


def _fill(model: Any, state: State, name: str) -> None:
    own = model.state_dict()
    lacking = [key for key in own if key not in state and not key.endswith(_NEEDLESS)]
    needless = [key for key in state if key not in own and not key.endswith(_NEEDLESS)]
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    damaged = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    for keys, what in (
        (lacking, "lack"),
        (misshapen, "do not fit"),
        (needless, "have no place for"),
        (damaged, "are not finite at"),
    ):
        if keys:
            raise EncoderError(
                f"The weights of {name} {what} {min(keys)} ({len(keys)} in all).",
                "They belong to another architecture, or the file is damaged.",
            )
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _load_tokenizer(info: EncoderInfo, found: Checkpoint) -> Any:
    text = info.text
    folder = tokenizer_folder(found)
    if folder is not None and digest(tokenizer_state(folder)) != text["tokenizer"]:
        raise EncoderError(
            f"The tokenizer of {info.model} is no longer the one that was described.", "Run the job again."
        )
    try:
        if folder is None:
            return open_clip.SimpleTokenizer(context_length=text["max_length"], **text["options"])
        return HFTokenizer(
            folder,
            context_length=text["max_length"],
            tokenizer_mode=text["mode"],
            local_files_only=True,
            **{**text["options"], "trust_remote_code": False},
        )
    except (OSError, ValueError, ImportError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise EncoderError(
            f"The tokenizer of {info.model} cannot be loaded: {first_line(error)}", "Check its files."
        ) from error
