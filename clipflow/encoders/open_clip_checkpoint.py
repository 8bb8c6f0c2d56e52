"""Where an open_clip model lies: its configuration, its one file of weights, and how its images are prepared."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from clipflow.encoders.conversion import converted
from clipflow.encoders.folder import find_folder, is_on_s3
from clipflow.encoders.json_file import read_json
from clipflow.encoders.weights import PICKLE_SUFFIXES
from clipflow.errors import EncoderError

PREFIX = "open-clip:"
_HUB, _LOCAL = "hf-hub:", "local-dir:"
CONFIG = "open_clip_config.json"
_SAFE = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_PICKLED = ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth")
# In open_clip's own order of preference; on the hub these names are those of transformers' weights.
_SHARED = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


class Checkpoint(NamedTuple):
    """The parts of one model.

    Attributes:
        folder: That holds the weights, and the tokenizer where the model brings one.
        commit: Of the hub, None for files.
        source: The file of weights as it was found.
        weights: The same in safetensors format.
        model_cfg: What open_clip builds the model from.
        preprocess_cfg: How images are prepared, by open_clip's keys; what is missing has open_clip's default.
    """

    folder: Path
    commit: str | None
    source: Path
    weights: Path
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]


def find_checkpoint(model: str, revision: str | None, allow_pickle: bool) -> Checkpoint:
    """The files of a model.

    Args:
        model: `local-dir:FOLDER`, `hf-hub:OWNER/NAME`, `NAME:FILE` with a NAME that open_clip knows and a FILE of
            weights, a folder or a hub id; with or without the loader's prefix.
        revision: Branch, tag or commit on the hub.
        allow_pickle: Whether weights may be pickled.

    Raises:
        EncoderError: Something is missing, or the weights are pickled and must not be.
    """
    needs_open_clip()
    named = _bare(model)
    if (pair := _name_and_file(named)) is not None:
        if revision is not None:
            raise EncoderError(f"{model} is a file, and files have no revisions.", "Leave out encoder.revision.")
        return _by_name(*pair, allow_pickle)
    if named.startswith(_LOCAL):
        path = str(Path(named.removeprefix(_LOCAL)).expanduser().absolute())
        return _in_folder(*find_folder(path, revision), allow_pickle)
    named = named.removeprefix(_HUB)
    if is_on_s3(named):
        pickled = [f"*{suffix}" for suffix in PICKLE_SUFFIXES if allow_pickle]
        return _in_folder(*find_folder(named, revision, ("*.safetensors", *pickled)), allow_pickle)
    folder, commit = find_folder(named, revision, _SAFE)
    if commit and allow_pickle and not any((folder / name).is_file() for name in _SAFE):
        folder, commit = find_folder(named, commit, _PICKLED)
    return _in_folder(folder, commit, allow_pickle)


def find_again(model: str, folder: Path, commit: str | None, allow_pickle: bool) -> Checkpoint:
    """The files of a model that was described, where they were found then, whatever the working directory."""
    if (pair := _name_and_file(_bare(model))) is not None:
        name, file = pair
        return _by_name(name, str(folder / Path(file).name), allow_pickle)
    return _in_folder(folder, commit, allow_pickle)


def _in_folder(folder: Path, commit: str | None, allow_pickle: bool) -> Checkpoint:
    config = read_json(folder / CONFIG)
    if not config:
        raise EncoderError(f"{folder} holds no {CONFIG}.", "Name a model in open_clip's layout.")
    model_cfg = config.get("model_cfg")
    if not isinstance(model_cfg, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model_cfg.keys():
        raise EncoderError(f"{folder / CONFIG} describes no model.", "It needs embed_dim, vision_cfg and text_cfg.")
    source = _weights_in(folder, commit is not None)
    preprocess_cfg = dict(config.get("preprocess_cfg") or {})
    return Checkpoint(folder, commit, source, _safe(source, allow_pickle), model_cfg, preprocess_cfg)


def needs_open_clip() -> None:
    """Says which extra is missing where open_clip is not installed."""
    if find_spec("open_clip") is None:
        raise EncoderError(
            "open_clip is not installed: clipflow is here without its extra open-clip.",
            'Run: pip install "clipflow[engine,open-clip]" -c constraints-open-clip.txt',
        )


def _bare(model: str) -> str:
    return model.removeprefix(PREFIX)


def _name_and_file(named: str) -> tuple[str, str] | None:
    if named.startswith((_HUB, _LOCAL)) or is_on_s3(named):
        return None
    name, colon, file = named.partition(":")
    name = name.replace("/", "-")  # OpenAI wrote ViT-B/32
    if _built_in(name).is_file():
        if not file:
            raise EncoderError(
                f"{named} is an architecture, and no weights are named.", f"Name {PREFIX}{name}:FILE with their file."
            )
        return name, file
    if colon:
        known = ", ".join(_near(name)) or "see open_clip.list_models()"
        raise EncoderError(f"open_clip knows no architecture {name!r}.", f"Nearest: {known}.")
    return None


def _by_name(name: str, file: str, allow_pickle: bool) -> Checkpoint:
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise EncoderError(
            f"There is no file {file}.", f"Name a file of weights, or a model of the hub as {PREFIX}{_HUB}OWNER/NAME."
        )
    weights = _safe(path, allow_pickle)
    return Checkpoint(path.parent, None, path, weights, read_json(_built_in(name)), _published_preprocessing(name))


def _published_preprocessing(name: str) -> dict[str, Any]:
    """What all published weights of an architecture share; OpenAI's where they differ or there are none.

    open_clip itself takes OpenAI's for every file, which is wrong for MobileCLIP, CLIPA and SigLIP.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    keys = ("mean", "std", "interpolation", "resize_mode")
    found = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    each = [{key: one[key] for key in keys if key in one} for one in found]
    return each[0] if each and all(one == each[0] for one in each) else {}


def _weights_in(folder: Path, hub: bool) -> Path:
    names: tuple[str, ...] = (*_SAFE, *_PICKLED) if hub else (*_SAFE, *_PICKLED, *_SHARED)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    others: list[Path] = [] if hub else sorted(folder.glob("*.safetensors"))
    others = others or ([] if hub else sorted(path for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES))
    if not others:
        raise EncoderError(
            f"{folder} holds no weights in safetensors format.",
            f"They should be there as {_SAFE[0]}; pickled ones need encoder.allow_pickle.",
        )
    if len(others) > 1:
        raise EncoderError(
            f"{folder} holds several files of weights, {others[0].name} and {others[1].name} among them.",
            f"Name the right one {_SAFE[0]}.",
        )
    return others[0]


def _safe(path: Path, allow_pickle: bool) -> Path:
    """The weights in safetensors format, converted where they are pickled and may be."""
    if path.suffix == ".safetensors":
        return path
    if path.suffix not in PICKLE_SUFFIXES:
        raise EncoderError(f"{path} is no file of weights.", "Weights end in .safetensors, .bin, .pt or .pth.")
    if not allow_pickle:
        raise EncoderError(
            f"{path} is a pickle, and a pickle can run any code.",
            "Convert it to safetensors, or set encoder.allow_pickle: its weights are then read, its code is not run.",
        )
    return converted(path)


def _built_in(name: str) -> Path:
    return _configs() / f"{name}.json"


def _configs() -> Path:
    spec = find_spec("open_clip")
    assert spec is not None  # needs_open_clip went before
    return Path(str(spec.origin)).parent / "model_configs"


def _near(name: str) -> Iterator[str]:
    from difflib import get_close_matches

    yield from get_close_matches(name, [path.stem for path in _configs().glob("*.json")])
