"""Two states side by side, against a count in plain Python."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.audit.audit import audit
from clipflow.errors import JobFileError, PolicyError, QueryError, TableError
from clipflow.rejudge import rejudge
from clipflow.spec import PolicySpec
from tests.audit.tables import Row, by_rules, row, verdict, write
from tests.catalogues import draw, job, picture

RULES: list[dict[str, Any]] = [
    {"name": "odd", "score": "caption", "review_above": 0.5},
    {"name": "small", "score": "min_side", "reject_below": 30.0, "review_below": 50.0},
]
OTHER: list[dict[str, Any]] = [
    {"name": "odd", "score": "caption", "reject_above": 0.5},
    {"name": "small", "score": "min_side", "reject_below": 20.0},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Row]]:
    people = {3: "accepted", 60: "rejected"}
    rows = [
        row(
            at,
            "failed" if at % 17 == 5 else "accepted",
            reasons=["corrupt"] if at % 17 == 5 else ["source_deleted"] if at % 13 == 2 else [],
            min_side=float(at),
            score_odd=(at % 10) / 10,
            caption=f"picture {at}",
            attr_locale="de" if at % 4 else "en",
            reviewed_verdict=people.get(at),
        )
        for at in range(100)
    ]
    rows = by_rules(rows, RULES)
    return str(write(tmp_path_factory.mktemp("against") / "t.lance", rows, {"rules": RULES})), rows


def test_under_another_policy(made: tuple[str, list[Row]], tmp_path: Path) -> None:
    table, rows = made
    (tmp_path / "other.yaml").write_text(json.dumps({"rules": OTHER}))
    before = clipflow.open(table).images.version
    found = audit(table, by=["locale"], against=str(tmp_path / "other.yaml")).against
    assert found is not None
    moved = Counter((one["status"], verdict(OTHER, one)) for one in rows)
    assert {(move["from"], move["to"]): move["n"] for move in found["moved"]} == moved
    assert sum(n for (left, right), n in moved.items() if left != right) > 5
    sound = [one for one in rows if one["status"] != "failed"]
    (whole,) = [rule for rule in found["rules"] if rule["rule"] == "*"]
    left = sum(one["status"] == "rejected" for one in sound)
    right = sum(verdict(OTHER, one) == "rejected" for one in sound)
    assert (whole["from"]["removed"], whole["to"]["removed"], whole["to"]["n"]) == (left, right, len(sound))
    assert whole["difference"] == right / len(sound) - left / len(sound)
    (group,) = [g for g in found["groups"] if (g["value"], g["rule"]) == ("en", "odd")]
    english = [one for one in sound if one["attr_locale"] == "en"]
    hidden = sum(one["score_odd"] > 0.5 for one in english)
    nothing = {"n": len(english), "removed": 0, "rate": 0.0}
    assert group["from"] == {**nothing, "not_shown": hidden, "not_shown_rate": hidden / len(english)}
    assert group["not_shown_difference"] == 0
    assert group["to"]["removed"] == sum(one["score_odd"] > 0.5 for one in english) > 0
    assert clipflow.open(table).images.version == before


def test_its_figures_can_be_a_condition(made: tuple[str, list[Row]], tmp_path: Path) -> None:
    table, rows = made
    (tmp_path / "p.yaml").write_text(json.dumps({"rules": OTHER}))
    moved = sum(one["status"] != verdict(OTHER, one) for one in rows)
    asked = f"moved = {moved} and moved_share = {moved}/100.0 and max(abs(difference)) > 0.01"
    report = audit(table, by=["locale"], against=str(tmp_path / "p.yaml"), fail_if=asked)
    assert report.fail_if is not None
    assert report.fail_if["holds"] is True


@pytest.mark.parametrize(
    ("policy", "error", "said"),
    [
        (
            {"rules": [{"name": "new", "score": "clip_score"}]},
            PolicyError,
            r"holds no scores of a rule 'new', and an audit loads no text encoder.*judge --policy FILE --dry-run",
        ),
        (
            {"rules": [{"name": "strange", "score": "caption"}]},
            PolicyError,
            "scores of rule 'strange' under another name, 'odd'",
        ),
        (
            {"rules": [{"name": "odd", "score": "clip_score", "review_above": 1}]},
            PolicyError,
            "scores of rule 'odd' in the table follow from another score",
        ),
        ({"rules": [{"name": "small", "score": "mni_side"}]}, PolicyError, "Did you mean 'min_side'"),
        (
            {"rules": [{"name": "small", "score": "blur", "reject_blow": 1}]},
            JobFileError,
            "Did you mean 'reject_below'",
        ),
        ([], JobFileError, "holds no policy"),
    ],
)
def test_a_policy_that_cannot_be_foreseen_is_refused(
    made: tuple[str, list[Row]], tmp_path: Path, policy: Any, error: type[Exception], said: str
) -> None:
    (tmp_path / "p.yaml").write_text(json.dumps(policy))
    with pytest.raises(error, match=said):
        audit(made[0], against=str(tmp_path / "p.yaml"))


@pytest.mark.parametrize("before", [[], ["twin", "copy"]], ids=["none", "duplicates"])
def test_duplicates_move_as_judge_moves_them(tmp_path: Path, before: list[str]) -> None:
    """Who is an original hangs on the other rules, so no stored score can be taken."""
    rules: dict[str, dict[str, Any]] = {
        "twin": {"name": "twin", "score": "near_duplicate", "reject_above": 0.9},
        "copy": {"name": "copy", "score": "exact_duplicate", "review_above": 0.5},
        "small": {"name": "small", "score": "min_side", "reject_below": 30},
        "sum": {"name": "sum", "score": "expression", "sql": "score_twin + score_copy", "review_above": 1.5},
    }
    images, table = tmp_path / "images", str(tmp_path / "t.lance")
    spec = job(images, table, policy={"rules": [rules[name] for name in before]})
    images.mkdir()
    for at in range(4):
        # Seen first, so an original, and too small to be one under the policy to come.
        (images / f"a-small{at}.png").write_bytes(picture(at, width=24, height=20))
    clipflow.run(spec, ray="none")
    draw(images, range(6))
    for at in range(4):
        (images / f"copy{at}.png").write_bytes((images / f"{at:06}.png").read_bytes())
    clipflow.run(spec, ray="none")
    policy = PolicySpec.model_validate({"rules": list(rules.values())})
    (tmp_path / "policy.json").write_text(json.dumps(policy.body()))
    found = audit(table, by=["media_type"], against=str(tmp_path / "policy.json")).against
    assert found is not None
    judged = rejudge(table, policy, dry_run=True)
    assert judged.changed > 0
    moves = [{"from": one["from"], "to": one["to"], "rows": one["n"]} for one in found["moved"]]
    assert [one for one in moves if one["from"] != one["to"]] == judged.moves
    rejudge(table, policy)
    after = audit(table, by=["media_type"])
    by_rule = {one["rule"]: one["to"] for one in found["rules"]}
    assert {one["rule"]: one["reject"] for one in after.rules} == {name: by_rule[name]["removed"] for name in rules}
    assert by_rule["*"]["removed"] == after.overall["removed"] > 0


def test_a_run_or_a_file_that_is_not_there(made: tuple[str, list[Row]]) -> None:
    with pytest.raises(QueryError, match="has no run 'nothing', and there is no such policy file"):
        audit(made[0], against="nothing")
    with pytest.raises(JobFileError, match=r"There is no policy file nothing\.yaml"):
        audit(made[0], against="nothing.yaml")


def test_since_a_run(tmp_path: Path) -> None:
    images, table = tmp_path / "images", str(tmp_path / "t.lance")
    policy = {"rules": [{"name": "small", "score": "min_side", "reject_below": 30}]}
    draw(images, range(6))
    spec = job(images, table, policy=policy)
    first = clipflow.run(spec, ray="none")
    (images / "000000.png").write_bytes(picture(50, width=20))
    (images / "000001.png").write_bytes(b"no picture any more")
    (images / "new.png").write_bytes(picture(51))
    last = clipflow.run(spec, ray="none")
    report = audit(table, against=first.run_id)
    assert report.against is not None
    assert (report.against["kind"], report.against["version"]) == ("run", first.version)
    assert {(move["from"], move["to"]): move["n"] for move in report.against["moved"]} == {
        ("accepted", "accepted"): 4,
        ("accepted", "rejected"): 1,
        ("accepted", "failed"): 1,
        (None, "accepted"): 1,
    }
    assert [(rule["from"]["removed"], rule["to"]["removed"]) for rule in report.against["rules"]] == [(0, 1), (0, 1)]
    assert "not there to accepted" in report.text()
    again = audit(table, against=last.run_id).against
    assert again is not None
    assert all(move["from"] == move["to"] for move in again["moved"])
    assert [run["run_id"] for run in report.runs["last"]] == [last.run_id, first.run_id]


def test_a_run_whose_version_is_cleaned_up(tmp_path: Path) -> None:
    images, table = tmp_path / "images", str(tmp_path / "t.lance")
    draw(images, range(2))
    first = clipflow.run(job(images, table), ray="none")
    draw(images, range(2, 4))
    clipflow.run(job(images, table), ray="none")
    clipflow.open(table).images.cleanup_old_versions(older_than=timedelta(0))
    with pytest.raises(TableError, match=f"Version {first.version}, which the run {first.run_id} left, is gone"):
        audit(table, against=first.run_id)
