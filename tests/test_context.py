"""Who asked for an operation: from the environment into the runs table."""

import pytest

from clipflow.context import context_given
from clipflow.errors import UsageError


def test_without_a_variable_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPFLOW_CONTEXT", raising=False)
    assert context_given() == {}


def test_the_variable_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPFLOW_CONTEXT", '{"dag_id": "d", "try_number": 2}')
    assert context_given() == {"dag_id": "d", "try_number": "2"}


@pytest.mark.parametrize("text", ["[1]", "no json"])
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLIPFLOW_CONTEXT", text)
    with pytest.raises(UsageError, match="CLIPFLOW_CONTEXT"):
        context_given()
