"""Loaders by name: the built-in ones, and those that other packages register under `clipflow.loaders`."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from clipflow.encoders.base import Loader
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

GROUP = "clipflow.loaders"
DEFAULT = "transformers"
_BUILT_IN = {
    DEFAULT: "clipflow.encoders.transformers_files",
    "open-clip": "clipflow.encoders.open_clip_files",
    "remote": "clipflow.encoders.remote_files",
}
_SPELT = {"open_clip": "open-clip"}


def loader_name(spec: EncoderSpec) -> str:
    """The loader that `spec` asks for: by `loader`, or by a prefix of the model as in `NAME:model`."""
    if spec.loader:
        return _SPELT.get(spec.loader, spec.loader)
    prefix, colon, _ = spec.model.partition(":")
    return prefix if colon and prefix in names() else DEFAULT


def names() -> list[str]:
    """All loaders that can be had here."""
    return sorted({*_BUILT_IN, *entry_points(group=GROUP).names})


def computes_with_torch(name: str) -> bool:
    """Whether a loader is known to compute with torch; of other packages' loaders nobody knows before they load."""
    return name in _BUILT_IN


def find_loader(name: str) -> Loader:
    """The loader of that name.

    Raises:
        EncoderError: Nobody registered it, or its package does not import.
    """
    if name in _BUILT_IN:
        return cast(Loader, import_module(_BUILT_IN[name]))
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise EncoderError(f"There is no loader {name!r}.", f"Loaders here: {', '.join(names())}.")
    try:
        return cast(Loader, next(iter(found)).load())
    except ImportError as error:
        raise EncoderError(f"The loader {name!r} does not import: {error}.", "Install what it needs.") from error
