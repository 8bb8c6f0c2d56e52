"""Reading a job file: every key, and every way of getting one wrong."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from clipflow.errors import JobFileError
from clipflow.jobfile import parse_job, read_job, read_text
from clipflow.spec import JobSpec, Limits
from tests.examples import examples

FULL = """\
name: catalog
source:
  kind: manifest
  uri: s3://acme/list.parquet
  uri_column: address
  window: modified
  modified: uploaded_at
  etag: tag
  size: bytes
  lateness: 6h
  deleted: reject
  caption: caption
  attributes: [uploader, locale]
  allow_private: true
  storage: {endpoint: "http://127.0.0.1:8333", region: eu-central-1, profile: lake}
encoder:
  model: google/siglip2-base-patch16-224
  revision: 75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2
  loader: transformers
  precision: bf16
  trust_remote_code: false
  code_revision: main
  truncate_dim: 256
  allow_pickle: false
limits:
  max_failed_share: 0.25
  max_failed_from: 10
  fail_on: any
  max_withdrawn_share: 0.5
  max_attempts: 5
  max_bytes: 64MB
  max_pixels: 100e6
policy:
  purpose: keep the catalogue clean
  owner: search team
  contact: search@example.com
  rules:
    - {name: too_small, score: min_side, reject_below: 64, review_below: 128}
    - {name: wide, score: aspect_ratio, review_above: 3, reject_above: 5}
    - name: off_topic
      score: zero_shot
      labels: {product: a product photo, text: [a screenshot, a page of text], other: something else}
      templates: ["a photo of {}"]
      label: text
      none: other
      closed: false
      keep: [text]
      reject_above: 0.9
    - {name: clusters_, score: semdedup, clusters: 100, epsilon: 0.05, reject_above: 0.5}
    - {name: taste, score: head, weights: head.safetensors, reject_below: 0.1}
    - {name: both, score: expression, sql: blur * entropy, reject_below: 1}
table:
  uri: s3://lake/catalog.lance
  vector: float32
  commit_rows: 1000
  storage: {endpoint: "http://127.0.0.1:8333", region: eu-central-1, profile: lake}
compute: {gpus_per_encoder: 0.5, encoders: [1, 8], batch_size: 16, backend: openvino, compile: true}
decode: draft
retention_days: 30
context: {dag_id: daily, dag_run_id: scheduled__2026-11-01, map_index: -1}
"""
SMALL = "name: n\nsource: {uri: a}\nencoder: {model: demo}\ntable: {uri: t.lance}\n"


def keys(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that may stand in a job, dotted names as tuples; the rules of a policy stand for one."""
    for name, field in model.model_fields.items():
        yield (*at, name)
        parts = [field.annotation, *get_args(field.annotation)]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from keys(part, (*at, name))


def places(data: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key of plain data."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield (*at, name)
            yield from places(value, (*at, name))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from places(value, (*at, index))


def named(place: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(part for part in place if isinstance(part, str))


KEYS = set(keys(JobSpec))
# Labels and context hold the user's own words.
PLACES = [place for place in places(yaml.safe_load(FULL)) if named(place) in KEYS]


def outcome(text: str) -> Any:
    try:
        return read_text(text, "job.yaml")
    except JobFileError as error:
        return error


def refused(text: str, sets: tuple[str, ...] = ()) -> JobFileError:
    with pytest.raises(JobFileError) as caught:
        read_text(text, "job.yaml", sets)
    assert caught.value.exit_code == 2
    return caught.value


OF_OBJECTS = {("source", "exclude")}
"""Keys that a manifest, as the full job has it, does not take."""


def test_the_full_job_holds_every_key() -> None:
    assert {named(place) for place in PLACES} == KEYS - OF_OBJECTS
    assert read_text(SMALL, "job.yaml", ["source.exclude=[default, '*.tmp']"]).source.exclude == ("default", "*.tmp")


def test_every_key_is_taken() -> None:
    spec = read_text(FULL, "job.yaml")
    assert (spec.name, spec.source.modified, spec.source.lateness.total_seconds()) == ("catalog", "uploaded_at", 21600)
    assert (spec.limits.max_bytes, spec.limits.max_pixels) == (64_000_000, 100_000_000)
    assert spec.compute.encoders == (1, 8)
    assert spec.policy.rules[2].labels == {
        "product": "a product photo",
        "text": ("a screenshot", "a page of text"),
        "other": "something else",
    }
    # Nothing was dropped on the way: what is written down again says as much as what was read.
    written = list(places(spec.body()))
    assert {named(place) for place in written} >= KEYS - {("policy", "rules", "name")} - OF_OBJECTS


def test_the_four_parts_that_must_be_there_are_enough() -> None:
    spec = read_text(SMALL, "job.yaml")
    assert spec.policy.rules == ()
    assert (spec.limits.max_failed_share, spec.limits.max_attempts) == (0.5, 3)
    assert (spec.table.vector, spec.decode, spec.source.window) == ("float16", "exact", "all")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_key(place: tuple[str | int, ...]) -> None:
    data = copy.deepcopy(yaml.safe_load(FULL))
    here: Any = data
    for part in place[:-1]:
        here = here[part]
    key = str(place[-1])
    here[f"{key}x"] = here.pop(key)
    text = yaml.safe_dump(data, sort_keys=False)
    line = next(n for n, text in enumerate(text.splitlines(), 1) if text.lstrip("- ").startswith(f"{key}x:"))
    error = refused(text)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (*place[:-1], f"{key}x"))
    assert error.message == f"job.yaml, line {line}: {dotted.lstrip('.')} is not a key of a job file."
    assert error.mend == f"Did you mean {key!r}?"


def test_a_key_like_no_other_is_told_which_there_are() -> None:
    error = refused(SMALL + "limits: {zzzzzz: 1}\n")
    known = ", ".join(Limits.model_fields)
    assert error.mend == f"Known keys here: {known}."


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("name: a\nname: b\n", 2, "name"),
        (SMALL + "limits:\n  max_attempts: 1\n  max_bytes: 5\n  max_attempts: 2\n", 8, "limits.max_attempts"),
        (
            SMALL + "policy:\n  rules:\n    - name: a\n      score: blur\n      score: entropy\n",
            9,
            "policy.rules[0].score",
        ),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, line: int, key: str) -> None:
    assert refused(text).message == f"job.yaml, line {line}: {key} stands there twice."


