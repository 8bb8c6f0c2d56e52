"""Operators of the verbs that work on a table which is there: maintain, judge, audit, forget and migrate."""

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from clipflow.context import VARIABLE as CONTEXT_VARIABLE
from clipflow_airflow.gate import gated
from clipflow_airflow.operator import ClipflowOperator
from clipflow_airflow.report import Report
from clipflow_airflow.submission import Command, TaskKey


class TableOperator(ClipflowOperator):
    """A verb over one table.

    Args:
        table: Path or s3:// URI of the table, ending in .lance.
        **kwargs: `conn_id`, `deferrable` (see ClipflowOperator), and what every operator takes.
    """

    verb: ClassVar[str]

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    @abstractmethod
    def options(self) -> list[str]:
        """What stands behind the table on the command line."""

    def variables(self) -> dict[str, str]:
        """Texts that the options name as `env:NAME`."""
        return {}

    def command(self, context: Context) -> Command:
        """`clipflow VERB TABLE …`."""
        words = [self.verb, self.table, *self.options(), "--json"]
        return Command(words, self._variables(context), {"verb": self.verb, "table": self.table})

    def here(self, context: Context) -> Report:
        """The same verb in this process."""
        from clipflow.cli import answer

        with _environment(self._variables(context)):
            report: Report = answer([self.verb, self.table, *self.options()])
        return report

    def _variables(self, context: Context) -> dict[str, str]:
        traced = {**TaskKey.of(context).metadata(), "try_number": str(context["ti"].try_number)}
        return {**self.variables(), CONTEXT_VARIABLE: json.dumps(traced)}


