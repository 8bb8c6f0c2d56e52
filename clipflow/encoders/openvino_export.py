"""An encoder's image side in OpenVINO's format, made once on a machine and kept in the user's cache.

It takes pictures as bytes, normalises them, and gives vectors that are not yet of length one. Beside it lie the
pictures of the check and their vectors by torch in fp32, so that a worker that finds it loads no torch model.
`openvino.convert_model` is not used: it reports each conversion to its makers unless the user has forbidden it.
"""

import fcntl
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from clipflow.encoders.base import Encoder, Pixels, Vectors
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.openvino_check import TORCH
from clipflow.encoders.openvino_quietly import openvino
from clipflow.encoders.self_check import picture
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.errors import EncoderError, first_line
from clipflow.spec import digest

# Of what is written here; raised when the files change.
_FORMAT = 1
_PACKAGES = ("openvino", "torch", "transformers", "open_clip_torch")
_MODEL, _CHECK = "image_side.xml", "check.npz"


class Exported(NamedTuple):
    """Where an export lies, and what it is checked by.

    Attributes:
        model: The file that OpenVINO reads.
        pixels: Of the check: uint8 [N, height, width, 3].
        vectors: Theirs by torch in fp32: float32 [N, dim].
    """

    model: Path
    pixels: Pixels
    vectors: Vectors


def find_or_export(info: EncoderInfo, load: Callable[[], Encoder]) -> Exported:
    """The export of a described encoder, made by the first worker of a machine; others wait for it.

    Args:
        info: Which encoder.
        load: Loads it with torch, in fp32 on the CPU; called only where there is no export yet.

    Raises:
        EncoderError: The model cannot be exported, or the cache cannot be written.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipflow" / "openvino"
    folder = root / _key(info)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / _CHECK).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                _export(load(), folder)
    except OSError as error:
        raise EncoderError(
            f"The cache {root} cannot be written: {first_line(error)}", "Set XDG_CACHE_HOME to a folder that can be."
        ) from error
    with np.load(folder / _CHECK) as check:
        return Exported(folder / _MODEL, check["pixels"], check["vectors"])


def _key(info: EncoderInfo) -> str:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    # Not by encoder_id: how pictures are decoded changes nothing here.
    return digest([_FORMAT, info.checkpoint_fp, info.preprocess, info.dim, versions])


def _export(encoder: Encoder, folder: Path) -> None:
    if not isinstance(encoder, TorchEncoder):
        raise EncoderError(f"The loader {encoder.info.loader!r} has no torch model that OpenVINO could take.", TORCH)
    pixels = np.stack([encoder.preprocess(np.ascontiguousarray(one)) for one in _pictures()])
    model = _converted(encoder, pixels)
    model.reshape([-1, *pixels.shape[1:]])
    with TemporaryDirectory(dir=folder.parent) as place:
        made = Path(place) / "made"
        made.mkdir()
        openvino.save_model(model, made / _MODEL, compress_to_fp16=False)
        np.savez(made / _CHECK, pixels=pixels, vectors=encoder.encode_pixels(pixels))
        made.rename(folder)


def _pictures() -> list[Pixels]:
    one = picture()
    return [one, 255 - one, one.transpose(1, 0, 2), one[::-1, :, ::-1]]


class _ImageSide(torch.nn.Module):
    """What is traced: from bytes to vectors."""

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder = encoder

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """uint8 [N, height, width, 3] to float32 [N, dim]."""
        return self._encoder.raw_images(raw)[:, : self._encoder.info.dim]


def _converted(encoder: TorchEncoder, pixels: Pixels) -> Any:
    # Only now: isort would put them before the import that keeps OpenVINO quiet.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    try:
        # Traced with two pictures and checked with another number: a batch size that got stuck would show.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(
                _ImageSide(encoder).eval(),
                example_input=(torch.from_numpy(pixels[:2]),),
                trace_kwargs={"check_trace": False},
            )
            frontend = FrontEndManager().load_by_framework("pytorch")
            return frontend.convert(frontend.load(decoder))
    except Exception as error:  # Tracing and conversion raise whatever they stumble over.
        raise EncoderError(f"OpenVINO cannot take {encoder.info.model}: {first_line(error)}", TORCH) from error
