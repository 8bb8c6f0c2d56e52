"""The pages: their commands run, their jobs parse, and what they list is all there is."""

import inspect
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import clipflow
from clipflow.cli import LATER, command_line, main
from clipflow.decode import DECODE_POLICY, MEDIA_TYPES
from clipflow.demo.drawings import draw
from clipflow.encoders import describe
from clipflow.failures import FINAL, MEANINGS, PASSING
from clipflow.jobfile import read_text
from clipflow.policy.check import check_policy
from clipflow.policy.convert_head import KINDS
from clipflow.policy.scorers import SCORERS
from clipflow.schema import COLUMNS
from clipflow.spec import EncoderSpec, JobSpec, Rule

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = [README, CHANGELOG, *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def blocks(page: Path, kind: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(page.read_text("utf-8")) if found == kind]


def commands(page: Path, program: str) -> list[list[str]]:
    lines = [line for body in blocks(page, "sh") for line in body.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0] == program]


def rows(page: str, section: str = "") -> dict[str, list[str]]:
    """The rows of a page's tables by their first cell, below a heading if one is named."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    if section:
        text = re.split(r"^## ", text.split(f"\n## {section}\n")[1], flags=re.MULTILINE)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip().replace("\\|", "|") for cell in row[1:]] for row in cells}


def named(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", row)


def parts() -> list[tuple[str, Any]]:
    """Every section of a job and its model."""
    models = {name: field.annotation for name, field in JobSpec.model_fields.items()}
    return [
        ("Top level", JobSpec),
        *((name, models[name]) for name in ("source", "encoder", "limits", "table", "compute")),
    ]


def test_the_readme_s_first_link_is_the_main_flow() -> None:
    assert _LINK.findall(README.read_text("utf-8"))[0] == "clipflow/pipeline.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for words in commands(page, "clipflow"):
        assert command_line().parse_args(words).verb == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_job_of_a_page_is_a_job(page: Path) -> None:
    for body in blocks(page, "yaml"):
        assert read_text(body, page.name).name == "catalog"


def test_the_readme_s_make_commands_are_targets() -> None:
    targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert commands(README, "make") == [["demo"], ["test"], ["airflow"], ["airflow-down"]]
    assert {"demo", "test", "help", "airflow", "airflow-down"} <= set(targets)


def test_the_readme_counts_the_dags() -> None:
    number = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    (said,) = re.findall(r"(\w+) DAGs show how", README.read_text("utf-8"))
    assert number.index(said.lower()) == len(list((ROOT / "dags").glob("*.py")))


def test_the_readme_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r'"(?:clipflow|\.)\[([\w,-]+)\]"', README.read_text("utf-8"))
    assert named
    assert {extra for names in named for extra in names.split(",")} <= set(extras)
    assert any(words[:2] == ["install", "-c"] for words in commands(README, "pip"))


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uploads").mkdir()
    rng = np.random.default_rng(3)
    for colour, shape in (("red", "circle"), ("blue", "star"), ("green", "triangle")):
        draw(rng, colour, shape).save(f"uploads/{colour}.png")
    Image.new("RGB", (32, 32), "grey").save("uploads/small.png")
    (job,) = blocks(README, "yaml")
    (tmp_path / "job.yaml").write_text(job)
    said = {}
    for words in commands(README, "clipflow"):
        capsys.readouterr()
        assert main(words) == 0, words
        said[" ".join(words[:2])] = capsys.readouterr().out
    assert list(said)[:3] == ["doctor job.yaml", "plan job.yaml", "run job.yaml"]
    assert "4 listed: 4 unchanged" in said["run job.yaml"], "the second run"
    assert said["search lake/catalog.lance"].splitlines()[0].strip().endswith("uploads/red.png")
    (python,) = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(python, names)
    assert names["report"].counts["unchanged"] == 4
    (rejected,) = names["table"].sql("select reasons from images where status = 'rejected'")
    assert rejected == {"reasons": ["blurry", "too_small"]}


def test_the_readme_names_every_verb_that_comes_later() -> None:
    text = README.read_text("utf-8").split("## What is not there yet")[1]
    for verb in LATER:
        assert f"`{verb}`" in text


@pytest.mark.parametrize(("section", "model"), parts(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_page_of_the_job_file_has_every_key(section: str, model: Any) -> None:
    found = {name for row in rows("jobfile.md", section) for name in named(row)}
    assert found == set(model.model_fields)


def test_the_page_of_the_job_file_has_every_default() -> None:
    minimal = {"name": "n", "source": {"uri": "a"}, "encoder": {"model": "m"}, "table": {"uri": "t.lance"}}
    for section, model in parts():
        for row, (default, *_) in rows("jobfile.md", section).items():
            for key, said in [(named(row)[0], named(default)[0])] if named(row) and named(default) else []:
                if section == "encoder" and key == "loader":
                    continue  # unset, the loader also follows from the model's name
                if model is JobSpec:
                    assert JobSpec.model_validate({**minimal, key: said}) == JobSpec.model_validate(minimal), key
                    continue
                whole = {**minimal, section: {**minimal.get(section, {}), key: yaml.safe_load(said)}}  # type: ignore[dict-item]
                assert JobSpec.model_validate(whole) == JobSpec.model_validate(minimal), (section, key)


def test_the_page_of_the_job_file_has_every_key_of_a_rule_and_every_score() -> None:
    text = (ROOT / "docs" / "jobfile.md").read_text("utf-8").split("\n## policy\n")[1].split("\n## ")[0]
    assert set(Rule.model_fields) <= set(named(text))
    assert {"rules", "purpose", "owner", "contact"} <= set(named(text))
    assert {name for row in rows("jobfile.md", "policy") for name in named(row)} >= set(SCORERS)


def test_the_page_of_the_policy_has_every_score_parameter_and_kind_of_head() -> None:
    page = rows("policy.md", "Scores")
    scores = {name: row for row in page for name in named(row)}
    assert set(scores) == set(SCORERS)
    for name, row in scores.items():
        assert set(named(page[row][0])) == SCORERS[name].parameters
    assert {name for row in rows("policy.md", "Zero-shot") for name in named(row)} == SCORERS["zero_shot"].parameters
    assert {name for row in rows("policy.md", "Heads") for name in named(row)} >= set(KINDS)


def test_the_policy_of_every_page_can_be_applied() -> None:
    info = describe(EncoderSpec(model="demo"))
    for page in PAGES:
        for body in blocks(page, "yaml"):
            job = read_text(body, page.name)
            check_policy(job.policy, info, captions=bool(job.source.caption), attributes=job.source.attributes)


def test_the_page_of_the_table_is_the_schema() -> None:
    listed = {row: cells for row, cells in rows("table.md", "Columns of every table").items() if named(row)}
    assert listed == {f"`{column.name}`": [str(column.type), column.doc] for column in COLUMNS}


def test_the_page_of_decoding_has_every_code_and_the_policy() -> None:
    text = (ROOT / "docs" / "decoding.md").read_text("utf-8")
    final, passing = text.split("*Final* codes")[1].split("*Passing* codes")
    assert set(re.findall(r"^\| `(\w+)`", final, re.MULTILINE)) == FINAL
    assert set(re.findall(r"^\| `(\w+)`", passing, re.MULTILINE)) == PASSING
    policy = rows("decoding.md")
    assert {code: policy[f"`{code}`"] for code in MEANINGS} == {code: [words] for code, words in MEANINGS.items()}
    for words in ("applied", "composited on white", "first frame", "ignored", "high byte"):
        assert words in DECODE_POLICY.values()
        assert [words] in policy.values()
    formats = text.split("Decoded are ")[1].split(".")[0].replace(" and ", ", ").upper().split(", ")
    assert set(formats) == set(MEDIA_TYPES)


def test_the_page_of_the_audit_names_every_figure_and_every_key() -> None:
    from clipflow.audit.condition import FIGURES
    from clipflow.audit.groups import FOUR_FIFTHS

    assert {name for row in rows("audit.md", "As a gate") for name in named(row)} == set(FIGURES)
    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    keys = "column, value, rule, n, removed, rate, low, high, ratio, flagged, review, not_shown"
    keys += "".join(f", not_shown_{key}" for key in ("rate", "low", "high", "ratio", "flagged"))
    assert f"`{{{keys}}}`" in text
    assert {name for row in rows("audit.md", "Who is removed") for name in named(row)} == set(keys.split(", "))
    assert f"`--bounds` ({FOUR_FIFTHS.low:g} {FOUR_FIFTHS.high:g})" in text
    assert f"`--min-group` ({FOUR_FIFTHS.min_group})" in text


def test_the_page_of_scale_is_what_the_estimate_computes() -> None:
    from benchmarks.paper import tables
    from clipflow.estimate.rates import UNITS

    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    for table in tables():
        assert table in text, "run python -m benchmarks.paper"
    found = {named(row)[0]: meaning for row, meaning in rows("scale.md", "Before a run").items() if named(row)}
    assert found == {name: [meaning] for name, meaning in UNITS.items()}


def test_the_page_of_airflow_names_what_the_dags_read() -> None:
    paths = [*(ROOT / "dags").glob("*.py"), ROOT / "operators" / "clipflow_airflow" / "params.py"]
    defaults: dict[str, set[str]] = {}
    for path in paths:
        found = re.findall(r"environ\.get\(\"(\w+)\"(?:, \"([^\"]*)\")?", path.read_text("utf-8"))
        for name, default in found:
            defaults.setdefault(name, set()).add(default)
    page = rows("airflow.md", "The DAGs")
    assert {name for row in page for name in named(row)} == set(defaults)
    for row, (default, _) in page.items():
        if named(row) and named(default):
            assert defaults[named(row)[0]] == set(named(default)), row


def test_the_page_of_airflow_names_the_operators() -> None:
    import clipflow_airflow

    page = rows("airflow.md", "An operator")
    operators = {name for name in clipflow_airflow.__all__ if name.endswith("Operator")} - {"ClipflowOperator"}
    assert {name for row in page for name in named(row)} == operators
    for row, (verb, arguments) in page.items():
        if named(row):
            operator = getattr(clipflow_airflow, named(row)[0])
            assert getattr(operator, "verb", "run") == named(verb)[0]
            assert set(named(arguments)) <= set(inspect.signature(operator.__init__).parameters) | {"table"}


def test_every_law_names_tests_that_are_there() -> None:
    """By the names alone: the live lane is not collected here."""
    page = rows("testing.md", "The laws and their tests")
    del page["Law"]
    assert {law[0] for law in page if law[0].isdigit()} == set("123456789")
    for law, (tests, lane) in page.items():
        assert named(tests), law
        for name in named(tests):
            path, _, test = name.partition("::")
            text = (ROOT / path).read_text("utf-8")
            assert not test or re.search(rf"^(def {test}\(|{test} = )", text, re.MULTILINE), name
            assert ("tests/live" in path) == (lane == "test-live"), name


def test_the_newest_change_is_of_this_version() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    assert versions[0] == clipflow.__version__
    assert versions == sorted(versions, key=lambda version: [int(n) for n in version.split(".")], reverse=True)
