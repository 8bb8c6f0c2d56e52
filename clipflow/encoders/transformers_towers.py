"""Models of transformers' own families, loaded strictly: what does not match is an error, never random weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer
from transformers.utils import logging as hub_logging

from clipflow.encoders.base import Encoder, Pixels, Vectors, normalised
from clipflow.encoders.families import FAMILIES
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.image_side import TEXT_PARTS, image_side
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.patches import patched
from clipflow.encoders.precision import DTYPES, choose_device, choose_precision
from clipflow.encoders.preprocess import Resize
from clipflow.encoders.self_check import check_image_side, check_precision, check_text_side
from clipflow.errors import EncoderError, first_line

_TEXTS_AT_ONCE = 64


class TransformersEncoder(Encoder):
    """A described checkpoint with its weights loaded.

    Args:
        info: What `describe` said of it.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.
        texts: Whether to load the text side, if there is one.

    Raises:
        EncoderError: The weights do not fit the model, the files are damaged, the machine lacks the precision, or
            vectors are not those of the library's own way (see `clipflow.encoders.self_check`).
    """

    def __init__(self, info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> None:
        self.info = info
        self._device = choose_device(device)
        self.precision = choose_precision(precision, self._device)
        self._dtype = torch.float32
        self._geometry = Geometry.from_body(info.preprocess)
        self.preprocess = Resize(self._geometry)
        std = torch.tensor(self._geometry.std, dtype=torch.float64)
        self._factor = self._per_channel(self._geometry.scale / std)
        self._shift = self._per_channel(torch.tensor(self._geometry.mean, dtype=torch.float64) / std)
        self._texts = texts and info.has_text
        self._model = _load_model(info, self._texts).to(self._device)
        self._tokenizer = _load_tokenizer(info) if self._texts else None
        self._check_and_settle()

    def _check_and_settle(self) -> None:
        """Compare with the library in fp32, then give the image side its precision."""
        exact = check_image_side(self, self._image_output)
        if self._texts:
            check_text_side(self, self._text_output, self._tokenizer)
        if self.precision == "fp32":
            return
        self._dtype = DTYPES[self.precision]
        # Only the image side: labels and captions are few, and keep fp32 everywhere.
        for name, part in self._model.named_children():
            if name not in TEXT_PARTS:
                part.to(self._dtype)
        for name, parameter in self._model.named_parameters(recurse=False):
            if name not in ("logit_scale", "logit_bias"):
                parameter.data = parameter.data.to(self._dtype)
        check_precision(self, exact)

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, torch.float32).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        """N pictures uint8 [height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        if self._geometry.patches is None:
            inputs = {"pixel_values": self._values(np.stack(list(pixels)))}
        else:
            values = [self._values(one[None])[0] for one in pixels]
            inputs = patched(values, self._geometry.patches[0])
        return self._vectors(self._image_output(inputs))

    def _values(self, pixels: Pixels) -> torch.Tensor:
        """uint8 [N, height, width, 3] to float32 [N, 3, height, width] as the model takes it."""
        raw = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)
        values = raw.permute(0, 3, 1, 2).float()
        if values.shape[1] == 6:  # not rounded to grey levels: whole levels before their 256th parts
            values = values[:, :3] + values[:, 3:] / 256
        return values.mul_(self._factor).sub_(self._shift).contiguous()

    def _image_output(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The vectors [N, full dimension] of prepared pictures, not normalised."""
        given = {key: value.to(self._device) for key, value in inputs.items()}
        given["pixel_values"] = given["pixel_values"].to(self._dtype)
        if hasattr(self._model, "get_image_features"):
            return self._model.get_image_features(**given).pooler_output  # type: ignore[no-any-return]
        return self._model(**given).pooler_output  # type: ignore[no-any-return]

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim], in fp32 whatever `precision` says."""
        if not self.info.has_text:
            raise EncoderError(
                f"{self.info.model} has no text side.", "Search by an image, or choose a model that reads texts."
            )
        if not self._texts:
            raise EncoderError(f"{self.info.model} was loaded without its text side.", "Load it with texts=True.")
        parts = [np.empty((0, self.info.dim), np.float32)]
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self.tokens(texts[first : first + _TEXTS_AT_ONCE])
            parts.append(self._vectors(self._text_output(tokens)))
        return np.concatenate(parts)

    def _text_output(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """The vectors [N, full dimension] of tokens, not normalised."""
        given = {key: value.to(self._device) for key, value in tokens.items()}
        return self._model.get_text_features(**given).pooler_output  # type: ignore[no-any-return]

    def _vectors(self, made: torch.Tensor) -> Vectors:
        return normalised(made[:, : self.info.dim].float().cpu().numpy())

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """int64 [N, length] per input of the text side."""
        text = self.info.text
        assert self._tokenizer is not None
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


def _load_model(info: EncoderInfo, texts: bool) -> Any:
    family = FAMILIES[info.family]
    whole = getattr(transformers, family.architecture)
    kind = image_side(whole) if family.has_text and not texts else whole
    try:
        with _no_bar():
            model, report = kind.from_pretrained(
                info.folder,
                local_files_only=True,
                use_safetensors=True,
                # Not every family has attention.
                attn_implementation="sdpa" if kind._supports_sdpa else "eager",
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
                f"It is no {kind.__name__}, or its files are damaged.",
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
    except ImportError as error:
        raise EncoderError(
            f"The tokenizer of {info.model} needs a library that is not installed: {first_line(error)}",
            "Install sentencepiece and protobuf, or clipflow[engine], which brings both.",
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EncoderError(
            f"The tokenizer of {info.model} cannot be loaded: {first_line(error)}", "Check its files."
        ) from error
    tokenizer.padding_side = info.text["padding_side"]
    return tokenizer
