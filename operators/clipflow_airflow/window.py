"""The interval of a task: Airflow's data interval, where the job's window wants one."""

from datetime import UTC, datetime

from airflow.sdk import Context

from clipflow.errors import IntervalError
from clipflow.interval import Interval


def interval_of(context: Context, window: str, given: tuple[str, str] | None) -> Interval | None:
    """The interval that the run is limited to; None is unbounded.

    Args:
        context: Airflow's context of the task.
        window: `source.window` of the job.
        given: Start and end from the DAG instead of the data interval; two empty strings are unbounded.
    """
    if window == "all":
        return None
    if given is not None:
        found = Interval.parse(*given) if any(given) else None
    else:
        start, end = context.get("data_interval_start"), context.get("data_interval_end")
        found = Interval(_plain(start), _plain(end)) if start is not None and end is not None else None
    if found is None and window == "path":
        raise IntervalError(
            "The job's window is `path`, and this run has no data interval: it was started by hand or by an asset.",
            "Schedule the DAG by a CronDataIntervalTimetable, or give the operator an interval.",
        )
    return found


def _plain(moment: datetime) -> datetime:
    """Airflow hands over pendulum's kind of datetime, which the engine never sees."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)
