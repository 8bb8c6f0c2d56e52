"""EmbedImagesOperator: the main job."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import yaml
from airflow.sdk import Context

from clipflow.errors import ClipflowError
from clipflow.interval import Interval
from clipflow.jobfile import read_job, read_text
from clipflow.spec import JobSpec
from clipflow_airflow.operator import ClipflowOperator
from clipflow_airflow.report import Report
from clipflow_airflow.submission import Command, TaskKey
from clipflow_airflow.window import interval_of

JOB_VARIABLE = "CLIPFLOW_JOB"


class EmbedImagesOperator(ClipflowOperator):
    """Embed the images of an interval into a table.

    Args:
        job: The job: a mapping, YAML text, the path of a job file on the worker, or `env:NAME`.
        window: Instead of the job's `source.window`: all, modified or path.
        interval: Start and end instead of the run's data interval; two empty strings are unbounded.
        sets: Changes to the job, each `a.b=YAML`.
        retry: Failure codes whose images are tried again by hand.
        redecode: Formats, such as `bmp`, whose images an older decoder decoded and that are decoded again.
        reconcile: List the whole source, whatever window and interval, and withdraw rows whose object is gone.
        fail_on_empty: Nothing listed is an error; a retry can help.
        ray: With `local` only: none, local or an address; unset, the engine chooses by the number of images.
        progress: With `local` only: whether to draw a bar; unset, on a terminal only, and log lines elsewhere.
        **kwargs: `conn_id`, `deferrable` (see ClipflowOperator), and what every operator takes.
    """

    template_fields: Sequence[str] = ("job", "conn_id", "window", "interval", "sets", "retry", "redecode")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml"}
    # A path says little: once it is read, Airflow shows the job itself.
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        job: Mapping[str, Any] | str,
        window: str | None = None,
        interval: tuple[str, str] | None = None,
        sets: Sequence[str] = (),
        retry: Sequence[str] = (),
        redecode: Sequence[str] = (),
        reconcile: bool = False,
        fail_on_empty: bool = False,
        ray: str | None = None,
        progress: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.window = window
        self.interval = interval
        self.sets = sets
        self.retry = retry
        self.redecode = redecode
        self.reconcile = reconcile
        self.fail_on_empty = fail_on_empty
        self.ray = ray
        self.progress = progress

    def command(self, context: Context) -> Command:
        """`clipflow run`; the job travels in the environment, where no shell reads it."""
        spec = self._spec(context)
        return Command(
            words=self.words(self._interval(context, spec)),
            variables={JOB_VARIABLE: json.dumps(spec.body(), separators=(",", ":"))},
            metadata={"job": spec.name, "table": spec.table.uri},
        )

    def words(self, interval: Interval | None) -> list[str]:
        """The command line of a run over an interval, or over all that the source holds."""
        words = ["run", f"env:{JOB_VARIABLE}", "--ray", "auto", "--json"]
        if interval is not None:
            words += ["--interval", interval.start.isoformat(), interval.end.isoformat()]
        words += ["--retry", ",".join(self.retry)] * bool(self.retry)
        words += ["--redecode", ",".join(self.redecode)] * bool(self.redecode)
        return words + ["--reconcile"] * self.reconcile + ["--fail-on-empty"] * self.fail_on_empty

    def here(self, context: Context) -> Report:
        """`clipflow.run`, with a bar or log lines."""
        import clipflow

        spec = self._spec(context)
        interval = self._interval(context, spec)
        wish = clipflow.Wish.of(
            retry=self.retry, redecode=self.redecode, reconcile=self.reconcile, fail_on_empty=self.fail_on_empty
        )
        return clipflow.run(spec, interval=interval, ray=self.ray, progress=self.progress, wish=wish).document()

    def complete(self, context: Context, event: Mapping[str, Any]) -> Report:
        """Go on after the trigger."""
        try:
            self._spec(context)
        except ClipflowError:
            # The job is over, and its file may be gone meanwhile: there is nothing to show then.
            self.log.debug("The job file cannot be read any more")
        return super().complete(context, event)

    def _interval(self, context: Context, spec: JobSpec) -> Interval | None:
        """The interval of the run; none where the whole source is listed."""
        return None if self.reconcile else interval_of(context, spec.source.window, self.interval)

    def _spec(self, context: Context) -> JobSpec:
        sets = [*self.sets, *([f"source.window={self.window}"] if self.window else [])]
        if isinstance(self.job, Mapping):
            spec = read_text(json.dumps(self.job), f"the job of task {self.task_id}", sets)
        elif "\n" in self.job or self.job.lstrip().startswith("{"):
            spec = read_text(self.job, f"the job of task {self.task_id}", sets)
        else:
            spec = read_job(self.job, sets)
        traced = {**TaskKey.of(context).metadata(), "try_number": context["ti"].try_number}
        spec = spec.model_copy(update={"context": {**spec.context, **traced}})
        self.job = yaml.safe_dump(spec.body(), sort_keys=False, allow_unicode=True)
        return spec
