"""Reading a job file: YAML or JSON in, a `JobSpec` or one sentence out.

The sentence names the key, the file and line where there is one, and the nearest known key.
"""

import difflib
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from clipflow.errors import JobFileError
from clipflow.spec import JobSpec, PolicySpec

Key = tuple[str | int, ...]
Lines = dict[Key, int]

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not a key of a job file",
}


def read_job(source: str | Path, sets: Sequence[str] = ()) -> JobSpec:
    """Read a job.

    Args:
        source: A path, `-` for standard input, or `env:NAME` for an environment variable that holds the text.
        sets: Changes to it, each `a.b=YAML`; a rule is named by its name (`policy.rules.too_small.reject_below=32`).

    Raises:
        JobFileError: The file cannot be read, or a key or a value is wrong.
    """
    return read_text(*_text_of(str(source), "job"), sets)


def read_policy(source: str | Path) -> PolicySpec:
    """Read what stands under `policy:` in a job, from a place as for `read_job`.

    Raises:
        JobFileError: The file cannot be read, or a key or a value is wrong.
    """
    text, origin = _text_of(str(source), "policy")
    data, lines = _load(text, origin)
    if not isinstance(data, dict):
        raise JobFileError(f"{origin} holds no policy: it is not a mapping of keys.", "Start with `rules:`.")
    # As the part of a job that it is, so that errors name its keys as they do there.
    whole = {"name": "policy", "source": {"uri": "."}, "encoder": {"model": "demo"}, "table": {"uri": "t.lance"}}
    return parse_job({**whole, "policy": data}, origin, {("policy", *at): line for at, line in lines.items()}).policy


def _text_of(name: str, what: str) -> tuple[str, str]:
    """The text at a place, and what to call the place in errors."""
    if name == "-":
        return sys.stdin.read(), "standard input"
    if name.startswith("env:"):
        variable = name.removeprefix("env:")
        if variable not in os.environ:
            raise JobFileError(
                f"The environment variable {variable}, which should hold the {what}, is not set.",
                "Set it, or name a file.",
            )
        return os.environ[variable], f"${variable}"
    try:
        return Path(name).read_text(encoding="utf-8"), name
    except FileNotFoundError:
        raise JobFileError(f"There is no {what} file {name}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobFileError(f"The {what} file {name} cannot be read ({error}).", "Name a UTF-8 text file.") from None


def read_text(text: str, origin: str, sets: Sequence[str] = ()) -> JobSpec:
    """Read a job from YAML or JSON text; `origin` names it in errors."""
    data, lines = _load(text, origin)
    if not isinstance(data, dict):
        raise JobFileError(f"{origin} holds no job: it is not a mapping of keys.", "Start with `name:` and `source:`.")
    for change in sets:
        _apply(data, change)
    return parse_job(data, origin, lines)


def parse_job(data: dict[str, Any], origin: str = "the job", lines: Lines | None = None) -> JobSpec:
    """Check plain data against the keys of a job."""
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise JobFileError(*_explain(error, data, origin, lines or {})) from None


def _load(text: str, origin: str) -> tuple[object, Lines]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_lines(node, (), origin)) if node is not None else {}
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise JobFileError(f"{origin}{line} is not YAML: {error.problem}.", "Mend the indentation or quotes.") from None
    except yaml.YAMLError as error:
        raise JobFileError(f"{origin} is not YAML: {error}.", "Save it as UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        # A 31st of February, a number that is none, an alias within itself: well written, and without a meaning.
        raise JobFileError(f"{origin} holds a value that cannot be read: {error}.", "Quote or correct it.") from None


def _lines(node: yaml.Node, at: Key, origin: str) -> Iterator[tuple[Key, int]]:
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise JobFileError(
                    f"{origin}, line {key.start_mark.line + 1}: a key of {_dotted(at) or 'the job'} is no word.",
                    "Write key: value.",
                )
            if key.value in seen:
                raise JobFileError(
                    f"{origin}, line {key.start_mark.line + 1}: {_dotted((*at, key.value))} stands there twice.",
                    "Keep one of the two.",
                )
            seen.add(key.value)
            yield from _lines(value, (*at, key.value), origin)
            yield (*at, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*at, index), origin)


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
    message = f"{place}: {_dotted(at) or 'the job'} {sentence}."
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


def _dotted(at: Key) -> str:
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


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
