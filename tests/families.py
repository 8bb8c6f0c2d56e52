"""The families that transformers serves: a tiny checkpoint of each and what the library says of it, made once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipflow.decode import decode
from clipflow.encoders import Encoder, load_encoder
from tests.library import Library
from tests.pictures import encoded, files
from tests.tiny_families import TINY
from tests.tiny_models import tiny_clip, tiny_siglip

ALL: dict[str, Callable[[Path], Path]] = {"clip": tiny_clip, "siglip": tiny_siglip, **TINY}
"""By `model_type`."""


@cache
def awkward_files() -> dict[str, bytes]:
    """By name, a file of every format, and pictures of awkward shapes."""
    chance = np.random.default_rng(0)
    shapes = {"dot": (1, 1), "line": (1, 500), "wide": (2, 3000), "tall": (3000, 2), "small": (40, 7)}
    odd = {name: Image.fromarray(chance.integers(0, 256, (*shape, 3), np.uint8)) for name, shape in shapes.items()}
    return {**files(), **{name: encoded(picture, "PNG") for name, picture in odd.items()}}


@cache
def awkward_pictures() -> dict[str, Image.Image]:
    """The same, decoded."""
    return {name: Image.fromarray(decode(data, 10**8).rgb) for name, data in awkward_files().items()}


class Families:
    """Everything is made when it is first asked for. Nobody may change it: who damages a checkpoint copies it before.

    Args:
        home: An empty folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.folder = cache(self._folder)
        self.library = cache(self._library)
        self.vectors = cache(self._vectors)
        self.encoder = cache(self._encoder)

    def _folder(self, kind: str) -> Path:
        return ALL[kind](self._home / kind)

    def _library(self, kind: str) -> Library:
        return Library(self.folder(kind), kind)

    def _vectors(self, kind: str) -> npt.NDArray[np.float32]:
        """The library's of `awkward_pictures`, in their order, [N, dim]."""
        return self.library(kind).images(list(awkward_pictures().values()))

    def _encoder(self, kind: str) -> Encoder:
        """Ours, in fp32."""
        return load_encoder(str(self.folder(kind)), precision="fp32")
