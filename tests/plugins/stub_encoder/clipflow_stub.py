"""An encoder for tests, reached through the same door as any plugin: fast, deterministic, without torch.

Options stand in the model's name: `stub:dim=16,ms=5,nan=1`. dim is the length of a vector, ms a pause per
image, gate=N makes it wait after N images while the file that CF_TEST_GATE names is there, or for good when none is
named, so that a test finds it at work; nan=1 makes wholly black images come out as NaN, unloadable=1 makes loading
(not describing) fail. A text
that holds a colour's name gets the vector of a plain image of that colour; any other text gets one that its
hash decides.
"""

import hashlib
import os
import threading
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from clipflow.encoders import Encoder, EncoderInfo, normalised
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec, digest

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

GATE = "CF_TEST_GATE"
_SIDE = 8


def describe(spec: EncoderSpec) -> EncoderInfo:
    options = _options(spec.model)
    return EncoderInfo(
        model=spec.model,
        revision=spec.revision,
        commit=None,
        folder="",
        loader="stub",
        family="stub",
        dim=options["dim"],
        has_text=True,
        score="softmax",
        logit_scale=float(np.log(100.0)),
        logit_bias=None,
        # Pauses change no vector, so they do not change the encoder either.
        checkpoint_fp=digest({"stub": 1, "nan": options["nan"]}),
        preprocess_fp=digest({"side": _SIDE}),
    )


def load(info: EncoderInfo, precision: str, device: str) -> Encoder:
    if _options(info.model)["unloadable"]:
        raise EncoderError("The stub encoder was told to be unloadable.", "Leave unloadable out.")
    return StubEncoder(info)


def load_preprocess(info: EncoderInfo) -> "Shrink":
    return Shrink()


class Shrink:
    def __call__(self, rgb: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(rgb).resize((_SIDE, _SIDE), Image.Resampling.BOX))


class StubEncoder(Encoder):
    def __init__(self, info: EncoderInfo) -> None:
        options = _options(info.model)
        self.info = info
        self.preprocess = Shrink()
        self.precision = "fp32"
        self._pause = options["ms"] / 1000
        # Several threads count down at once; each takes a whole batch or none.
        self._left, self._counting = options["gate"] or None, threading.Lock()
        self._nan = bool(options["nan"])
        # Random directions keep different pictures apart in few dimensions.
        self._directions = np.random.default_rng(7).standard_normal((_SIDE * _SIDE * 3 + 1, info.dim))

    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        raw: Pixels = np.asarray(pixels, np.uint8)
        time.sleep(self._pause * len(raw))
        self._count(len(raw))
        flat = raw.reshape(len(raw), -1).astype(np.float64) / 127.5 - 1
        vectors = normalised(np.hstack([flat, np.ones((len(flat), 1))]) @ self._directions)
        if self._nan:
            vectors[~raw.reshape(len(raw), -1).any(axis=1)] = np.nan
        return vectors

    def _count(self, images: int) -> None:
        with self._counting:
            if self._left is None:
                return
            self._left -= images
            stopped = self._left < 0
        while stopped and (GATE not in os.environ or os.path.exists(os.environ[GATE])):
            time.sleep(0.01)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return np.concatenate([np.empty((0, self.info.dim), np.float32), *(self._text(text) for text in texts)])

    def _text(self, text: str) -> Vectors:
        for word in reversed(text.lower().split()):
            if word in ImageColor.colormap:
                plain = np.full((1, _SIDE * _SIDE, 3), ImageColor.getrgb(word)[:3], np.float64).reshape(1, -1)
                return normalised(np.hstack([plain / 127.5 - 1, np.ones((1, 1))]) @ self._directions)
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return normalised(np.random.default_rng(seed).standard_normal((1, self.info.dim)))


def _options(model: str) -> dict[str, int]:
    options = {"dim": 16, "ms": 0, "gate": 0, "nan": 0, "unloadable": 0}
    for part in filter(None, model.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        if key not in options or not value.isdigit():
            raise EncoderError(f"The stub encoder has no option {part!r}.", f"It has {', '.join(options)}.")
        options[key] = int(value)
    return options
