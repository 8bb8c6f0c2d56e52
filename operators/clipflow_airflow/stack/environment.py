"""What every process of the stack inherits from us."""

import os
import sys
from pathlib import Path

from clipflow_airflow.stack.processes import MARK

_LOOPBACK = "127.0.0.1,localhost"


def inherited() -> dict[str, str]:
    """Our own variables without the traces of any other Airflow or Ray; connections and variables stay."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW__", "RAY_")) and name not in ("AIRFLOW_HOME", "AIRFLOW_CONFIG", MARK)
    }
    # Ray's jobs begin with `python`, and mean this one.
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), _LOOPBACK]))
    return kept
