"""Reading a job file: YAML or JSON in, a `JobSpec` or one sentence out.

The sentence names the key, the file and line where there is one, and the nearest known key.
"""

import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from clipflow.errors import JobFileError, SourceError
from clipflow.files import beside
from clipflow.jobtext import Key, Lines, dotted, load, text_of
from clipflow.spec import JobSpec, PolicySpec

# Keys that a job has and a policy has not.
_JOB = {"source", "encoder", "table"}
_DEPTH = 3
_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not a key of a job file",
}


def read_job(source: str | Path, sets: Sequence[str] = ()) -> JobSpec:
    """Read a job.

    Args:
        source: A path, an `s3://` address, `-` for standard input, or `env:NAME` for an environment variable that
            holds the text.
        sets: Changes to it, each `a.b=YAML`; a rule is named by its name (`policy.rules.too_small.reject_below=32`).

    Raises:
        JobFileError: The file cannot be read, or a key or a value is wrong.
        StorageUnavailable: Storage did not answer.
    """
    text, origin, file = text_of(str(source), "job")
    return read_text(text, origin, sets, file=file)


def read_policy(source: str | Path) -> PolicySpec:
    """Read what stands under `policy:` in a job, of a policy file or of a job; places and errors as for `read_job`."""
    return _policy_file(str(source))[1]


def _policy_file(source: str, depth: int = 0) -> tuple[dict[str, Any], PolicySpec]:
    """A policy as plain data, and checked; `depth` counts the files that led here, each by the name of the next."""
    text, origin, file = text_of(source, "policy")
    if depth > _DEPTH:
        raise JobFileError(f"{origin} was named by a job that another names, and so on.", "Name a file with `rules:`.")
    data, lines = load(text, origin)
    if not isinstance(data, dict):
        raise JobFileError(f"{origin} holds no policy: it is not a mapping of keys.", "Start with `rules:`.")
    if "policy" not in data and data.keys() & _JOB:
        near = difflib.get_close_matches("policy", [str(key) for key in data], n=1)
        mend = f"Did you mean that by {near[0]!r}?" if near else "Write `policy: {rules: []}` to accept all."
        raise JobFileError(f"{origin} is a job without `policy:`.", mend)
    if "policy" not in data:
        data, lines = {"policy": data}, {("policy", *at): line for at, line in lines.items()}
    if isinstance(data["policy"], str):
        return _policy_file(_beside(file, data["policy"], origin), depth + 1)
    # As the part of a job that it is, so that errors name its keys as they do there.
    whole = {"name": "policy", "source": {"uri": "."}, "encoder": {"model": "demo"}, "table": {"uri": "t.lance"}}
    return data["policy"], parse_job({**whole, "policy": data["policy"]}, origin, lines).policy


def _beside(file: str, named: str, origin: str) -> str:
    if "\n" in named or named == "-" or named.startswith("env:"):
        raise JobFileError(f"{origin}: policy is no file's name.", "Name a file, or write the keys under `policy:`.")
    try:
        return beside(file, named)
    except SourceError as error:
        raise JobFileError(f"{origin}: policy names no file: {error.message}", error.mend) from None


def read_text(text: str, origin: str, sets: Sequence[str] = (), *, file: str = "") -> JobSpec:
    """Read a job from YAML or JSON text.

    A policy that it names by a file is read here, so that the job carries its content wherever it goes.

    Args:
        origin: Names it in errors.
        file: The file it came from, in whose folder a policy file lies; without one, the working directory.
    """
    data, lines = load(text, origin)
    if not isinstance(data, dict):
        raise JobFileError(f"{origin} holds no job: it is not a mapping of keys.", "Start with `name:` and `source:`.")
    for change in sets:
        if change.startswith("policy."):
            _take_in_policy(data, origin, file)
        _apply(data, change)
    _take_in_policy(data, origin, file)
    return parse_job(data, origin, lines)


def _take_in_policy(data: dict[str, Any], origin: str, file: str) -> None:
    if isinstance(data.get("policy"), str):
        data["policy"] = _policy_file(_beside(file, data["policy"], origin))[0]


def parse_job(data: dict[str, Any], origin: str = "the job", lines: Lines | None = None) -> JobSpec:
    """Check plain data against the keys of a job."""
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise JobFileError(*_explain(error, data, origin, lines or {})) from None


def _apply(data: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise JobFileError(f"--set {change} is not of the form key=value.", "Write --set table.commit_rows=1000.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise JobFileError(f"--set {path}: the value {text!r} is not YAML.", "Quote it.") from None
    *parents, last = path.split(".")
    here: Any = data
    for depth, key in enumerate(parents):
        if isinstance(here, list):
            here = _rule(here, key, path)
        elif isinstance(here, dict):
            rules = parents[:depth] == ["policy"] and key == "rules"
            here = here.setdefault(key, [] if rules else {})
        else:
            raise JobFileError(f"--set {path}: {'.'.join(parents[:depth])} holds no keys.", "Check the path.")
    if not isinstance(here, dict):
        raise JobFileError(f"--set {path}: {'.'.join(parents)} holds no keys.", "Name the rule and one of its keys.")
    here[last] = value


def _rule(rules: list[Any], name: str, path: str) -> dict[str, Any]:
    named = {rule["name"]: rule for rule in rules if isinstance(rule, dict) and "name" in rule}
    if name not in named:
        raise JobFileError(f"--set {path}: there is no rule {name!r}.", f"The rules are: {', '.join(named) or 'none'}.")
    found: dict[str, Any] = named[name]
    return found


def _explain(error: ValidationError, data: object, origin: str, lines: Lines) -> tuple[str, str]:
    """The first fault as a sentence, and its mend."""
    # A misspelt key that must be there is first of all misspelt.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    at: Key = first["loc"] if first["type"] == "missing" else _there(data, first["loc"])
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), None)
    place = f"{origin}, line {line}" if line else origin
    kind = first["type"]
    reasons = [_reason(fault) for fault in error.errors() if fault["loc"][: len(at)] == at]
    sentence = _SENTENCES.get(kind, f"is wrong: {', or '.join(dict.fromkeys(reasons))}{_shown(first)}")
    message = f"{place}: {dotted(at) or 'the job'} {sentence}."
    if kind == "extra_forbidden":
        known = _known_keys(at[:-1])
        near = difflib.get_close_matches(str(at[-1]), known, n=1, cutoff=0.5)
        return message, f"Did you mean {near[0]!r}?" if near else f"Known keys here: {', '.join(known)}."
    if kind == "missing":
        return message, "Add it."
    return message, "Correct the value."


def _reason(fault: Any) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"]).rstrip(".")
    return str(fault["msg"]).rstrip(".")[:1].lower() + str(fault["msg"]).rstrip(".")[1:]


def _shown(fault: Any) -> str:
    given = fault.get("input")
    return f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""


def _there(data: Any, at: Key) -> Key:
    """As much of a place as the job has: behind it stand the types that a value of several could have been."""
    for depth, part in enumerate(at):
        try:
            data = data[part]
        except (LookupError, TypeError):
            return at[:depth]
    return at


def _known_keys(at: Key) -> list[str]:
    """The keys that may stand at a place of the job."""
    model: Any = JobSpec
    for part in at:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
            if model is None:
                return []
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
