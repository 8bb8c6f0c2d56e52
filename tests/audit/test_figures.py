"""Every figure of an audit, counted again in plain Python over random tables."""

import math
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.audit.audit import audit
from clipflow.audit.groups import Bounds
from clipflow.audit.sensitivity import STEPS
from clipflow.audit.wilson import wilson
from clipflow.query.sql import sql
from tests.audit.tables import POLICY, Row, by_rules, fires, plain, row, score_of, verdict, write
from tests.examples import examples

RULES: list[dict[str, Any]] = sorted(POLICY["rules"], key=lambda rule: rule["name"])
BOUNDS = Bounds(0.8, 1.25, 4)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(["accepted", "accepted", "accepted", "accepted", "failed"]),
            "attr_locale": st.sampled_from([None, "", "(none)", "de", "en", "rare"]),
            "job": st.sampled_from(["a", "b"]),
            "min_side": st.sampled_from([10.0, 29.0, 30.0, 31.0, 50.0, 70.0, None]),
            "entropy": st.floats(0, 8, width=32),
            "score_odd": st.none() | st.sampled_from([0.1, 0.8, 0.800001, math.nan]) | st.floats(-1, 1, width=32),
            "score_twin": st.none() | st.sampled_from([0.9, 0.95, 1.0]),
            "reviewed_verdict": st.sampled_from([None, None, None, "accepted", "rejected"]),
            "withdrawn": st.sampled_from([False] * 9 + [True]),
        }
    ),
    max_size=60,
)


def table_of(drawn: list[Row], folder: Path) -> tuple[str, list[Row]]:
    rows = []
    for at, one in enumerate(drawn):
        made = row(at, **{key: value for key, value in one.items() if key != "withdrawn"})
        if one["status"] == "failed":
            made |= {"reasons": ["corrupt"], "score_odd": None, "score_twin": None, "reviewed_verdict": None}
        elif one["withdrawn"]:
            made["reasons"] = ["source_deleted"]
        # Each may point at the row before it: chains.
        made["match_twin"] = f"{at - 1:032}" if at and made.get("score_twin") is not None else None
        rows.append(made)
    rows = by_rules(rows, RULES)
    return str(write(folder / "t.lance", rows)), rows


