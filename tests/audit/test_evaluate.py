"""A policy against labels: confusion, curves and thresholds, counted again by brute force."""

import csv
import json
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.metrics import average_precision_score

import clipflow
from clipflow.audit.curve import allowed, curve, threshold
from clipflow.audit.evaluate import evaluate
from clipflow.audit.wilson import wilson
from clipflow.errors import QueryError, SourceError, UsageError
from clipflow.uri import canonical, image_id
from tests.audit.tables import Row, by_rules, fires, row, verdict, write
from tests.catalogues import draw, job
from tests.examples import examples

RULES: list[dict[str, Any]] = [
    {"name": "odd", "score": "caption", "review_above": 0.5},
    {"name": "small", "score": "min_side", "reject_below": 30.0, "review_below": 50.0},
]
LABELLED = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(["accepted"] * 6 + ["failed"]),
            "attr_locale": st.sampled_from([None, "de", "en"]),
            "min_side": st.sampled_from([10.0, 29.5, 30.0, 40.0, 50.0, 60.0, None]),
            "score_odd": st.none() | st.floats(0, 1, width=32),
            "reviewed_verdict": st.sampled_from([None, "accepted", "rejected"]),
            "human": st.sampled_from(["accepted", "rejected", None]),
        }
    ),
    min_size=1,
    max_size=40,
)
SCORES = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.3, math.nan]) | st.floats(-2, 2, width=32), st.booleans()), max_size=40
)


@examples(12)
@given(LABELLED, st.sampled_from([0.0, 0.1, 0.34, 1.0]))
def test_confusion_and_moves_follow_from_the_rows(drawn: list[Row], most: float) -> None:
    rows = []
    for at, one in enumerate(drawn):
        made = row(at, **{key: value for key, value in one.items() if key != "human"})
        failed = one["status"] == "failed"
        rows.append(made | ({"reasons": ["corrupt"], "reviewed_verdict": None} if failed else {}))
    rows = by_rules(rows, RULES)
    human = {one["image_id"]: said["human"] for one, said in zip(rows, drawn, strict=True) if said["human"]}
    matched = [one for one in rows if one["image_id"] in human and one["status"] != "failed"]
    with tempfile.TemporaryDirectory() as folder:
        table = str(write(Path(folder) / "t.lance", rows, {"rules": RULES}))
        labels = Path(folder) / "labels.jsonl"
        lines = [{"image_id": key, "verdict": said} for key, said in human.items()] + [{"image_id": "x", "verdict": 1}]
        labels.write_text("\n".join(json.dumps(line) for line in lines))
        if not matched:
            with pytest.raises(SourceError, match="None of the"):
                evaluate(table, str(labels))
            return
        found = evaluate(table, str(labels), by=["locale"], max_false_reject=most, min_group=3).document()
    assert (found["matched"], found["unmatched"]) == (len(matched), 1)
    assert found["failed"] == len(human) - len(matched)
    # What a person said in the table is not what the rules say.
    ruled = {one["image_id"]: verdict(RULES, one, human=False) for one in matched}
    cells = Counter((human[key], said) for key, said in ruled.items())
    assert {(cell["human"], cell["policy"]): cell["n"] for cell in found["confusion"]} == cells
    accepted = sum(human[one["image_id"]] == "accepted" for one in matched)
    assert (found["overall"]["false_rejects"]["k"], found["overall"]["false_rejects"]["n"]) == (
        cells["accepted", "rejected"],
        accepted,
    )
    assert found["overall"]["false_accepts"]["k"] == cells["rejected", "accepted"]
    for rule, entry in zip(RULES, found["rules"], strict=True):
        for kind in ("reject", "review"):
            check_errors(entry[kind], [(fires(rule, one, kind), human[one["image_id"]]) for one in matched], rule, kind)
        for kept in entry["thresholds"]:
            check_moves(kept, rule, rows)
    for group in found["groups"]:
        own = [one for one in matched if one["attr_locale"] == group["value"]]
        assert group["n"] == len(own) >= 3
        judge: dict[str, Any] | None = next((made for made in RULES if made["name"] == group["rule"]), None)
        fired = [ruled[one["image_id"]] == "rejected" if judge is None else fires(judge, one, "reject") for one in own]
        check_errors(group, list(zip(fired, (human[one["image_id"]] for one in own), strict=True)), None, "")


