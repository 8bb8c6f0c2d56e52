"""Code that comes with a model: the repositories it lies in, the commits they are pinned to, and what it consists of.

Everything here reads files; nothing is executed.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from clipflow.encoders.folder import find_code_folder, is_folder, is_on_s3
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.json_file import read_json
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec, digest

READERS = "CLIPFLOW_TRUST_REMOTE_CODE"
"""The environment variable by which who reads a table allows the code that its card names; 1 allows it."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What transformers asks for when it builds a model; code of processors and tokenizers is never run.
_BUILT = ("AutoConfig", "AutoModel")


def needs_code(config: dict[str, Any], architecture: str) -> bool:
    """Whether a checkpoint needs more than a class of transformers.

    Args:
        config: Its config.json.
        architecture: The class that its `model_type` stands for. A checkpoint can borrow a family's name for a class
            of its own; the weights would then load into the wrong one.
    """
    return (config.get("architectures") or [architecture])[0] != architecture or "auto_map" in config


def refusal(model: str, config: dict[str, Any]) -> EncoderError:
    """The error for a model that needs its own code where nothing allows it to run, with the keys that would."""
    keys = ["encoder.trust_remote_code: true"]
    if not is_folder(model):
        keys.append("encoder.revision: <40 hex digits of a commit>")
    if others := [name for name in _named(config) if name != model]:
        keys.append(f"encoder.code_revision: {_pin_form(others)}")
    return EncoderError(
        f"{model} needs {model_class(config)}, code of its own, and trust_remote_code is off.",
        f"Read that code first; to run it set {', '.join(keys)} (for a table's search and judge: {READERS}=1).",
    )


def model_class(config: dict[str, Any]) -> str:
    """The class that loads the weights, by its plain name."""
    named = _references(config).get("AutoModel")
    return named.rpartition(".")[2] if named else str((config.get("architectures") or ["a class"])[0])


def check_pinned(spec: EncoderSpec) -> None:
    """Code from the hub runs at a named commit only, and code that lies on S3 never.

    Raises:
        EncoderError: The revision, or the code itself, can change.
    """
    if is_on_s3(spec.model):
        raise EncoderError(
            f"{spec.model} brings code of its own, and what lies on S3 can change.",
            "Copy it into a folder of the machine, read that code, and name the folder.",
        )
    if not is_folder(spec.model) and not _COMMIT.fullmatch(spec.revision or ""):
        raise EncoderError(
            f"{spec.model} brings code of its own, and its revision {spec.revision or 'main'!r} can move.",
            "Set encoder.revision to the 40 hex digits of the commit that you trust.",
        )


def find_code(spec: EncoderSpec, folder: Path, commit: str | None, config: dict[str, Any]) -> dict[str, Any]:
    """By repository, where its code lies: commit (None for a local folder), folder, and sha256 over its files.

    Args:
        spec: `code_revision` is a commit where one other repository is needed, else `owner/name@commit` for each,
            separated by commas: Jina-CLIP builds its text side out of two more.
        folder: Of the model.
        commit: Of the model.
        config: Of the model.

    Raises:
        EncoderError: A repository is needed that no commit is named for, or the other way round; code is missing.
    """
    pins = _pins(spec.code_revision)
    references = _references(config)
    if not references:
        raise EncoderError(f"{spec.model} has no code of its own: its config.json has no auto_map for AutoModel.")
    code: dict[str, Any] = {}
    if any("--" not in one or one.startswith(f"{spec.model}--") for one in references.values()):
        code[spec.model] = _entry(folder, commit)
    waiting = _named(config)
    while waiting:
        name = waiting.pop(0)
        if name in code:
            continue
        pin = pins.pop(name, None) or pins.pop("", None)
        if pin is None:
            others = [known for known in code if known != spec.model]
            raise EncoderError(
                f"{spec.model} takes code from {name}, and no commit of that is named.",
                f"Set encoder.code_revision: {_pin_form([*others, name])}.",
            )
        place = find_code_folder(name, pin)
        code[name] = _entry(place, pin)
        waiting += _named(read_json(place / "config.json"))
    if pins:
        raise EncoderError(
            f"encoder.code_revision names {next(iter(pins.items()))}, which {spec.model} takes no code from.",
            "Leave it out.",
        )
    for reference in references.values():
        _check_module(spec.model, reference, code)
    return code


def fingerprints(model: str, code: dict[str, Any]) -> dict[str, str]:
    """What `checkpoint_fp` takes of code: the model's own goes without a name, as copies of a model are one model."""
    return {"" if name == model else name: entry["sha256"] for name, entry in code.items()}


def check_unchanged(info: EncoderInfo) -> None:
    """To be called right before code runs.

    Raises:
        EncoderError: A file is another one than when the model was described.
    """
    for name, entry in info.code.items():
        if _sha256(Path(entry["folder"])) != entry["sha256"]:
            raise EncoderError(
                f"The code of {name} is another one than when {info.model} was described.",
                "Read it again, and start the run again if you trust it.",
            )


def code_revision(info: EncoderInfo) -> str | None:
    """The `encoder.code_revision` that pins what a described model was pinned to."""
    others = {name: entry["commit"] for name, entry in info.code.items() if name != info.model}
    return ",".join(f"{name}@{commit}" for name, commit in others.items()) or None


def _references(config: dict[str, Any]) -> dict[str, str]:
    found = config.get("auto_map")
    kept = {key: found.get(key) for key in _BUILT} if isinstance(found, dict) else {}
    return {key: value for key, value in kept.items() if isinstance(value, str)}


def _named(config: dict[str, Any]) -> list[str]:
    """Other repositories that a configuration takes code from, in order."""
    found = [one.partition("--")[0] for one in _references(config).values() if "--" in one]
    # Of Jina-CLIP: its text side is built from the configuration, and by the code, of another model.
    inner = (config.get("text_config") or {}).get("hf_model_name_or_path")
    return list(dict.fromkeys([*found, *([inner] if isinstance(inner, str) else [])]))


def _pins(named: str | None) -> dict[str, str]:
    pins = {}
    for part in filter(None, (named or "").split(",")):
        repository, _, commit = part.strip().rpartition("@")
        if not _COMMIT.fullmatch(commit):
            raise EncoderError(
                f"encoder.code_revision {commit!r} can move.", "Give the 40 hex digits of the commit that you trust."
            )
        pins[repository] = commit
    return pins


def _pin_form(names: list[str]) -> str:
    if len(names) == 1:
        return f"<40 hex digits of a commit of {names[0]}>"
    return ",".join(f"{name}@<40 hex digits>" for name in names)


def _entry(folder: Path, commit: str | None) -> dict[str, Any]:
    return {"commit": commit, "folder": str(folder), "sha256": _sha256(folder)}


def _sha256(folder: Path) -> str:
    files = sorted(folder.rglob("*.py"))
    return digest([[str(one.relative_to(folder)), hashlib.sha256(one.read_bytes()).hexdigest()] for one in files])


def _check_module(model: str, reference: str, code: dict[str, Any]) -> None:
    repository, _, name = reference.rpartition("--")
    path = Path(code[repository or model]["folder"]) / f"{name.partition('.')[0]}.py"
    if not path.is_file():
        raise EncoderError(
            f"The code of {model} lacks {path.name} in {path.parent}.", "Download the repository again, with its code."
        )
