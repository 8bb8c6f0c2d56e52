"""Weights as they lie in safetensors files: names, types, shapes and digests, read without torch.

Format: an 8-byte little-endian length, a JSON header, then the bytes of all tensors
(github.com/huggingface/safetensors, "Format").
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from clipflow.encoders.json_file import read_json
from clipflow.errors import EncoderError
from clipflow.spec import digest

SAFETENSORS = "model.safetensors"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt"})

_CHUNK = 1 << 22
_NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its type by safetensors' name, its shape, and where its bytes stand."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    end: int

    def number(self) -> float:
        """The value of a tensor that holds a single number."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            raw = file.read(self.end - self.begin)
        if self.dtype == "BF16":  # the upper half of a float32
            raw, kind = b"\0\0" + raw, "<f4"
        else:
            kind = _NUMBERS.get(self.dtype, "")
        values = np.frombuffer(raw, kind) if kind else np.empty(0)
        if values.size != 1:
            raise EncoderError(f"{self.name} in {self.path.name} is not a single number.", "The checkpoint is damaged.")
        return float(values[0])


def weight_files(folder: Path, single: str = SAFETENSORS) -> list[Path]:
    """The files of a checkpoint's weights: one, or the shards that its index names.

    Args:
        folder: Of the checkpoint.
        single: The name of the one file; the index has it with `.index.json` behind.

    Raises:
        EncoderError: There are none, or a shard is missing.
    """
    if (folder / single).is_file():
        return [folder / single]
    index = folder / f"{single}.index.json"
    if not index.is_file():
        if single == SAFETENSORS and any(path.suffix in PICKLE_SUFFIXES for path in folder.iterdir()):
            raise EncoderError(
                f"{folder} holds weights as pickle only, and a pickle can run any code.",
                "Use a checkpoint in safetensors, or set encoder.allow_pickle: true, which reads tensors alone.",
            )
        raise EncoderError(f"{folder} holds no {single}.", "Name a checkpoint in safetensors format.")
    try:
        shards = sorted(set(read_json(index)["weight_map"].values()))
    except (KeyError, AttributeError) as error:
        raise EncoderError(f"{index} is not an index of shards.", "Download the checkpoint again.") from error
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise EncoderError(f"{folder} lacks the shard {missing[0]}.", "Download the checkpoint again.")
    return [folder / name for name in shards]


def has_weights(folder: Path, single: str = SAFETENSORS) -> bool:
    """Whether a folder holds weights under these names, whole or not."""
    return (folder / single).is_file() or (folder / f"{single}.index.json").is_file()


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, read from the headers alone."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found.update(header(path))
    return found


def weights_digest(found: dict[str, Tensor]) -> str:
    """sha256 over (name, type, shape, sha256 of the bytes) in order of names: the same however it is sharded."""
    return digest(
        [
            [tensor.name, tensor.dtype, list(tensor.shape), _digests(*_state(tensor.path))[tensor.name]]
            for _, tensor in sorted(found.items())
        ]
    )


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=64)
def _digests(path: Path, size: int, changed: int) -> dict[str, str]:
    """sha256 per tensor; size and time of change are there for the cache, so that a rewritten file is read again."""
    made = {}
    with path.open("rb") as file:
        for tensor in sorted(header(path).values(), key=lambda tensor: tensor.begin):
            file.seek(tensor.begin)
            left, hashed = tensor.end - tensor.begin, hashlib.sha256()
            while left and (block := file.read(min(left, _CHUNK))):
                hashed.update(block)
                left -= len(block)
            made[tensor.name] = hashed.hexdigest()
    return made


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file by name.

    Raises:
        EncoderError: It is none, or its end is missing.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
        start = 8 + length
        found = {
            name: Tensor(
                name, entry["dtype"], tuple(entry["shape"]), path, *(start + at for at in entry["data_offsets"])
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
        if any(tensor.end > size for tensor in found.values()):
            raise ValueError("tensors beyond the end of the file")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{path} is not a whole safetensors file.", "Download the checkpoint again.") from error
    return found