def check_errors(found: Any, pairs: list[tuple[bool, str]], rule: dict[str, Any] | None, kind: str) -> None:
    if rule is not None and not any(key.startswith(kind) for key in rule):
        assert found is None
        return
    cells = Counter((fired, said == "rejected") for fired, said in pairs)
    tp, fp, fn, tn = cells[True, True], cells[True, False], cells[False, True], cells[False, False]
    assert {key: found[key] for key in ("tp", "fp", "fn", "tn")} == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert found["precision"]["rate"] == (tp / (tp + fp) if tp + fp else None)
    assert found["recall"]["rate"] == (tp / (tp + fn) if tp + fn else None)
    assert (found["false_rejects"]["low"], found["false_rejects"]["high"]) == wilson(fp, fp + tn)


def check_moves(kept: dict[str, Any], rule: dict[str, Any], rows: list[Row]) -> None:
    if kept["threshold"] is None:
        assert kept["moved"] is None
        return
    changed = [{**made, kept["bound"]: kept["threshold"]} if made is rule else made for made in RULES]
    before, after = [verdict(RULES, one) for one in rows], [verdict(changed, one) for one in rows]
    assert kept["moved"] == sum(left != right for left, right in zip(before, after, strict=True))
    assert kept["rejected"] == after.count("rejected") - before.count("rejected")


@given(SCORES, st.floats(0, 1), st.booleans())
def test_no_other_threshold_rejects_more_within_the_promise(
    pairs: list[tuple[float, bool]], most: float, above: bool
) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    rejected = np.array([wrong for _, wrong in pairs], bool)
    found = threshold(scores, rejected, most, above=above)

    def beyond(limit: float) -> np.ndarray:
        return scores > limit if above else scores < limit

    accepted = int((~rejected).sum())
    here = scores[~np.isnan(scores)]
    candidates = [*here, *np.nextafter(here, np.float32(9)), *np.nextafter(here, np.float32(-9)), -math.inf, math.inf]
    within = [
        beyond(limit).sum() for limit in candidates if (beyond(limit) & ~rejected).sum() / max(accepted, 1) <= most
    ]
    kept = ~np.isnan(scores) if found["threshold"] is None else beyond(found["threshold"])
    assert kept.sum() == max(within)
    assert found["false_rejects"]["k"] == (kept & ~rejected).sum()
    assert (found["false_rejects"]["rate"] or 0) <= most
    assert found["false_rejects"]["n"] == accepted
    assert (found["caught"]["k"], found["caught"]["n"]) == ((kept & rejected).sum(), rejected.sum())


def test_a_promise_that_is_met_exactly_is_met() -> None:
    # 0.29 * 100 is 28.999999999999996.
    assert [allowed(k / 100, 100) for k in range(101)] == list(range(101))


@given(SCORES, st.booleans())
def test_a_curve_is_every_threshold(pairs: list[tuple[float, bool]], above: bool) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    rejected = np.array([wrong for _, wrong in pairs], bool)
    found = curve(scores, rejected, above=above)
    assert found["side"] == ("above" if above else "below")
    assert {point["score"] for point in found["points"]} == {float(score) for score in scores if not math.isnan(score)}
    for point in found["points"]:
        fired = scores >= point["score"] if above else scores <= point["score"]
        assert point["precision"] == (fired & rejected).sum() / fired.sum()
        assert point["recall"] == ((fired & rejected).sum() / rejected.sum() if rejected.any() else None)