@pytest.mark.parametrize(
    ("more", "place", "said"),
    [
        ("limits: {max_failed_share: 2}", "limits.max_failed_share", "less than or equal to 1 (it is 2)"),
        ("limits: {max_attempts: 0}", "limits.max_attempts", "greater than or equal to 1"),
        ("limits: {max_bytes: lots}", "limits.max_bytes", "byte string (it is 'lots')"),
        ("limits: {max_pixels: 1.5}", "limits.max_pixels", "fractional part"),
        ("decode: fast", "decode", "'exact' or 'draft' (it is 'fast')"),
        ("retention_days: 0", "retention_days", "greater than or equal to 1"),
        ("compute: {encoders: [3, 1]}", "compute.encoders", "both 1 or more"),
        ("compute: {batch_size: 0}", "compute.batch_size", "'auto', or input should be greater than or equal to 1"),
        ("context: {a: [1]}", "context.a", "should be a valid"),
        ("policy: {rules: [{name: Loud, score: blur}]}", "policy.rules[0].name", "must match"),
        ("policy: {rules: [{name: a__b, score: blur}]}", "policy.rules[0].name", "double underscore"),
        (
            "policy: {rules: [{name: a, score: blur}, {name: a, score: blur}]}",
            "policy.rules",
            "two rules are called 'a'",
        ),
        ("policy: {rules: [{name: a, score: blur, reject_below: .inf}]}", "policy.rules[0].reject_below", "finite"),
        ("policy: {rules: [{name: a, score: blur, reject_below: .nan}]}", "policy.rules[0].reject_below", "finite"),
        ("policy: {rules: [{name: a, score: x, labels: {b: 1}}]}", "policy.rules[0].labels.b", "valid string"),
        ("policy:", "policy", "should be a valid dictionary"),
    ],
)
def test_a_bad_value_is_named_with_its_line(more: str, place: str, said: str) -> None:
    error = refused(SMALL + more)
    assert error.message.startswith(f"job.yaml, line 5: {place} is wrong: ")
    assert said in error.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{uri: a, caption: text}", "caption is a column of a manifest"),
        ("{uri: a, attributes: [who]}", "attributes is a column of a manifest"),
        ("{uri: a, kind: manifest, window: modified}", "needs modified: COLUMN"),
        ("{uri: a, lateness: soon}", "lateness is wrong"),
        ("{uri: a, lateness: -PT1S}", "lateness must not be negative"),
        ("{uri: a, kind: manifest, attributes: [a b]}", "letters, digits and underscores"),
        ("{uri: a, kind: manifest, attributes: [a, a]}", "'a' is named twice"),
        ("{uri: a, kind: manifest, attributes: [Locale, who, locale]}", "'Locale' and 'locale' differ only in case"),
        ("{uri: a, uri_column: url}", "uri_column is a column of a manifest"),
        ("{uri: a, kind: manifest, uri_column: ''}", "uri_column"),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(source: str, said: str) -> None:
    error = refused(SMALL.replace("{uri: a}", source))
    assert error.message.startswith("job.yaml, line 2: source")
    assert said in error.message


