"""What all encoders share that compute with torch: pixels to inputs, batches of texts, precision, self-check."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from clipflow.encoders.base import Encoder, Pixels, Preprocess, Vectors, normalised
from clipflow.encoders.device import COMPILER, Compute, Feed, has_many_convolutions
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.packed_layers import fold_quick_gelu, pack
from clipflow.encoders.patches import patched
from clipflow.encoders.precision import DTYPES, choose_device, choose_precision
from clipflow.encoders.self_check import check_image_side, check_precision, check_text_side, picture, still_gives
from clipflow.errors import EncoderError
from clipflow.spec import ComputeSpec

_TEXTS_AT_ONCE = 64


class TorchEncoder(Encoder):
    """A described checkpoint; a subclass loads its model, and then calls `check_and_settle`.

    Args:
        info: What `describe` said of it.
        preprocess: Of its pictures.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.
        texts: Whether texts will be encoded.

    Attributes:
        device: Where the model computes.
        model: The module that a subclass loads.
        library: Whose own way of use `library_pixels` and `library_tokens` follow, for messages.

    Raises:
        EncoderError: The machine lacks the device or the precision.
    """

    library: str
    model: Any

    def __init__(self, info: EncoderInfo, preprocess: Preprocess, precision: str, device: str, *, texts: bool) -> None:
        self.info = info
        self.preprocess = preprocess
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._dtype = torch.float32
        self._geometry = Geometry.from_body(info.preprocess)
        std = torch.tensor(self._geometry.std, dtype=torch.float64)
        self._factor = self._per_channel(self._geometry.scale / std)
        self._shift = self._per_channel(torch.tensor(self._geometry.mean, dtype=torch.float64) / std)
        self._texts = texts and info.has_text
        self._feed = Feed(self.device)
        self._compute: Compute = self.raw_images
        self._layout: torch.memory_format = torch.contiguous_format

    @abstractmethod
    def images(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The vectors [N, full dimension] of inputs that are on the device in the model's type, not normalised."""

    @abstractmethod
    def texts(self, tokens: Any) -> torch.Tensor:
        """The vectors [N, full dimension] of what `tokens` gives, not normalised."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> Any:
        """What the text side takes."""

    @abstractmethod
    def image_side(self) -> Iterable[torch.nn.Module | torch.nn.Parameter]:
        """What images alone go through. It gets another precision: texts are few, and keep fp32 everywhere."""

    @abstractmethod
    def library_pixels(self, rgb: Pixels) -> dict[str, torch.Tensor] | None:
        """The inputs that the library's own documented use makes of a picture uint8 [height, width, 3].

        None where no such code can be run here.
        """

    @abstractmethod
    def library_tokens(self, text: str) -> Any:
        """The tokens that the library's own documented use makes of a text, None where it cannot be run here."""

    def tune(self, compute: ComputeSpec) -> None:
        """See `Encoder`."""
        gpu = self.device.type == "cuda"
        if compute.compile:
            # Every further shape would be compiled anew.
            self._compute = torch.compile(self.raw_images, dynamic=False, backend=COMPILER)
        elif self.device.type == "cpu" and self._dtype == torch.bfloat16:
            pack(self.model, lambda: still_gives(self, picture(), self._settled))
        if compute.compile or gpu:
            self._feed = Feed(self.device, compute.images_at_once(gpu=gpu))

    def check_and_settle(self) -> None:
        """Compare with the library in fp32, then give the image side its precision.

        Raises:
            EncoderError: See `clipflow.encoders.self_check`.
        """
        if has_many_convolutions(self.model):
            self._layout = torch.channels_last
            self.model.to(memory_format=self._layout)
        shown = picture()
        exact = check_image_side(self, shown)
        if self._texts:
            check_text_side(self)
        if self.precision == "fp32":
            return
        self._dtype = DTYPES[self.precision]
        for part in self.image_side():
            if isinstance(part, torch.nn.Module):
                fold_quick_gelu(part)
                part.to(self._dtype)
            else:
                part.data = part.data.to(self._dtype)
        self._settled = check_precision(self, shown, exact)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        """N pictures uint8 [height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        if self._geometry.patches is None:
            batch = pixels if isinstance(pixels, np.ndarray) else np.stack(pixels)
            return self._vectors(self._feed(batch, self._compute))
        raw = (torch.from_numpy(np.require(one[None], requirements=["C", "W"])).to(self.device) for one in pixels)
        return self.image_vectors(patched([self._values(one)[0] for one in raw], self._geometry.patches[0]))

    def raw_images(self, raw: torch.Tensor) -> torch.Tensor:
        """The vectors [N, full dimension] of pictures uint8 [N, height, width, 3] on the device, not normalised."""
        return self.images({"pixel_values": self._values(raw).to(self._dtype)})

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
            parts.append(self.text_vectors(self.tokens(texts[first : first + _TEXTS_AT_ONCE])))
        return np.concatenate(parts)

    @torch.inference_mode()
    def image_vectors(self, inputs: dict[str, torch.Tensor]) -> Vectors:
        """float32 [N, dim] of prepared pictures, float32 [N, 3, height, width] or patches."""
        given = {key: value.to(self.device) for key, value in inputs.items()}
        given["pixel_values"] = given["pixel_values"].to(self._dtype)
        return self._vectors(self.images(given))

    @torch.inference_mode()
    def text_vectors(self, tokens: Any) -> Vectors:
        """float32 [N, dim] of what `tokens` gives."""
        return self._vectors(self.texts(tokens))

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device, torch.float32).view(1, 3, 1, 1)

    def _values(self, raw: torch.Tensor) -> torch.Tensor:
        """uint8 [N, height, width, 3] to float32 [N, 3, height, width] as the model takes it."""
        # Laid out while they are bytes, a quarter of what floats would move.
        values = raw.permute(0, 3, 1, 2).contiguous(memory_format=self._layout).float()
        if values.shape[1] == 6:  # not rounded to grey levels: whole levels before their 256th parts
            values = values[:, :3] + values[:, 3:] / 256
        return values.mul_(self._factor).sub_(self._shift)

    def _vectors(self, made: torch.Tensor) -> Vectors:
        cut = self.info.truncate_dim is not None
        if made.ndim != 2 or made.shape[1] < self.info.dim or (made.shape[1] > self.info.dim and not cut):
            raise EncoderError(
                f"{self.info.model} gives {list(made.shape)} and not vectors of {self.info.dim}.",
                "Its configuration and its weights or code do not fit together.",
            )
        return normalised(made[:, : self.info.dim].float().cpu().numpy())
