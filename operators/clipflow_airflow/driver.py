"""Where on the cluster the driver of a Ray job runs, and in which environment: what Ray's Jobs REST takes for it.

The variables of the environment may be secrets. They are rendered when the job is started, go to Ray and nowhere else:
no template field, serialised DAG, XCom, trigger or sentence of ours holds one.
"""

import difflib
import json
import math
from collections.abc import Mapping
from typing import Any

import yaml

from clipflow.errors import UsageError

RESOURCES = ("entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_memory", "entrypoint_resources")
"""As Ray names them. With any of them Ray places the driver where it is free; without, on the head."""

_FIELDS = (
    "conda", "config", "container", "env_vars", "excludes", "image_uri", "java_jars", "nsight", "pip", "py_executable",
    "py_modules", "rocprof_sys", "uv", "worker_process_setup_hook", "working_dir",
)  # fmt: skip
_OWN_NAMES = {
    "CPU": "entrypoint_num_cpus",
    "GPU": "entrypoint_num_gpus",
    "memory": "entrypoint_memory",
    "object_store_memory": "none: it is the cluster's",
}


class Hidden:
    """A value that Airflow shall not write down: of a mapped task it serialises all that `partial` is given."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "hidden"


def request(given: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into the request: only what is set, each part checked.

    Args:
        given: `runtime_env` and RESOURCES, rendered.

    Raises:
        UsageError: Ray would not take it. No variable's value is in the sentence.
    """
    checks = {"runtime_env": _runtime_env, "entrypoint_memory": _bytes, "entrypoint_resources": _resources}
    found = {name: value for name, value in given.items() if value is not None and value != "" and value != {}}
    return {name: checks.get(name, _number)(name, value) for name, value in found.items()}


def check(given: Mapping[str, Any]) -> None:
    """As `request`, where a DAG is read: what only a run can render is not looked at yet."""
    known = {name: value for name, value in given.items() if not _is_template(value)}
    if isinstance(named := known.get("entrypoint_resources"), Mapping):
        known["entrypoint_resources"] = {name: value for name, value in named.items() if not _is_template(value)}
    request(known)


def environment(own: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime environment of a command.

    Args:
        own: The command's variables.
        given: A checked `runtime_env`.
    """
    variables = given.get("env_vars") or {}
    if taken := sorted(own.keys() & variables.keys()):
        raise UsageError(
            f"The env_vars of runtime_env set {', '.join(taken)}, which the operator sets itself.", "Leave it out."
        )
    return {**given, "env_vars": {**variables, **own}}


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _runtime_env(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            value = None
    if not isinstance(value, Mapping):
        raise UsageError(f"`{name}` is no mapping.", "Write it as Ray does, such as {env_vars: {NAME: text}}.")
    for key in value:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, n=1)
            mend = f"Did you mean {near[0]!r}?" if near else f"Ray knows {', '.join(_FIELDS)}."
            raise UsageError(f"`{name}` has no field {key!r}.", mend)
    found = {key: part for key, part in value.items() if part is not None}
    if len(installers := sorted(found.keys() & {"conda", "pip", "uv"})) > 1:
        raise UsageError(f"`{name}` holds {' and '.join(installers)}, and Ray takes one of them.", "Leave one.")
    if "env_vars" in found:
        found["env_vars"] = _variables(f"{name}.env_vars", found["env_vars"])
    try:
        json.dumps(found)
    except (TypeError, ValueError):
        raise UsageError(
            f"`{name}` holds what JSON cannot: it goes to Ray as JSON.", "Use texts, numbers, lists and mappings."
        ) from None
    return found


def _variables(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise UsageError(f"`{name}` is no mapping.", "Write NAME: text.")
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise UsageError(f"`{name}` has a name that no variable can have: {key!r}.", "Correct it.")
        if not isinstance(text, str) or "\0" in text:
            raise UsageError(f"`{name}.{key}` is no text.", "Put it in quotes.")
    return dict(value)


def _number(name: str, value: object) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found < math.inf:
        raise UsageError(f"`{name}` is no number from 0 on: {value!r}.", "Write such as 0.5, or 2.")
    return found


def _bytes(name: str, value: object) -> int:
    found = _number(name, value)
    if not found.is_integer():
        raise UsageError(f"`{name}` is no whole number of bytes: {value!r}.", "Write such as 2_000_000_000.")
    return int(found)


def _resources(name: str, value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise UsageError(f"`{name}` is no mapping.", "Write such as {driver: 1}.")
    for key in value:
        if key in _OWN_NAMES:
            raise UsageError(f"`{name}` cannot hold {key!r}.", f"Its argument is {_OWN_NAMES[key]}.")
    return {str(key): _number(f"{name}.{key}", part) for key, part in value.items()}
