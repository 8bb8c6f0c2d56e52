"""Weights that are stored as pickle, where a job allows them: converted to safetensors once, without running code."""

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from clipflow.encoders.weights import SAFETENSORS, has_weights, header, weight_files

_PICKLE = "pytorch_model.bin"


def is_pickled(folder: Path) -> bool:
    """Whether the folder holds weights as pickle in transformers' layout, and no safetensors."""
    return has_weights(folder, _PICKLE) and not has_weights(folder)


def converted_folder(folder: Path) -> Path:
    """A folder with the same checkpoint in safetensors, made in the user's cache on first use.

    Raises:
        EncoderError: A file holds more than tensors, or is damaged or missing.
    """
    files = weight_files(folder, _PICKLE)
    made = [converted(path) for path in files]
    beside = [path for path in sorted(folder.iterdir()) if path.is_file() and path not in files]
    # The other files may change while the weights do not, so the folder is told apart by all of them.
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in beside]
    parts = str(folder.resolve()), [str(path) for path in made], states
    shown = _cache() / hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    shown.mkdir(parents=True, exist_ok=True)
    for path in beside:
        _link(shown / path.name, path.resolve())
    if len(made) == 1:
        _link(shown / SAFETENSORS, made[0])
        return shown
    shards = {f"model-{number:05}-of-{len(made):05}.safetensors": path for number, path in enumerate(made, 1)}
    for name, path in shards.items():
        _link(shown / name, path)
    index = {
        "metadata": {"total_size": sum(path.stat().st_size for path in made)},
        "weight_map": {tensor: name for name, path in shards.items() for tensor in header(path)},
    }
    with TemporaryDirectory(dir=shown) as place:
        part = Path(place) / "index.json"
        part.write_text(json.dumps(index), "utf-8")
        part.replace(shown / f"{SAFETENSORS}.index.json")
    return shown


def converted(path: Path) -> Path:
    """The tensors of a pickled file in safetensors, made in the user's cache on first use.

    Raises:
        EncoderError: It holds more than tensors, or is damaged.
    """
    state = path.stat()
    made = _cache() / _sha256(path.resolve(), state.st_size, state.st_mtime_ns) / SAFETENSORS
    if not made.is_file():
        _convert(path, made)
    return made


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipflow" / "converted"


def _link(link: Path, target: Path) -> None:
    with suppress(FileExistsError):  # by an earlier run, or another worker of this machine
        link.symlink_to(target)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    """sha256 of a file; size and time of change are there for the cache, so that a rewritten file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(path: Path, target: Path) -> None:
    from safetensors.torch import save_file

    from clipflow.encoders.pickled_weights import read_pickled

    weights = read_pickled(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as place:
        part = Path(place) / target.name
        # Tensors that share memory are stored once each: safetensors knows no sharing.
        save_file({name: value.clone().contiguous() for name, value in weights.items()}, part, {"format": "pt"})
        part.replace(target)
