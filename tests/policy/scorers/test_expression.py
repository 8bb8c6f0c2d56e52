"""Expressions: plain Python on random rows, and all that they may not say."""

import csv
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.encoders import describe
from clipflow.errors import PolicyError
from clipflow.policy.check import check_policy, fingerprints
from clipflow.policy.judge import score
from clipflow.policy.scorers.base import Evidence
from clipflow.schema import IDENTITY, IMAGE, PROVENANCE, RESULT
from clipflow.spec import EncoderSpec, PolicySpec
from tests.catalogues import STUB, draw, job
from tests.examples import examples

INFO = describe(EncoderSpec.model_validate(STUB))
LOOK = {"name": "look", "score": "zero_shot", "labels": {"a": "red", "b": "blue"}, "label": "a", "none": "b"}
OTHERS: list[dict[str, Any]] = [
    {**LOOK, "keep": ["b"]},
    {"name": "fits", "score": "caption"},
    {"name": "small", "score": "min_side"},
    {"name": "twice", "score": "expression", "sql": "score_fits * 2"},
]


def policy(sql: str | None, *others: dict[str, Any]) -> PolicySpec:
    return PolicySpec.model_validate({"rules": [{"name": "mine", "score": "expression", "sql": sql}, *others]})


def check(sql: str | None, attributes: list[str] | None = None) -> None:
    check_policy(policy(sql, *OTHERS), INFO, captions=True, attributes=attributes)


ROW = st.fixed_dictionaries(
    {
        "width": st.none() | st.integers(1, 5000),
        "blur": st.none() | st.floats(0, 1000, width=32),
        "caption": st.none() | st.text(alphabet="ab cé", max_size=6),
        "attr_locale": st.none() | st.sampled_from(["de", "fr", "17", ""]),
        "fits": st.none() | st.floats(-1, 1, width=32),
        "embedded": st.booleans(),
    }
)
Row = dict[str, Any]
NAN = math.nan


def _both(row: Row, *names: str) -> bool:
    return all(row[name] is not None for name in names)


# What SQL says of NULL, written out in Python: None is null.
SAMPLES: dict[str, Any] = {
    "width > 640": lambda row: None if row["width"] is None else row["width"] > 640,
    "score_fits * 2 - 1": lambda row: None if row["fits"] is None else row["fits"] * 2 - 1,
    "blur / width": lambda row: row["blur"] / row["width"] if _both(row, "blur", "width") else None,
    "caption is null": lambda row: row["caption"] is None,
    "length(caption)": lambda row: None if row["caption"] is None else len(row["caption"]),
    "attr_locale in ('de', 'fr') -- two": lambda row: (
        None if row["attr_locale"] is None else row["attr_locale"] in ("de", "fr")
    ),
    "coalesce(score_fits, 0) < 0.5 and attr_locale is not null": lambda row: (
        (row["fits"] or 0) < 0.5 and row["attr_locale"] is not None
    ),
    "case when width > 100 then 1 else 0.5 end": lambda row: 1 if (row["width"] or 0) > 100 else 0.5,
    "try_cast(attr_locale as int)": lambda row: 17 if row["attr_locale"] == "17" else None,
    "attr_locale::double": lambda row: 17 if row["attr_locale"] == "17" else None,
    "greatest(width, 100)": lambda row: max(row["width"] or 0, 100),
    "1e300 * 10": lambda row: math.inf,
    "null": lambda row: None,
}


@pytest.mark.parametrize("sql", SAMPLES)
@examples(25)
@given(rows=st.lists(ROW, max_size=7))
def test_an_expression_is_what_python_says_row_by_row(sql: str, rows: list[Row]) -> None:
    check(sql)
    kinds = {"width": pa.int32(), "blur": pa.float32(), "caption": pa.string(), "attr_locale": pa.string()}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    vectors = np.array([[1.0 if row["embedded"] else NAN] * 4 for row in rows]).reshape(-1, 4)
    known = np.array([NAN if row["fits"] is None else row["fits"] for row in rows], np.float32)
    evidence = Evidence(table, vectors, lambda texts: np.empty((len(texts), 4), np.float32))
    spec = policy(sql, {"name": "fits", "score": "caption"})
    by_rule, stored = score(spec, {}, evidence, {"score_fits": known})
    assert stored["score_mine"] is by_rule["mine"]
    assert by_rule["mine"].dtype == np.float32
    assert len(by_rule["mine"]) == len(rows)
    for found, row in zip(by_rule["mine"].tolist(), rows, strict=True):
        wanted = SAMPLES[sql](row)
        if wanted is None or not row["embedded"]:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(float(wanted), rel=1e-6)