@given(st.lists(st.tuples(st.floats(-2, 2, width=32), st.booleans()), min_size=1, max_size=40))
def test_the_average_precision_is_scikit_learn_s(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    rejected = np.array([wrong for _, wrong in pairs], bool)
    found = curve(scores, rejected, above=True)["average_precision"]
    if rejected.any():
        assert found == pytest.approx(average_precision_score(rejected, scores))
    else:
        assert found is None


def test_a_long_curve_keeps_its_ends_and_its_area() -> None:
    scores = np.arange(5000, dtype=np.float32)
    found = curve(scores, scores % 7 == 0, above=False)
    assert len(found["points"]) == 200
    assert (found["points"][0]["score"], found["points"][-1]["score"]) == (0.0, 4999.0)
    assert found["average_precision"] == pytest.approx(average_precision_score(scores % 7 == 0, -scores))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures in a table."""
    folder = tmp_path_factory.mktemp("labels")
    draw(folder / "images", range(6))
    clipflow.run(job(folder / "images", folder / "t.lance", policy={"rules": RULES[1:]}), ray="none")
    return folder


def save(path: Path, lines: list[dict[str, Any]]) -> str:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(lines), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)
    else:
        path.write_text("\n".join(json.dumps(line) for line in lines))
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("named", ["image_id", "path", "uri"])
def test_files_and_words_of_labels(catalogue: Path, kind: str, named: str) -> None:
    words = ["accepted", "Accept", "1", "rejected", " REJECT ", "0"]
    lines = []
    for at, word in enumerate(words):
        uri = canonical(catalogue / "images" / f"{at:06}.png")
        key = {"image_id": image_id(uri), "path": f"images/{at:06}.png", "uri": uri}[named]
        lines.append({"image_id" if named == "image_id" else "uri": key, "verdict": word})
    # Once more the same, and once another.
    lines += [lines[0], {**lines[5], "verdict": "accept"}]
    found = evaluate(str(catalogue / "t.lance"), save(catalogue / f"{named}.{kind}", lines))
    assert (found.labels, found.matched, found.repeated, found.contradictory) == (5, 5, 1, 1)
    humans: Counter[str] = Counter()
    for cell in found.confusion:
        humans[cell["human"]] += cell["n"]
    assert humans == {"accepted": 3, "rejected": 2}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"uri": "a.png", "verdikt": "1"}], "no column 'verdict'.*Did you mean 'verdikt'"),
        ([{"name": "a.png", "verdict": "1"}], "names no images: it has name, verdict"),
        ([{"uri": "a.png", "verdict": "maybe"}], "Line 2 of .* has the verdict 'maybe'"),
        ([{"uri": "", "verdict": "1"}], "Line 2 of .* has no uri"),
        ([{"uri": "a.png", "verdict": "1"}], "None of the 1 images that .* labels has a row"),
    ],
)
def test_labels_that_say_nothing_are_refused(catalogue: Path, lines: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        evaluate(str(catalogue / "t.lance"), save(catalogue / "wrong.csv", lines))


def test_a_file_without_a_line_is_refused(catalogue: Path) -> None:
    (catalogue / "none.csv").write_text("uri,verdict\n")
    with pytest.raises(SourceError, match="holds no labels"):
        evaluate(str(catalogue / "t.lance"), str(catalogue / "none.csv"))


def test_wrong_numbers_and_columns_are_refused(catalogue: Path) -> None:
    labels = save(catalogue / "one.csv", [{"uri": "images/000000.png", "verdict": "1"}])
    table = str(catalogue / "t.lance")
    with pytest.raises(UsageError, match="it is a share from 0 to 1"):
        evaluate(table, labels, max_false_reject=2)
    with pytest.raises(UsageError, match="--min-group is 0"):
        evaluate(table, labels, min_group=0)
    with pytest.raises(QueryError, match="Did you mean 'media_type'"):
        evaluate(table, labels, by=["mediatype"])
