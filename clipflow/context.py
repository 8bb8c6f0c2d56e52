"""Who asked for an operation on a table, where no job file carries it: told by the environment."""

import json
import os

from clipflow.errors import UsageError

VARIABLE = "CLIPFLOW_CONTEXT"


def context_given() -> dict[str, str]:
    """The JSON object in `CLIPFLOW_CONTEXT`, such as an Airflow operator sets; empty without one.

    Raises:
        UsageError: The variable holds no JSON object.
    """
    try:
        found = json.loads(os.environ.get(VARIABLE) or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"The environment variable {VARIABLE} holds no JSON object.", "Correct it, or unset it.")
    return {str(key): str(value) for key, value in found.items()}
