"""The file of a head: a linear or multi-layer perceptron on an encoder's vectors, as safetensors.

Tensors: `0.weight` [out, in] and `0.bias` [out], `1.weight`, `1.bias` and so on, in the order of computing, the
last with one output; and, if inputs are standardised first, `mean` and `std` [in of the first].
Metadata of the header, all text: `activation` (none | relu, between layers), `output` (none | sigmoid),
`checkpoint_fp` (of the encoder whose vectors it was trained on), `kind` and `source` (for people).
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clipflow.errors import UsageError
from clipflow.files import read_file, write_file
from clipflow.uri import shown

ACTIVATIONS = ("none", "relu")
OUTPUTS = ("none", "sigmoid")


@dataclass(frozen=True)
class HeadFile:
    """A head as its file says.

    Attributes:
        layers: Weight [out, in] and bias [out] of each layer.
        scaling: `mean` and `std`, each [dim], or None.
        about: The metadata.
        sha256: Of the file, 64 hex digits.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    scaling: tuple[np.ndarray, np.ndarray] | None
    about: dict[str, str]
    sha256: str

    @classmethod
    def read(cls, path: str) -> Self:
        """Read and check a file, by a path or on S3.

        Raises:
            UsageError: There is no such file, or it is no head.
            StorageUnavailable: Storage did not answer.
        """
        data = read_file(path, "head")
        try:
            tensors = load(data)
            about = _header(data)[0].get("__metadata__", {})
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"The head {shown(path)} is not a whole safetensors file of numbers.",
                "Write it with `clipflow convert-head`, or copy it again.",
            ) from error
        for wrong in _faults(tensors, about):
            raise UsageError(f"{shown(path)} is no head: {wrong}.", "See the page policy.md for what a head holds.")
        count = len([name for name in tensors if name.endswith(".weight")])
        layers = tuple((tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(count))
        scaling = (tensors["mean"], tensors["std"]) if "mean" in tensors else None
        return cls(layers, scaling, about, hashlib.sha256(data).hexdigest())

    @property
    def dim(self) -> int:
        """Length of the vectors it takes."""
        return int(self.layers[0][0].shape[1])


def write_head(path: Path | str, tensors: dict[str, np.ndarray], about: dict[str, str]) -> str:
    """Write a head's file, by a path or on S3, whole or not at all; gives the sha256 of its bytes.

    Raises:
        UsageError: It cannot be written there, or would be no head.
        StorageUnavailable: Storage did not answer.
    """
    for wrong in _faults(tensors, about):
        raise UsageError(f"{shown(str(path))} would be no head: {wrong}.", "Check the file that is converted.")
    data = _with_metadata(save(tensors), about)
    if "://" in str(path):
        write_file(str(path), data, "head")
    else:
        _write(Path(path).expanduser(), data)
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written ({error.strerror}).", "Check the path.") from error


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and where it ends."""
    (length,) = struct.unpack_from("<Q", data)
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header, 8 + length


def _with_metadata(data: bytes, about: dict[str, str]) -> bytes:
    # The library writes metadata in another order each time, and equal heads would have unequal files.
    header, end = _header(data)
    text = json.dumps({"__metadata__": dict(sorted(about.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[end:]


def _faults(tensors: dict[str, np.ndarray], about: dict[str, Any]) -> Iterator[str]:
    """What is wrong, the first thing first; what comes after a fault may not rely on it."""
    for key, values in (("activation", ACTIVATIONS), ("output", OUTPUTS)):
        if about.get(key) not in values:
            yield f"its header says {key}: {about.get(key)}, and must say {' or '.join(values)}"
    count = len([name for name in tensors if name.endswith(".weight")])
    wanted = {f"{i}.{part}" for i in range(max(count, 1)) for part in ("weight", "bias")}
    if "mean" in tensors or "std" in tensors:
        wanted |= {"mean", "std"}
    for name in sorted(wanted ^ set(tensors)):
        yield f"it {'lacks' if name in wanted else 'holds'} {name}"
    for name in sorted(wanted):
        if tensors[name].dtype.kind != "f" or not np.isfinite(tensors[name]).all():
            yield f"{name} holds what is no finite number"
    yield from _shape_faults([(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(count)])
    if "mean" in wanted:
        dim = tensors["0.weight"].shape[1]
        if tensors["mean"].shape != (dim,) or tensors["std"].shape != (dim,) or (tensors["std"] <= 0).any():
            yield f"mean and std must be {dim} numbers each, std above 0"


def _shape_faults(layers: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[str]:
    for at, (weight, bias) in enumerate(layers):
        if weight.ndim != 2 or 0 in weight.shape or bias.shape != weight.shape[:1]:
            yield f"layer {at} is {_by(weight)} with a bias of {_by(bias)}"
        if at and weight.shape[1] != len(layers[at - 1][0]):
            yield f"layer {at} takes {weight.shape[1]} numbers, and layer {at - 1} gives {len(layers[at - 1][0])}"
    if len(layers[-1][0]) != 1:
        yield f"its last layer gives {len(layers[-1][0])} numbers, and must give 1"


def _by(tensor: np.ndarray) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