def test_rows_stay_in_order_over_many_of_duckdb_s_own_batches() -> None:
    count = 10_000
    widths = np.random.default_rng(2).integers(1, 1 << 20, count)
    rows = pa.table({"width": pa.array(widths, pa.int32())})
    evidence = Evidence(rows, np.ones((count, 1)), lambda texts: np.empty((0, 1), np.float32))
    assert (score(policy("width + 1"), {}, evidence)[0]["mine"] == widths + 1).all()


def test_a_null_score_is_null_and_not_greater_than_every_number() -> None:
    evidence = Evidence(pa.table({"n": [1]}), np.ones((1, 1)), lambda texts: np.empty((0, 1), np.float32))
    found = score(policy("score_fits > 0.5"), {}, evidence, {"score_fits": np.array([NAN], np.float32)})
    assert np.isnan(found[0]["mine"])


@pytest.mark.parametrize("column", [column.name for column in IDENTITY + IMAGE])
def test_every_column_of_identity_and_image_may_be_named(column: str) -> None:
    check(f"{column} is not null")


def test_scores_of_other_rules_may_be_named() -> None:
    check("score_look + score_look__b + score_fits")
    check('"score_look" > 0.5')


WRONG: list[tuple[str | None, str, str]] = [
    (None, "expression needs sql", "Write sql:"),
    ("  ", "expression needs sql", "Write sql:"),
    ("-- nothing", "neither a number nor a condition", ""),
    ("width >", "sql is no expression: syntax error", "Correct it."),
    ("width; height", "sql is no expression: syntax error", "Correct it."),
    ("width from images", "sql is no expression: syntax error", ""),
    ("1) from images where (1 = 1", "sql is no expression: syntax error", ""),
    ("1) as score, (2", "sql is not one expression", ""),
    ("1), (2", "sql is not one expression", "between `select` and `from`"),
    ("1) union select (2", "sql is not one expression", ""),
    ("1); select (2", "sql is not one expression", ""),
    ("width, height", "neither a number nor a condition", ""),
    ("(select 1)", "sql holds a subquery", "one row"),
    ("exists(select 1)", "sql holds a subquery", "one row"),
    ("width in (select 1)", "sql holds a subquery", "one row"),
    ("row_number() over ()", "sql holds a window function", "one row"),
    ("width - avg(width) over ()", "sql holds a window function", "one row"),
    ("avg(width)", "sql calls avg, which does not follow from the columns of one row", "Leave it out"),
    ("count(*)", "which does not follow from the columns of one row", "Leave it out"),
    ("*", "sql holds a star", "one row"),
    ("columns('w.*')", "sql holds a star", "one row"),
    ("#1", "sql holds a column by its position", "one row"),
    ("$1", "sql holds a parameter", "one row"),
    ("list_transform([1], lambda x: x + 1)[1]", "sql holds a lambda", "one row"),
    ("read_text('/etc/passwd') is null", "sql calls read_text, which is no function", ""),
    ("unnest([1, 2])", "sql calls unnest", ""),
    ("flor(width)", "sql calls flor, which is no function", "Did you mean 'floor'?"),
    ("getenv('HOME') is null", "sql calls getenv, which is no function", ""),
    ("main.random()", "sql calls random", "chance"),
    ("widht > 1", "sql names widht, which is no column that it may read", "Did you mean 'width'?"),
    ("Width > 1", "sql names Width", "Did you mean 'width'?"),
    ("score_fit > 1", "sql names score_fit", "Did you mean 'score_fits'?"),
    ("score_small > 1", "sql names score_small, which is no column", ""),
    ("qqqq > 1", "sql names qqqq", "Columns are image_id, source_uri"),
    ("current_date > '2020-01-01'", "sql names current_date", ""),
    ("attr_ > ''", "sql names attr_,", ""),
    ("rows.width", "sql names rows.width", "the column's name alone"),
    ("rowid", "sql names rowid", ""),
    ("row_number_of_the_batch", "sql names row_number_of_the_batch", ""),
    ("score_twice", "sql names score_twice, the score of rule 'twice', which is an expression too", "builds on no"),
    ("score_mine", "sql names score_mine, the score of rule 'mine'", "builds on no other"),
    ("attr_Locale = attr_locale", "differ in capitals only", "DuckDB cannot"),
    ("caption", "sql gives VARCHAR, which is neither a number nor a condition", "cast it"),
    ("source_modified", "sql gives TIMESTAMP WITH TIME ZONE, which is neither", ""),
    ("[width]", "sql gives INTEGER[], which is neither", ""),
    ("{'a': width}", "which is neither a number nor a condition", ""),
    ("interval 1 day", "sql gives INTERVAL, which is neither", ""),
    ("width > 'wide'", "DuckDB refuses sql: Conversion Error", "try_cast"),
    ("width::nonsense", "DuckDB refuses sql", ""),
    ("sqrt(caption, 2)", "DuckDB refuses sql", ""),
    ("width" + " + 1" * 400, "sql nests too deeply", "shorter"),
]
VOLATILE = ["random()", "now()", "uuid()", "nextval('s')", "today()", "current_setting('threads')", "txid_current()"]
VOLATILE += ["get_current_timestamp()", "getvariable('x')", "version()", "age(source_modified)", "current_database()"]
VOLATILE += [
    "current_localtimestamp()",
    "setseed(0.1)",
    "error('x')",
    "sleep_ms(1)",
    "pg_sleep(1)",
    "ago(interval 1 day)",
]


