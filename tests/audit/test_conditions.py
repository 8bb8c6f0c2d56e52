"""`--fail-if`: what it sees, when it holds, and what it refuses."""

import pytest

from clipflow.audit.audit import audit
from clipflow.errors import AuditFailed, QueryError
from tests.audit.tables import POLICY, by_rules, row, write


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """100 rows: of 50 "a" 25 are rejected, of 50 "b" 5."""
    rows = [
        row(at, min_side=10.0 if at < 25 or 50 <= at < 55 else 99.0, attr_locale="a" if at < 50 else "b")
        for at in range(100)
    ]
    return str(write(tmp_path_factory.mktemp("condition") / "t.lance", by_rules(rows, POLICY["rules"])))


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("rejected_share > 0.2", True),
        ("rejected_share > 0.3", False),
        ("rejected = 30 and rows = 100 and failed = 0", True),
        ("max(ratio) > 1.6", True),
        ("max(ratio) > 1.7", False),
        ("max(ratio) filter (where rule = 'odd') > 1", None),
        ("flagged", True),
        ("bool_or(flagged) and rejected_share > 0.9", False),
        ("rule = '*' and value = 'a' and rate = 0.5", True),
        ("\"column\" = 'uploader'", False),
        ("flagged_groups = 2", True),
        ("(select max(reject_rate) from rules where rule = 'small') = 0.3", True),
        ("(select count(*) from groups where flagged) = 4", True),
        ("moved_share > 0", None),
        ("rejected_share > 0.2 -- at most a fifth", True),
    ],
)
def test_it_holds_or_not(table: str, expression: str, holds: bool | None) -> None:
    report = audit(table, by=["locale"], fail_if=expression)
    assert report.fail_if == {"expression": expression, "holds": holds}
    if holds:
        with pytest.raises(AuditFailed, match="The condition of --fail-if holds") as caught:
            report.check()
        assert caught.value.report == report.document()
        assert (caught.value.exit_code, caught.value.retryable) == (1, False)
    else:
        report.check()


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("nope > 1", "nope"),
        ("max(ratio)", "DOUBLE, neither true nor false"),
        ("max(ratio) >", "syntax error"),
        ("true); select (true", "takes one expression"),
        ("", "neither true nor false"),
        ("(select count(*) from images) > 0", "images"),
        ("(select count(*) from '/etc/passwd') > 0", "refuses"),
        ("'a'::int > rows", "Could not convert"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(table: str, expression: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        audit(table, by=["locale"], fail_if=expression)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["max(ratio) > 1.5", "flagged", "(select count(*) from groups) > 0"])
def test_without_groups_their_columns_are_refused_not_passed(table: str, expression: str) -> None:
    with pytest.raises(QueryError, match="need --by"):
        audit(table, fail_if=expression)
