"""Models of transformers' own families, loaded strictly: what does not match is an error, never random weights."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging as hub_logging

from clipflow.encoders.base import Pixels
from clipflow.encoders.families import FAMILIES
from clipflow.encoders.image_side import TEXT_PARTS, image_side
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.library_pixels import as_dinov3, processed
from clipflow.encoders.preprocess import load_preprocess
from clipflow.encoders.strict import refuse_further_layers
from clipflow.encoders.tokenizer import Tokenizer, Tokens
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.errors import EncoderError, first_line

# Their image processor exists for torchvision only, which this environment does not have.
_WITHOUT_PROCESSOR = frozenset({"dinov3_vit", "dinov3_convnext"})


class TransformersEncoder(TorchEncoder):
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

    library = "transformers itself"

    def __init__(self, info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> None:
        super().__init__(info, load_preprocess(info), precision, device, texts=texts)
        self.model = _load_model(info, self._texts).to(self.device)
        if self._texts:
            self._tokenizer = Tokenizer(info)
        self.check_and_settle()

    def images(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `TorchEncoder`."""
        if hasattr(self.model, "get_image_features"):
            return self.model.get_image_features(**inputs).pooler_output  # type: ignore[no-any-return]
        return self.model(**inputs).pooler_output  # type: ignore[no-any-return]

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """See `TorchEncoder`."""
        given = {key: value.to(self.device) for key, value in tokens.items()}
        return self.model.get_text_features(**given).pooler_output  # type: ignore[no-any-return]

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """int64 [N, length] per input of the text side."""
        return self._tokenizer(texts)

    def image_side(self) -> Iterator[torch.nn.Module | torch.nn.Parameter]:
        """See `TorchEncoder`."""
        for name, part in self.model.named_children():
            if name not in TEXT_PARTS:
                yield part
        for name, parameter in self.model.named_parameters(recurse=False):
            if name not in ("logit_scale", "logit_bias"):
                yield parameter

    def library_pixels(self, rgb: Pixels) -> dict[str, torch.Tensor]:
        """See `TorchEncoder`."""
        if self.info.family in _WITHOUT_PROCESSOR:
            return as_dinov3(rgb, self._geometry)
        return processed(Path(self.info.folder), rgb)

    def library_tokens(self, text: str) -> Tokens:
        """See `TorchEncoder`."""
        return self._tokenizer.as_documented(text)


def _load_model(info: EncoderInfo, texts: bool) -> Any:
    if sys.flags.optimize > 1:
        raise EncoderError(
            "transformers reads its own docstrings, and Python runs without any here (PYTHONOPTIMIZE=2, or -OO).",
            "Leave it out.",
        )
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
    refuse_further_layers(info, report["unexpected_keys"], model.state_dict().keys())
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
