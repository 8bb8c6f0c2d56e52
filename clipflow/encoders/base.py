"""What every encoder does, and what every loader offers; the ways of loading stand in their own files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipflow.decode import to_rgb
from clipflow.encoders.info import EncoderInfo
from clipflow.spec import ComputeSpec, EncoderSpec

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

_IMAGES_AT_ONCE = 32


class Preprocess(Protocol):
    """From a decoded image to the pixels of the model. Needs no weights, so CPU workers can do it."""

    def __call__(self, rgb: Pixels) -> Pixels:
        """uint8 [height, width, 3] of any size to uint8 [height, width, 3] of the model's size."""
        ...


@runtime_checkable
class Drafting(Preprocess, Protocol):
    """A preprocessing that does with less than the whole picture, see `clipflow.decode.draft`."""

    def needed(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size is resized to, before any crop."""
        ...

    def __call__(self, rgb: Pixels, whole: tuple[int, int] | None = None) -> Pixels:
        """As `Preprocess`; `rgb` may be a draft of a picture of `whole` (height, width), and is cut as that is."""
        ...


class Encoder(ABC):
    """Images and texts to L2-normalised vectors of one space.

    Attributes:
        info: Who this is.
        preprocess: What `encode_pixels` expects to have been done to each image.
        precision: fp32, bf16 or fp16, of the image side; texts are always encoded in fp32.
    """

    info: EncoderInfo
    preprocess: Preprocess
    precision: str

    @abstractmethod
    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        """uint8 [N, height, width, 3] as `preprocess` makes them, to float32 [N, dim].

        Where `preprocess` keeps the aspect, a sequence of N pictures [height, width, 3] of different sizes.

        A row that is not finite stays so: the caller tells which image failed.
        """

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim].

        Raises:
            EncoderError: The model has no text side.
        """

    def tune(self, compute: ComputeSpec) -> None:  # noqa: B027 - most have nothing to tune
        """Take over what a job says of computing; vectors stay the same, up to the roundings of the precision."""

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Pillow images of any mode to float32 [N, dim], by the policy of `clipflow.decode`.

        Raises:
            ImageFailure: An image cannot be turned into RGB.
        """
        parts = [np.empty((0, self.info.dim), np.float32)]
        for first in range(0, len(images), _IMAGES_AT_ONCE):
            chosen = images[first : first + _IMAGES_AT_ONCE]
            parts.append(self.encode_pixels(batch([self.preprocess(np.array(to_rgb(image))) for image in chosen])))
        return np.concatenate(parts)


def batch(pictures: Sequence[Pixels]) -> Sequence[Pixels] | Pixels:
    """Pictures as one array [N, height, width, 3] where they are of one size, which is what most encoders take."""
    return np.stack(pictures) if len({one.shape for one in pictures}) == 1 else pictures


class Loader(Protocol):
    """A way of loading: what an entry point of the group `clipflow.loaders` names, as a module or an object."""

    def describe(self, spec: EncoderSpec) -> EncoderInfo:
        """Find and fingerprint the files; loads nothing heavy."""
        ...

    def load(self, info: EncoderInfo, precision: str, device: str) -> Encoder:
        """Load the weights; precision is auto, fp32, bf16 or fp16, device is auto or a torch device.

        A loader that can leave the text side out has `load_image_side` with the same arguments beside this.
        """
        ...

    def load_preprocess(self, info: EncoderInfo) -> Preprocess:
        """The preprocessing alone."""
        ...


def normalised(vectors: npt.ArrayLike) -> Vectors:
    """Rows [N, dim] scaled to length 1, float32; a row of length zero becomes NaN, as nothing can be said of it."""
    rows = np.asarray(vectors, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        scaled: Vectors = (rows / lengths).astype(np.float32)
    return scaled
