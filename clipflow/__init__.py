"""clipflow: batch image embedding for orchestrated pipelines.

`JobSpec` describes a job, `plan` and `run` do it, `Wish` says what they do beyond it, `open` reads the table. Names
load on first use: `import clipflow` costs no torch, no ray and no lance.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipflow.errors import ClipflowError
    from clipflow.interval import Interval
    from clipflow.pipeline import plan, run
    from clipflow.query.open import open
    from clipflow.report import RunReport
    from clipflow.spec import JobSpec
    from clipflow.version import __version__
    from clipflow.wish import Wish

_HOMES = {
    "ClipflowError": "clipflow.errors",
    "Interval": "clipflow.interval",
    "JobSpec": "clipflow.spec",
    "RunReport": "clipflow.report",
    "Wish": "clipflow.wish",
    "__version__": "clipflow.version",
    "open": "clipflow.query.open",
    "plan": "clipflow.pipeline",
    "run": "clipflow.pipeline",
}
__all__ = ["ClipflowError", "Interval", "JobSpec", "RunReport", "Wish", "__version__", "open", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        # Here and not above: `import clipflow` itself costs nothing.
        from clipflow.extras import engine_needed

        with engine_needed():
            return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
