"""Weights in files that torch wrote: pickled state dicts and TorchScript archives, read without running their code."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from clipflow.errors import EncoderError, first_line

State = dict[str, torch.Tensor]

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# OpenAI's archives keep these beside the weights; the model knows them from its configuration, the mask by itself.
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size", "attn_mask"})


def read_pickled(path: Path) -> State:
    """Names and tensors of a file that torch.save or torch.jit.save wrote, on the CPU.

    Nothing in the file runs: a state dict goes through torch's own restricted unpickler, an archive through ours.

    Raises:
        EncoderError: The file is damaged, or holds something else than weights.
    """
    try:
        if is_archive(path):
            return _read_archive(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except EncoderError:
        raise
    except Exception as error:  # the unpicklers raise whatever the file makes them stumble over
        raise _unreadable(path, first_line(error)) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):  # a training run's checkpoint
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise _unreadable(path, "it holds no state dict")
    # The prefix is what distributed training puts before every name.
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive, by the constants that only those have."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def _unreadable(path: Path, why: str) -> EncoderError:
    return EncoderError(
        f"{path} cannot be read as weights, which are tensors alone: {why}",
        "It is damaged, or holds code: download it again, or get the checkpoint in safetensors format.",
    )


def _read_archive(path: Path) -> State:
    with zipfile.ZipFile(path) as archive:
        (root,) = {name.partition("/")[0] for name in archive.namelist()}
        with archive.open(f"{root}/data.pkl") as file:
            module = _Weights(file, archive, f"{root}/data").load()
    state: State = {}
    _collect(module, "", state)
    if not state:
        raise _unreadable(path, "it holds no weights")
    return state


def _collect(value: Any, name: str, state: State) -> None:
    if isinstance(value, torch.Tensor):
        if name.rpartition(".")[2] not in _NO_WEIGHTS:
            state[name] = value
    elif isinstance(value, _Object) and isinstance(value.state, dict):
        for key, inner in value.state.items():
            _collect(inner, f"{name}.{key}" if name else str(key), state)


class _Object:
    """Stands for an object of any class that an archive defines: keeps its state and can do nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Weights(pickle.Unpickler):
    """Knows tensors, containers and inert objects; any other name in the pickle is an error.

    Format: torch/csrc/jit/serialization/pickler.cpp; storages lie uncompressed as data/KEY, little-endian.
    """

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._folder = folder
        self._read: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Object
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # typed lists, and the type tag of a container
            return _first
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a model's weights")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        if key not in self._read:
            entry = self._archive.getinfo(f"{self._folder}/{key}")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise pickle.UnpicklingError(f"{entry.filename} is compressed")
            raw = bytearray(self._archive.read(entry))
            self._read[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        if self._read[key].numel() < count:
            raise pickle.UnpicklingError(f"storage {key} is too short")
        return self._read[key]


def _rebuilt(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value