class MaintainTableOperator(TableOperator):
    """Index, compact, clean up, and tag what is published.

    Args:
        keep_days: How old a version must be to be removed; unset, as the engine has it.
        tag: The tag that moves to the result; unset, as the engine has it.
        **kwargs: `table`, `conn_id`, `deferrable`, and what every operator takes.
    """

    verb = "maintain"
    template_fields: Sequence[str] = ("table", "conn_id", "keep_days", "tag")

    def __init__(self, *, keep_days: float | str | None = None, tag: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep_days = keep_days
        self.tag = tag

    def options(self) -> list[str]:
        """The options that are set."""
        return [*_given("--keep-days", self.keep_days), *_given("--tag", self.tag)]


class JudgeTableOperator(TableOperator):
    """Decide again from stored scores and vectors, by another policy; no image is read.

    Args:
        policy: What stands under `policy:` in a job: a mapping, or YAML text; or the path of a file on the cluster.
        rehearse: Only say what would change.
        **kwargs: `table`, `conn_id`, `deferrable`, and what every operator takes.
    """

    verb = "judge"
    template_fields: Sequence[str] = ("table", "conn_id", "policy")
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "yaml"}

    def __init__(self, *, policy: Mapping[str, Any] | str, rehearse: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.rehearse = rehearse

    def options(self) -> list[str]:
        """The policy, and whether it is a rehearsal."""
        named = _is_path(self.policy)
        return ["--policy", str(self.policy) if named else "env:CLIPFLOW_POLICY", *_flag("--dry-run", self.rehearse)]

    def variables(self) -> dict[str, str]:
        """The policy's text, unless a file holds it."""
        return {} if _is_path(self.policy) else {"CLIPFLOW_POLICY": _text(self.policy)}


class AuditTableOperator(TableOperator):
    """Removal rates per group and rule.

    Args:
        by: The columns to group by.
        against: A run to compare with.
        fail_if: A condition that makes the task fail.
        html: Where the page goes, on the cluster.
        gates: A task before this one whose change of the table is announced only when the audit passed: the outlets
            of this task carry that task's event. When it changed nothing this one is skipped; without `fail_if` it
            audits nothing and announces. In a mapped task group each gate holds back the task of its own index;
            behind a mapped task, all of them that wrote to its table.
        **kwargs: `table`, `conn_id`, `deferrable`, and what every operator takes.
    """

    verb = "audit"
    template_fields: Sequence[str] = ("table", "conn_id", "by", "against", "fail_if", "html")

    def __init__(
        self,
        *,
        by: Sequence[str] = (),
        against: str | None = None,
        fail_if: str | None = None,
        html: str | None = None,
        gates: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gates = gates
        self.by = by
        self.against = against
        self.fail_if = fail_if
        self.html = html

    def execute(self, context: Context) -> Report:
        """As every operator, unless there is nothing to audit."""
        if self.gates is None:
            return super().execute(context)
        with self._one_sentence():
            held = self._gated(context)
        if held is None:
            raise AirflowSkipException(f"The task {self.gates} changed nothing, so there is nothing to audit.")
        if not (self.fail_if or "").strip():
            self.log.info("No condition is set: what %s changed is announced without an audit.", self.gates)
            return self._finish(context, {"table": self.table, "fail_if": None})
        return super().execute(context)

    def told(self, context: Context, report: Report) -> Report | None:
        """The event of the task that waited."""
        return self._gated(context)

    def _gated(self, context: Context) -> Report | None:
        return None if self.gates is None else gated(context, self.gates, self.table)

    def options(self) -> list[str]:
        """The options that are set."""
        by = ["--by", *self.by] if self.by else []
        more = {"--against": self.against, "--fail-if": self.fail_if, "--html": self.html}
        return [*by, *(word for name, value in more.items() for word in _given(name, value))]


class ForgetImagesOperator(TableOperator):
    """Remove images for good, so that no later run brings them back.

    Args:
        requests: A file on the cluster, or in storage, that names what to forget.
        uris: Source URIs to forget; they travel in the environment.
        where: A condition over the table's columns.
        rehearse: Only say what would be forgotten.
        **kwargs: `table`, `conn_id`, `deferrable`, and what every operator takes.
    """

    verb = "forget"
    template_fields: Sequence[str] = ("table", "conn_id", "requests", "uris", "where")

    def __init__(
        self,
        *,
        requests: str | None = None,
        uris: Sequence[str] = (),
        where: str | None = None,
        rehearse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.uris = uris
        self.where = where
        self.rehearse = rehearse

    def options(self) -> list[str]:
        """What to forget, and whether it is a rehearsal."""
        listed = ["--from", "env:CLIPFLOW_FORGET"] if self.uris else _given("--from", self.requests)
        return [*listed, *_given("--where", self.where), *_flag("--dry-run", self.rehearse)]

    def variables(self) -> dict[str, str]:
        """The URIs, one a line."""
        return {"CLIPFLOW_FORGET": "\n".join(self.uris)} if self.uris else {}


class MigrateEncoderOperator(TableOperator):
    """Fill a new table with another encoder, and point readers to it. A retry does what is left.

    Args:
        encoder: The new encoder's model.
        new_table: Where the rows go; unset, beside the old table.
        policy: As for JudgeTableOperator; needed when the old policy has rules on vectors.
        limit: At most so many images by one task; readers are not switched while any is left.
        sets: Changes to encoder, limits and compute, each `a.b=YAML`.
        ray: With `local` only: none, local or an address; unset, the engine chooses by the number of images.
        **kwargs: `table`, `conn_id`, `deferrable`, and what every operator takes.
    """

    verb = "migrate"
    template_fields: Sequence[str] = ("table", "conn_id", "encoder", "new_table", "policy", "limit", "sets")
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "yaml"}

    def __init__(
        self,
        *,
        encoder: str,
        new_table: str | None = None,
        policy: Mapping[str, Any] | str | None = None,
        limit: int | str | None = None,
        sets: Sequence[str] = (),
        ray: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.new_table = new_table
        self.policy = policy
        self.limit = limit
        self.sets = sets
        self.ray = ray

    def options(self) -> list[str]:
        """The options that are set."""
        named = self.policy if self.policy and _is_path(self.policy) else "env:CLIPFLOW_POLICY" if self.policy else None
        more = {"--encoder": self.encoder, "--table": self.new_table, "--policy": named, "--limit": self.limit}
        words = [word for name, value in more.items() for word in _given(name, value)]
        words += [word for change in self.sets for word in ("--set", change)]
        return [*words, *_given("--ray", self.ray)]

    def variables(self) -> dict[str, str]:
        """The policy's text, unless a file holds it."""
        return {"CLIPFLOW_POLICY": _text(self.policy)} if self.policy and not _is_path(self.policy) else {}

    def command(self, context: Context) -> Command:
        """On the cluster that the command runs on."""
        command = super().command(context)
        return replace(command, words=[*command.words, "--ray", "auto"])


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Hand over variables, and take them back: the next task of `dag.test()` shares this process."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _given(name: str, value: object) -> list[str]:
    return [] if value is None or value == "" else [name, str(value)]


def _flag(name: str, on: bool) -> list[str]:
    return [name] if on else []


def _is_path(policy: Mapping[str, Any] | str) -> bool:
    return isinstance(policy, str) and "\n" not in policy and not policy.lstrip().startswith("{")


def _text(policy: Mapping[str, Any] | str) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy, separators=(",", ":"))
