"""Weights that are stored as pickle, where a job allows them: converted to safetensors once, without running code."""

import hashlib
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipflow.errors import EncoderError, first_line

_SINGLE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"


def has_pickle(folder: Path) -> bool:
    """Whether the folder holds weights as pickle in transformers' layout, and no safetensors."""
    if (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file():
        return False
    return (folder / _SINGLE).is_file() or (folder / _INDEX).is_file()


def converted(folder: Path) -> Path:
    """A folder with the same checkpoint in safetensors, made in the user's cache on first use.

    Only tensors are read (`torch.load(weights_only=True)`); anything else in the file is an error.

    Raises:
        EncoderError: The file holds more than tensors, or is damaged.
    """
    files = _files(folder)
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipflow" / "converted"
    made = cache / whole.hexdigest() / "model.safetensors"
    if not made.is_file():
        _convert(files, made)
    # The other files may change while the weights do not, so the folder is told apart by all of them.
    beside = [path for path in sorted(folder.iterdir()) if path.is_file() and path not in files]
    names = hashlib.sha256(json.dumps([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in beside]).encode())
    shown = made.parent / names.hexdigest()[:16]
    shown.mkdir(exist_ok=True)
    for path in [*beside, made]:
        link = shown / path.name
        if not link.is_symlink():
            try:
                link.symlink_to(path.resolve())
            except FileExistsError:  # another worker of this machine was faster
                continue
    return shown


def _files(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise EncoderError(f"{folder / _INDEX} is not an index of shards.", "Download the checkpoint again.") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise EncoderError(f"{folder} lacks the shard {missing[0]}.", "Download the checkpoint again.")
    return [folder / name for name in names]


def _convert(files: list[Path], target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights: dict[str, Any] = {}
    for path in files:
        try:
            weights |= torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # The unpickler raises whatever the file makes it stumble over.
            raise EncoderError(
                f"{path} cannot be read as tensors alone: {first_line(error)}",
                "It is damaged, or holds code; get the checkpoint in safetensors format.",
            ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as place:
        part = Path(place) / target.name
        # Tensors that share memory are stored once each: safetensors knows no sharing.
        save_file({name: value.clone().contiguous() for name, value in weights.items()}, part, {"format": "pt"})
        part.replace(target)