@pytest.mark.parametrize("part", ["name", "source", "encoder", "table"])
def test_a_missing_part_is_named(part: str) -> None:
    text = "".join(line for line in SMALL.splitlines(keepends=True) if not line.startswith(part))
    assert refused(text).message == f"job.yaml: {part} is missing."


def test_a_missing_key_is_named_with_the_line_of_its_part() -> None:
    assert refused(SMALL.replace("{uri: t.lance}", "{vector: float16}")).message == (
        "job.yaml, line 4: table.uri is missing."
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "words",
        "a: b: c",
        "\t",
        "a: &a [*a]",
        "name: 2026-13-45",
        "name: !!int many",
        "name: !!python/object:os.system x",
        "? {a: b}\n: c",
        "? [a]\n: c",
        "name: \x00",
        "name: *nobody",
        SMALL + "1: x",
    ],
)
def test_text_that_is_no_job_is_refused_in_a_sentence(text: str) -> None:
    assert refused(text).message.startswith("job.yaml")


@examples(100)
@given(st.text("abc:-[]{}&*!?|>'\"#, \n0123456789.<~%@`=") | st.text())
@example("{a: {a: {a: [}}}")
@example("2026-02-30: 1")
def test_whatever_the_text_there_is_a_job_or_a_sentence(text: str) -> None:
    assert isinstance(outcome(text), JobSpec) or outcome(text).message.startswith("job.yaml")


def test_a_job_written_as_json_reads_as_the_same_job() -> None:
    spec = read_text(FULL, "job.yaml")
    assert read_text(json.dumps(spec.body()), "json") == spec


def test_set_changes_adds_and_makes_parts() -> None:
    spec = read_text(
        SMALL,
        "job.yaml",
        ["table.commit_rows=1000", "limits.max_bytes=1KB", "encoder={model: other}", "context.dag_id=a=b"],
    )
    assert (spec.table.commit_rows, spec.limits.max_bytes, spec.encoder.model) == (1000, 1000, "other")
    assert spec.context == {"dag_id": "a=b"}


def test_set_finds_a_rule_by_its_name() -> None:
    spec = read_text(FULL, "job.yaml", ["policy.rules.too_small.reject_below=32", "policy.rules.wide.review_above="])
    by_name = {rule.name: rule for rule in spec.policy.rules}
    assert by_name["too_small"].bounds == {"reject_below": 32, "review_below": 128}
    assert by_name["wide"].bounds == {"reject_above": 5}
    assert len(by_name) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("table.commit_rows", "is not of the form key=value"),
        ("=1", "is not of the form key=value"),
        ("policy.rules.nobody.reject_below=1", "there is no rule 'nobody'"),
        ("policy.rules.too_small=1", "policy.rules holds no keys"),
        ("name.first=1", "name holds no keys"),
        ("name.first.second=1", "name holds no keys"),
        ("name={", "is not YAML"),
        ("name=2026-13-45", "is not YAML"),
        ("table.commit_row=1", "table.commit_row is not a key"),
        ("table.commit_rows=0", "table.commit_rows is wrong"),
    ],
)
def test_a_wrong_set_is_refused(change: str, said: str) -> None:
    assert said in refused(FULL, (change,)).message


def test_an_unknown_rule_in_a_set_is_told_which_there_are() -> None:
    assert refused(FULL, ("policy.rules.wied.score=blur",)).mend == (
        "The rules are: too_small, wide, off_topic, clusters_, taste, both."
    )


def test_a_job_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(SMALL.replace("name: n", "name: Ümläut"), encoding="utf-8")
    monkeypatch.setenv("SOME_JOB", SMALL)
    assert read_job(path).name == "Ümläut"
    assert read_job(str(path), ["name=m"]).name == "m"
    assert read_job("env:SOME_JOB").name == "n"


def test_a_job_comes_from_standard_input() -> None:
    code = "from clipflow.jobfile import read_job; print(read_job('-').name)"
    done = subprocess.run([sys.executable, "-c", code], input=SMALL, capture_output=True, text=True, check=True)
    assert done.stdout == "n\n"


def test_errors_of_a_variable_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_JOB", SMALL + "nmae: x")
    with pytest.raises(JobFileError, match=r"^\$SOME_JOB, line 5: nmae is not a key.*Did you mean 'name'\?$"):
        read_job("env:SOME_JOB")
    with pytest.raises(JobFileError, match="NO_SUCH_JOB, which should hold the job, is not set"):
        read_job("env:NO_SUCH_JOB")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: Ü".encode("latin-1"))
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(JobFileError, match=str(path)):
            read_job(path)


def test_plain_data_is_checked_without_lines() -> None:
    with pytest.raises(JobFileError, match=r"^the job: tabel is not a key of a job file\. Did you mean 'table'\?$"):
        parse_job({"tabel": 1})
