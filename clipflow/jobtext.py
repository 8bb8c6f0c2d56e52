"""The text of a job or a policy: where it is read, and what YAML makes of it, with the line of every key."""

import os
from collections.abc import Iterator

import yaml

from clipflow.errors import JobFileError
from clipflow.files import read_file
from clipflow.small_file import read_standard_input
from clipflow.uri import shown

Key = tuple[str | int, ...]
Lines = dict[Key, int]


def text_of(name: str, what: str) -> tuple[str, str, str]:
    """The text at a place, what to call the place in errors, and the name of the file if it is one, else nothing."""
    if name == "-":
        return _standard_input(what), "standard input", ""
    if name.startswith("env:"):
        variable = name.removeprefix("env:")
        if variable not in os.environ:
            raise JobFileError(
                f"The environment variable {variable}, which should hold the {what}, is not set.",
                "Set it, or name a file.",
            )
        return os.environ[variable], f"${variable}", ""
    if name.rstrip("/").endswith(".lance"):
        raise JobFileError(
            f"{shown(name)} is a table, not a {what} file.", "See `clipflow --help` for what takes which."
        )
    try:
        return read_file(name, f"{what} file", JobFileError).decode(), shown(name), name
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise JobFileError(
            f"The {what} file {shown(name)} cannot be read ({reason}).", "Name a UTF-8 text file."
        ) from None


def _standard_input(what: str) -> str:
    try:
        return read_standard_input().decode()
    except OSError as error:
        raise JobFileError(
            f"Standard input, which should hold the {what}, is unusable: {error.strerror}.", ""
        ) from None
    except UnicodeDecodeError as error:
        raise JobFileError(
            f"Standard input is not UTF-8 ({error.reason} at byte {error.start}).", "Write UTF-8."
        ) from None


def load(text: str, origin: str) -> tuple[object, Lines]:
    """What a YAML text holds, and the line of every key.

    Raises:
        JobFileError: It is no YAML, a key stands twice, or a value cannot be read.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_lines(node, (), origin)) if node is not None else {}
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise JobFileError(f"{origin}{line} is not YAML: {error.problem}.", "Mend the indentation or quotes.") from None
    except yaml.YAMLError as error:
        raise JobFileError(f"{origin} is not YAML: {' '.join(str(error).split())}.", "Save it as UTF-8 text.") from None
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
                    f"{origin}, line {key.start_mark.line + 1}: a key of {dotted(at) or 'the job'} is no word.",
                    "Write key: value.",
                )
            if key.value in seen:
                raise JobFileError(
                    f"{origin}, line {key.start_mark.line + 1}: {dotted((*at, key.value))} stands there twice.",
                    "Keep one of the two.",
                )
            seen.add(key.value)
            yield from _lines(value, (*at, key.value), origin)
            yield (*at, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*at, index), origin)


def dotted(at: Key) -> str:
    """A key as people write it: `policy.rules[0].name`."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
