"""Models of open_clip, loaded strictly: what does not match is an error, never random weights."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import HFTokenizer
from safetensors import SafetensorError
from safetensors.torch import load_file

from clipflow.encoders.base import Encoder, Pixels, Vectors, normalised
from clipflow.encoders.fingerprint import tokenizer_state
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.open_clip_checkpoint import Checkpoint, find_again
from clipflow.encoders.open_clip_files import tokenizer_folder
from clipflow.encoders.pickled_weights import State, is_archive, read_pickled
from clipflow.encoders.precision import DTYPES, choose_device, choose_precision
from clipflow.encoders.preprocess import Resize
from clipflow.errors import EncoderError, first_line
from clipflow.spec import digest

_TEXTS_AT_ONCE = 64
# Counted in training only, or a constant that old versions stored.
_NEEDLESS = (".num_batches_tracked", ".position_ids")


class OpenClipEncoder(Encoder):
    """A described checkpoint with its weights loaded.

    Args:
        info: What `describe` said of it.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.

    Raises:
        EncoderError: The weights do not fit the model or are not finite, or the machine lacks the precision.
    """

    def __init__(self, info: EncoderInfo, precision: str, device: str) -> None:
        self.info = info
        self._device = choose_device(device)
        self.precision = choose_precision(precision, self._device)
        self._dtype = DTYPES[self.precision]
        geometry = Geometry.from_body(info.preprocess)
        self.preprocess = Resize(geometry)
        std = torch.tensor(geometry.std, dtype=torch.float64)
        self._factor = self._per_channel(geometry.scale / std)
        self._shift = self._per_channel(torch.tensor(geometry.mean, dtype=torch.float64) / std)
        found = find_again(info.model, Path(info.folder), info.commit, info.allow_pickle)
        self._model = _load_model(info, found).to(self._device)
        # Only the image side: labels and captions are few, and keep fp32 everywhere.
        self._model.visual.to(self._dtype)
        self._tokenizer = _load_tokenizer(info, found)

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, torch.float32).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Pixels | Sequence[Pixels]) -> Vectors:
        """uint8 [N, height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        raw = torch.from_numpy(np.require(np.asarray(pixels), requirements=["C", "W"])).to(self._device)
        values = raw.permute(0, 3, 1, 2).float().mul_(self._factor).sub_(self._shift).contiguous()
        return self._vectors(self._model.encode_image(values.to(self._dtype)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim], in fp32 whatever `precision` says."""
        parts = [np.empty((0, self.info.dim), np.float32)]
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self.tokens(texts[first : first + _TEXTS_AT_ONCE]).to(self._device)
            parts.append(self._vectors(self._model.encode_text(tokens)))
        return np.concatenate(parts)

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [N, length]."""
        made: torch.Tensor = self._tokenizer(list(texts))
        return made

    def _vectors(self, made: torch.Tensor) -> Vectors:
        return normalised(made[:, : self.info.dim].float().cpu().numpy())


def _load_model(info: EncoderInfo, found: Checkpoint) -> Any:
    if found.weights.suffix == ".safetensors":
        try:
            state: State = load_file(found.weights)
        except (SafetensorError, OSError) as error:
            raise EncoderError(f"{found.weights} cannot be read: {first_line(error)}", "Download it again.") from error
    else:
        state = read_pickled(found.weights)
        if is_archive(found.weights) and not found.model_cfg.get("quick_gelu"):
            raise EncoderError(
                f"{found.weights.name} is an archive as OpenAI publishes them, whose models use QuickGELU.",
                "Choose the architecture whose name ends in -quickgelu.",
            )
    try:
        model = _build(found.model_cfg)
        state = _fitting(model, state)
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError, AttributeError, OSError) as error:
        raise EncoderError(
            f"open_clip cannot build {info.model}: {first_line(error)}", "Check its configuration and its weights."
        ) from error
    _fill(model, state, info.model)
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
