"""A throw-away Airflow on SQLite, in this process: for the demo, for tests, for trying a DAG.

Nothing here imports airflow before `Sandbox` has set where its home is.
"""

import os
import warnings
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipflow.errors import UsageError

if TYPE_CHECKING:
    from airflow.sdk import DAG


@dataclass(frozen=True)
class Outcome:
    """How a DAG run ended: the state of every task, and what every task returned."""

    run_id: str
    state: str
    tasks: dict[str, str]
    results: dict[str, Any]


class Sandbox:
    """An Airflow home of its own, with a database and one folder of DAGs.

    Args:
        home: An empty or new folder; the caller removes it.
        dags: The folder of DAG files.
    """

    def __init__(self, home: Path, dags: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        os.environ.update(
            {
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__CORE__DAGS_FOLDER": str(dags.absolute()),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
                "AIRFLOW__LOGGING__LOGGING_LEVEL": os.environ.get("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING"),
            }
        )
        self._bags: dict[str, DAG] = {}

    def open(self) -> None:
        """Import Airflow and lay out its database."""
        with warnings.catch_warnings():
            # Deprecations inside Airflow and its dependencies are none of our reader's business.
            warnings.simplefilter("ignore")
            from airflow.utils.db import initdb

            initdb()

    def dag(self, dag_id: str) -> "DAG":
        """A DAG of the folder.

        Raises:
            UsageError: A file of the folder does not import, or none holds this DAG.
        """
        if not self._bags:
            from airflow.dag_processing.dagbag import DagBag

            bag = DagBag()
            if bag.import_errors:
                raise UsageError("\n".join(bag.import_errors.values()), "Mend the DAG file.")
            self._bags = dict(bag.dags)
        if dag_id not in self._bags:
            folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
            raise UsageError(f"The folder {folder} holds no DAG {dag_id}.", "Name the folder of the DAG files.")
        return self._bags[dag_id]

    def run(
        self,
        dag_id: str,
        until: datetime | None,
        params: dict[str, Any] | None = None,
        run_after: datetime | None = None,
    ) -> Outcome:
        """Run a DAG once, here and now, without retries.

        Args:
            dag_id: The DAG.
            until: The end of the data interval; None is a run without one.
            params: Values of the form.
            run_after: Names the run: the same moment is the same run id.
        """
        dag = self.dag(dag_id)
        for task in dag.tasks:
            # dag.test() sits out the whole retry_delay.
            task.retries = 0
        # dag.test() leaves the form's values behind as the DAG's own.
        defaults = deepcopy(dag.params)
        try:
            run = dag.test(logical_date=until, run_conf=params, run_after=run_after)
        finally:
            dag.params = defaults
        tasks = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        return Outcome(run.run_id, str(run.state), tasks, {task: _result(run, task) for task in tasks})


def _result(run: Any, task: str) -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(key="return_value", run_id=run.run_id, dag_ids=run.dag_id, task_ids=task)
        row = session.scalars(query).first()
        return None if row is None else XComModel.deserialize_value(row)
