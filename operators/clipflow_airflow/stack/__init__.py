"""The real Airflow on this machine, loopback only: `python -m clipflow_airflow.stack up`.

    up ─▶ PostgreSQL ─▶ airflow db migrate ─▶ api-server, scheduler, triggerer, dag-processor
       └▶ Ray head, behind a token ───────────────────────────────┘ the connection ray_default

For trying clipflow, for writing DAGs, for tests. Not for production: one machine, one admin.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipflow_airflow.stack.stack import Stack

__all__ = ["Stack"]


def __getattr__(name: str) -> Any:
    if name == "Stack":
        from clipflow_airflow.stack.stack import Stack

        return Stack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
