"""What the audit's operator says is what the verb understands; no service is started."""

from clipflow.cli import command_line
from clipflow_airflow import AuditTableOperator


def test_the_verb_reads_the_operator_s_words() -> None:
    given = {"against": "policy.yaml", "fail_if": "max(ratio) > 1.5", "html": "audit.html"}
    operator = AuditTableOperator(task_id="audit", table="t.lance", by=["locale", "uploader"], **given)
    call = command_line().parse_args([operator.verb, operator.table, *operator.options(), "--json"])
    assert {name: getattr(call, name) for name in given} == given
    assert (call.table, call.by, call.json) == ("t.lance", ["locale", "uploader"], True)
    bare = AuditTableOperator(task_id="audit", table="t.lance")
    assert command_line().parse_args([bare.verb, bare.table, *bare.options()]).by == []
