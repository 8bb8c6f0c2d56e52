"""Which tables changed: what the asset events that started a run say."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import task

from clipflow.errors import UsageError


def tables_of(events: Mapping[Any, Sequence[Any]]) -> list[str]:
    """The tables that asset events name, each once, sorted.

    Args:
        events: Airflow's `triggering_asset_events`: lists of events by their asset.
    """
    named = (event.extra.get("table") for found in events.values() for event in found)
    return sorted({str(table) for table in named if table})


@task(task_id="changed_tables", multiple_outputs=False)
def changed_tables(given: str = "", triggering_asset_events: Mapping[Any, Sequence[Any]] | None = None) -> list[str]:
    """A task that names the tables to work on; to expand an operator over.

    Args:
        given: A table that the form names; goes first.
        triggering_asset_events: Airflow fills it in. Several events that started one run are worked on together.
    """
    tables = [given] if given else tables_of(triggering_asset_events or {})
    if not tables:
        raise UsageError("No event and no form names a table.", "Fill in the form's field.")
    return tables
