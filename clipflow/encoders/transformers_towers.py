"""CLIP and SigLIP models of transformers, loaded strictly: what does not match is an error, never random weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, CLIPModel, SiglipModel
from transformers.utils import logging as hub_logging

from clipflow.encoders.base import Encoder, Pixels, Vectors, normalised
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.precision import DTYPES, choose_device, choose_precision
from clipflow.encoders.preprocess import FixedSize
from clipflow.errors import EncoderError, first_line

_CLASSES: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel}
_TEXTS_AT_ONCE = 64


class TransformersEncoder(Encoder):
    """A described checkpoint with its weights loaded.

    Args:
        info: What `describe` said of it.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.

    Raises:
        EncoderError: The weights do not fit the model, the files are damaged, or the machine lacks the precision.
    """

    def __init__(self, info: EncoderInfo, precision: str, device: str) -> None:
        self.info = info
        self._device = choose_device(device)
        self.precision = choose_precision(precision, self._device)
        self._dtype = DTYPES[self.precision]
        geometry = Geometry.from_body(info.preprocess)
        self.preprocess = FixedSize(geometry)
        std = torch.tensor(geometry.std, dtype=torch.float64)
        self._factor = self._per_channel(geometry.scale / std)
        self._shift = self._per_channel(torch.tensor(geometry.mean, dtype=torch.float64) / std)
        self._model = _load_model(info).to(self._device)
        # Only the image side: labels and captions are few, and keep fp32 everywhere.
        self._model.vision_model.to(self._dtype)
        if info.family == "clip":
            self._model.visual_projection.to(self._dtype)
        self._tokenizer = _load_tokenizer(info)

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, torch.float32).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """uint8 [N, height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        raw = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)
        values = raw.permute(0, 3, 1, 2).float().mul_(self._factor).sub_(self._shift).contiguous()
        made = self._model.get_image_features(pixel_values=values.to(self._dtype)).pooler_output
        return normalised(made.float().cpu().numpy())

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim], in fp32 whatever `precision` says."""
        parts = [np.empty((0, self.info.dim), np.float32)]
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self.tokens(texts[first : first + _TEXTS_AT_ONCE])
            made = self._model.get_text_features(**{key: value.to(self._device) for key, value in tokens.items()})
            parts.append(normalised(made.pooler_output.cpu().numpy()))
        return np.concatenate(parts)

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """int64 [N, length] per input of the text side."""
        text = self.info.text
        chosen = [one.lower() for one in texts] if text["lower_case"] else list(texts)
        made = self._tokenizer(
            chosen,
            padding=text["padding"],
            truncation=True,
            max_length=text["max_length"],
            return_attention_mask=text["attention_mask"],
            return_tensors="pt",
        )
        return {key: made[key] for key in ("input_ids", "attention_mask") if key in made}


def _load_model(info: EncoderInfo) -> Any:
    try:
        with _no_bar():
            model, report = _CLASSES[info.family].from_pretrained(
                info.folder,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype=torch.float32,
                # Reported below, by name, instead of a sentence that names nothing.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise EncoderError(f"{info.model} cannot be loaded: {first_line(error)}", "Check its files.") from error
    for key, what in (("missing_keys", "lack"), ("mismatched_keys", "do not fit"), ("error_msgs", "do not load as")):
        if wrong := report[key]:
            example = sorted(str(one[0] if isinstance(one, tuple) else one) for one in wrong)[0]
            raise EncoderError(
                f"The weights of {info.model} {what} {example} ({len(wrong)} in all).",
                f"It is no {_CLASSES[info.family].__name__}, or its files are damaged.",
            )
    return model.eval()


@contextmanager
def _no_bar() -> Iterator[None]:
    """A bar per worker for reading a local file tells nobody anything."""
    shown = hub_logging.is_progress_bar_enabled()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hub_logging.enable_progress_bar()


def _load_tokenizer(info: EncoderInfo) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(info.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, TypeError, KeyError, AttributeError) as error:
        raise EncoderError(
            f"The tokenizer of {info.model} cannot be loaded: {first_line(error)}", "Check its files."
        ) from error
    tokenizer.padding_side = info.text["padding_side"]
    return tokenizer