@examples(15)
@given(ROWS)
def test_every_figure_follows_from_the_rows(drawn: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table, rows = table_of(drawn, Path(folder))
        report = audit(table, by=["locale", "job"], bounds=BOUNDS)
        found = report.document()
        assert report.text()
    sound = [one for one in rows if one["status"] != "failed"]
    statuses = Counter(one["status"] for one in rows)
    assert {name: found[name] for name in ("accepted", "review", "rejected", "failed")} == {
        name: statuses[name] for name in ("accepted", "review", "rejected", "failed")
    }
    assert found["rows"] == len(rows)
    assert found["failures"] == ({"corrupt": statuses["failed"]} if statuses["failed"] else {})
    check_groups(found, sound)
    hidden = statuses["rejected"] + statuses["review"]
    assert (found["overall"]["review"], found["overall"]["not_shown"]) == (statuses["review"], hidden)
    assert found["overall"]["not_shown_rate"] == (hidden / len(sound) if sound else None)
    check_people(found["people"], sound)
    assert found["duplicates"] == [clusters(sound)]
    assert [rule["rule"] for rule in found["rules"]] == [rule["name"] for rule in RULES]
    for rule, entry in zip(RULES, found["rules"], strict=True):
        check_rule(rule, entry, rows)
    plain(found)


def removes(rule: str, one: Row) -> bool:
    if rule == "*":
        return bool(one["status"] == "rejected")
    return fires(next(made for made in RULES if made["name"] == rule), one, "reject")


def hides(rule: str, one: Row) -> bool:
    if rule == "*":
        return one["status"] in ("rejected", "review")
    made = next(made for made in RULES if made["name"] == rule)
    return fires(made, one, "reject") or fires(made, one, "review")


def compared(counted: int, n: int, whole: float) -> dict[str, Any]:
    rate, ratio = counted / n, counted / n / whole if whole else None
    low, high = wilson(counted, n)
    flagged = ratio is not None and not 0.8 <= ratio <= 1.25 and not low <= whole <= high  # type: ignore[operator]
    return {"rate": rate, "low": low, "high": high, "ratio": ratio, "flagged": flagged}


def check_groups(found: dict[str, Any], sound: list[Row]) -> None:
    expected, suppressed = [], []
    for name, column in (("locale", "attr_locale"), ("job", "job")):
        sizes = Counter(one[column] for one in sound)
        small = [value for value, n in sizes.items() if n < BOUNDS.min_group]
        if small:
            n = sum(sizes[value] for value in small)
            suppressed.append({"column": name, "value": None, "suppressed_groups": len(small), "n": n})
        for value in sizes.keys() - set(small):
            for rule in ("*", *(made["name"] for made in RULES)):
                rows = [one for one in sound if one[column] == value]
                removed, hidden = (sum(does(rule, one) for one in rows) for does in (removes, hides))
                of_all, hidden_of_all = (
                    sum(does(rule, one) for one in sound) / len(sound) for does in (removes, hides)
                )
                hiding = compared(hidden, len(rows), hidden_of_all)
                expected.append(
                    {"column": name, "value": value, "rule": rule, "n": len(rows), "removed": removed,
                     **compared(removed, len(rows), of_all), "review": hidden - removed, "not_shown": hidden,
                     **{f"not_shown_{key}": figure for key, figure in hiding.items()}}
                )  # fmt: skip
    assert found["suppressed"] == suppressed

    def key(group: Row) -> tuple[Any, ...]:
        return group["column"], group["value"] is None, group["value"] or "", group["rule"]

    assert sorted(found["groups"], key=key) == sorted(expected, key=key)


def check_people(people: dict[str, Any], sound: list[Row]) -> None:
    reviewed = [one for one in sound if one["reviewed_verdict"]]
    ruled = {one["image_id"]: verdict(RULES, one, human=False) for one in reviewed}
    rejected = [one for one in reviewed if ruled[one["image_id"]] == "rejected"]
    passed = [one for one in reviewed if ruled[one["image_id"]] != "rejected"]
    assert people["queue"] == sum(one["status"] == "review" for one in sound)
    assert people["reviewed"] == len(reviewed)
    false_rejects = sum(one["reviewed_verdict"] == "accepted" for one in rejected)
    false_accepts = sum(one["reviewed_verdict"] == "rejected" for one in passed)
    assert (people["false_rejects"]["k"], people["false_rejects"]["n"]) == (false_rejects, len(rejected))
    assert (people["false_accepts"]["k"], people["false_accepts"]["n"]) == (false_accepts, len(passed))


def clusters(sound: list[Row]) -> dict[str, Any]:
    twin = next(rule for rule in RULES if rule["name"] == "twin")
    links = {one["image_id"]: one["match_twin"] for one in sound if one["match_twin"] and fires(twin, one, "reject")}
    sizes: Counter[str] = Counter()
    for start in links:
        at = start
        while at in links:
            at = links[at]
        sizes[at] += 1
    largest = sorted((n + 1 for n in sizes.values()), reverse=True)[:10]
    return {"rule": "twin", "clusters": len(sizes), "pointing": len(links), "largest": largest}


def check_rule(rule: dict[str, Any], entry: dict[str, Any], rows: list[Row]) -> None:
    sound = [one for one in rows if one["status"] != "failed"]
    scores = [score for one in sound if (score := score_of(rule, one)) is not None]
    assert (entry["n"], entry["scored"]) == (len(sound), len(scores))
    for kind in ("reject", "review"):
        fired = [one for one in sound if fires(rule, one, kind)]
        answered = [one["reviewed_verdict"] for one in fired if one["reviewed_verdict"]]
        assert entry[kind] == len(fired)
        assert entry[f"{kind}_rate"] == (len(fired) / len(sound) if sound else None)
        counted = (entry["overruled"][kind]["k"], entry["overruled"][kind]["n"])
        assert counted == (answered.count("accepted"), len(answered))
    if not scores:
        assert (entry["histogram"], entry["min"], entry["sensitivity"]) == (None, None, [])
        return
    low, high = min(scores), max(scores)
    assert entry["deviation"] == pytest.approx(statistics.pstdev(scores), abs=1e-9)
    bins = [0] * 20
    for score in scores:
        bins[min(19, math.floor((score - low) / (high - low) * 20)) if high > low else 0] += 1
    assert entry["histogram"] == {"low": low, "high": high, "counts": bins}
    for move in entry["sensitivity"]:
        changed = [{**made, move["bound"]: move["to"]} if made is rule else made for made in RULES]
        assert move["to"] == move["value"] + move["step"] * entry["deviation"]
        before = [verdict(RULES, one) for one in rows]
        after = [verdict(changed, one) for one in rows]
        assert move["moved"] == sum(left != right for left, right in zip(before, after, strict=True))
        assert move["rejected"] == after.count("rejected") - before.count("rejected")
    bounds = sum(key.startswith(("reject_", "review_")) for key in rule)
    assert len(entry["sensitivity"]) == (bounds * len(STEPS) if entry["deviation"] else 0)


def test_an_outsider_gets_the_same_rates_by_sql(tmp_path: Path) -> None:
    rows = by_rules([row(at, min_side=float(at), attr_locale="en" if at % 3 else "de") for at in range(90)], RULES)
    table = str(write(tmp_path / "t.lance", rows))
    counted = sql(
        table,
        "select attr_locale as value, count(*) as n, count(*) filter (where min_side < 30::float) as removed "
        "from images where status <> 'failed' group by all order by n desc",
    )
    found = [group for group in audit(table, by=["locale"]).groups if group["rule"] == "small"]
    assert [{key: group[key] for key in ("value", "n", "removed")} for group in found] == counted


def test_a_group_that_is_small_is_nowhere_named(tmp_path: Path) -> None:
    rows = by_rules([row(at, attr_locale="en" if at < 30 else "somebody") for at in range(49)], RULES)
    report = audit(str(write(tmp_path / "t.lance", rows)), by=["locale"])
    assert [group["value"] for group in report.groups if group["rule"] == "*"] == ["en"]
    assert report.suppressed == [{"column": "locale", "value": None, "suppressed_groups": 1, "n": 19}]
    assert "somebody" not in str(report.document())
    assert "somebody" not in report.text()


def test_a_row_without_the_attribute_is_not_the_one_that_says_none(tmp_path: Path) -> None:
    values = [None, "(none)", "", "plain"]
    rows = by_rules([row(at, attr_locale=values[at % 4]) for at in range(80)], RULES)
    report = audit(str(write(tmp_path / "t.lance", rows)), by=["locale"])
    assert {group["value"] for group in report.groups} == set(values)
    lines = [line.split("  ")[0] for line in report.text().splitlines()]
    assert {"(none)", '"(none)"', '""', "plain"} <= set(lines)


def test_what_is_flagged_is_beyond_the_bounds_and_beyond_chance(tmp_path: Path) -> None:
    # 60 of 100 against 30 of 100: both ratios lie outside, both intervals exclude the overall 45 %.
    rows = [row(at, min_side=10.0 if at % 100 < (60 if at < 100 else 30) else 99.0) for at in range(200)]
    rows = [{**one, "attr_locale": "a" if at < 100 else "b"} for at, one in enumerate(by_rules(rows, RULES))]
    # The same ratios from ten rows are chance.
    rows += by_rules([row(at, min_side=10.0 if at < 206 else 99.0, attr_locale="few") for at in range(200, 210)], RULES)
    table = str(write(tmp_path / "t.lance", rows))
    report = audit(table, by=["locale"], bounds=Bounds(min_group=5))
    assert {group["value"]: group["flagged"] for group in report.groups if group["rule"] == "*"} == {
        "a": True,
        "b": True,
        "few": False,
    }
    wide = audit(table, by=["locale"], bounds=Bounds(0.5, 2.0, 5))
    assert not wide.flagged