@pytest.mark.parametrize(("sql", "words", "mend"), WRONG, ids=[str(sql)[:30] for sql, _, _ in WRONG])
def test_what_is_no_expression_over_a_row_is_refused(sql: str | None, words: str, mend: str) -> None:
    with pytest.raises(PolicyError) as caught:
        check(sql)
    assert caught.value.message.startswith("Rule 'mine': ")
    assert words in caught.value.message
    assert mend in caught.value.mend
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", VOLATILE)
def test_the_clock_chance_and_settings_are_refused(call: str) -> None:
    with pytest.raises(PolicyError, match=r"does not follow from the columns of one row|is no function"):
        check(f"({call}) is null")


@pytest.mark.parametrize("column", ["vector", *(column.name for column in RESULT + PROVENANCE)])
def test_what_a_run_or_a_human_did_is_out_of_reach(column: str) -> None:
    with pytest.raises(PolicyError, match=f"Rule 'mine': sql names {column}, which does not follow from the image"):
        check(f"{column} is null")


def test_an_attribute_is_one_that_the_source_names() -> None:
    check("attr_locale = 'de'", None)
    check("attr_locale = 'de'", ["locale"])
    with pytest.raises(PolicyError, match="Rule 'mine' reads attr_locale, but the source names no attribute") as caught:
        check("attr_locale = 'de'", ["licence"])
    assert "source.attributes" in caught.value.mend


def test_a_fingerprint_follows_the_scores_that_are_read() -> None:
    other = {**LOOK, "label": "b"}
    assert fingerprints(policy("score_look"), INFO)["mine"] != fingerprints(policy("score_look + 0"), INFO)["mine"]
    one, two = (fingerprints(policy("score_look", rule), INFO)["mine"] for rule in (LOOK, other))
    assert one != two
    one, two = (fingerprints(policy("width", rule), INFO)["mine"] for rule in (LOOK, other))
    assert one == two


def test_a_run_stores_what_its_rows_say(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(4))
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["uri", "locale"])
        lines.writerows([f"images/{name:06}.png", locale] for name, locale in enumerate(["de", "fr", "", "de"]))
        lines.writerow(["images/broken.png", "de"])
    rules = [
        {"name": "mine", "score": "expression", "sql": "attr_locale = 'de' and score_look__b > 0.5", "reject_above": 0},
        {**LOOK, "keep": ["b"]},
    ]
    source = {"kind": "manifest", "attributes": ["locale"]}
    spec = job(tmp_path / "list.csv", tmp_path / "t.lance", source=source, policy={"rules": rules})
    report = clipflow.run(spec, ray="none")
    assert (report.counts["embedded"], report.counts["failed"]) == (4, 1)
    verdicts = set()
    for row in lance.dataset(str(tmp_path / "t.lance")).to_table().to_pylist():
        if row["status"] == "failed":
            assert (row["score_mine"], row["score_look"], row["score_look__b"]) == (None, None, None)
            continue
        locale = row["attr_locale"]
        wanted = row["score_look__b"] > 0.5 and (None if locale is None else locale == "de")
        assert row["score_mine"] == (None if wanted is None else float(wanted))
        assert (row["status"] == "rejected") == (row["score_mine"] == 1)
        verdicts.add(row["score_mine"])
    assert len(verdicts) > 1


def test_threads_do_not_see_each_other_s_rows() -> None:
    def one(number: int) -> bool:
        rows = pa.table({"width": pa.array(range(number, number + 300), pa.int32())})
        evidence = Evidence(rows, np.ones((300, 1)), lambda texts: np.empty((0, 1), np.float32))
        found = score(policy("width * 2"), {}, evidence)[0]["mine"]
        return bool((found == 2 * np.arange(number, number + 300)).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(one, range(200)))
