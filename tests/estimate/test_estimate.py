"""An estimate against the run that it was made for."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import lance
import pytest

import clipflow
from clipflow.cli import main
from clipflow.errors import UsageError
from clipflow.estimate.estimate import estimate
from clipflow.estimate.rates import Rate
from clipflow.spec import JobSpec
from clipflow.table.sizes import data_bytes
from tests.catalogues import draw, job, picture
from tests.s3 import S3Server

EACH = 130


def size_of(table: Path) -> int:
    return data_bytes(lance.dataset(str(table)))


def gets(s3: S3Server) -> int:
    """GETs that the server has answered, by its own count."""
    with urllib.request.urlopen(s3.metrics) as answer:
        text = answer.read().decode()
    found = re.findall(r"^SeaweedFS_s3_request_total\{([^}]*)\} (\S+)$", text, re.MULTILINE)
    return sum(int(float(count)) for labels, count in found if 'type="GET"' in labels)


def fill(s3: S3Server, keys: range) -> None:
    for key in keys:
        s3.put(f"estimate/{key:06}.png", picture(key))


def test_a_second_run_is_as_the_first_foretold(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    table = tmp_path / "t.lance"
    spec = job("s3://open/estimate/", table, table={"commit_rows": 40})
    fill(s3, range(EACH))
    clipflow.run(spec, ray="none")
    fill(s3, range(EACH, 2 * EACH))
    plan, found = estimate(spec, ray="none")
    assert found.rates["images_per_second_per_worker"].source.startswith("run ")
    version, before, asked = lance.dataset(str(table)).version, size_of(table), gets(s3)
    report = clipflow.run(spec, ray="none")
    assert gets(s3) - asked == found.gets == EACH
    rows = lance.dataset(str(table)).to_table(columns=["source_size"], filter=f"run_id = '{report.run_id}'")
    assert sum(rows.column("source_size").to_pylist()) == found.bytes == plan.bytes
    assert len(rows) == found.rows == found.rows_added
    assert report.version == version + found.commits
    assert size_of(table) - before == pytest.approx(found.added_bytes, rel=0.05)
    assert size_of(table) == pytest.approx(found.table_bytes, rel=0.05)


def local(folder: Path, images: int, **more: Any) -> JobSpec:
    draw(folder / "images", range(images))
    return job(folder / "images", folder / "t.lance", **more)


def test_without_runs_there_is_no_rate(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--probe 64"):
        estimate(local(tmp_path, 3))


def test_a_probe_measures_here_and_leaves_nothing(tmp_path: Path) -> None:
    spec = local(tmp_path, 20)
    _, found = estimate(spec, probe=8)
    assert found.rates["images_per_second_per_worker"].source.startswith("probe of 8 images")
    assert (found.gets, found.rows, found.commits) == (20, 20, 1)
    assert found.bytes == sum(path.stat().st_size for path in (tmp_path / "images").iterdir())
    assert not (tmp_path / "t.lance").exists()
    clipflow.run(spec, ray="none")
    version = lance.dataset(str(tmp_path / "t.lance")).version
    draw(tmp_path / "images", range(20, 30))
    _, found = estimate(spec, probe=100)
    assert found.rates["images_per_second_per_worker"].source.startswith("probe of 10 images"), "a probe was asked for"
    assert lance.dataset(str(tmp_path / "t.lance")).version == version


def test_a_probe_that_embeds_nothing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="None of the 1 images"):
        estimate(job(tmp_path / "images", tmp_path / "t.lance"), probe=4)


def test_changed_images_are_replaced_and_words_are_not_fetched(tmp_path: Path) -> None:
    spec = local(tmp_path, 6)
    clipflow.run(spec, ray="none")
    (tmp_path / "images" / "000000.png").write_bytes(picture(77))
    draw(tmp_path / "images", [6])
    _, found = estimate(spec)
    assert (found.rows, found.rows_added, found.gets) == (2, 1, 2)


def test_given_rates_outrank_and_other_machines_can_be_named(tmp_path: Path) -> None:
    spec = local(tmp_path, 10)
    clipflow.run(spec, ray="none")
    draw(tmp_path / "images", range(10, 40))
    rates = {
        "images_per_second_per_gpu_encoder": Rate(10.0, "given"),
        "prepared_per_second_per_cpu": Rate(1.0, "given"),
    }
    _, found = estimate(spec, cpus=4, gpus=1, rates=rates)
    assert found.workers.gpus == 1
    assert found.seconds["embed"] == 3
    assert found.seconds["fetch and decode"] == 10
    # What CPU workers did says nothing of GPUs.
    with pytest.raises(UsageError, match="prepared_per_second_per_cpu"):
        estimate(spec, cpus=4, gpus=1)


def test_nothing_left_is_an_estimate_too(tmp_path: Path) -> None:
    spec = local(tmp_path, 3)
    clipflow.run(spec, ray="none")
    plan, found = estimate(spec)
    assert (plan.graph, found.rows, found.gets, found.commits, found.cpu_hours) == (None, 0, 0, 0, 0)
    assert found.text() == "estimate: nothing to embed"


@pytest.fixture
def written(tmp_path: Path) -> str:
    path = tmp_path / "job.json"
    path.write_text(local(tmp_path, 5).model_dump_json())
    return str(path)


def test_the_verb_says_it_as_text_and_as_json(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", written, "--estimate", "--rate", "images_per_second_per_worker=2", "--cpus", "5"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["to_fetch"] == 5
    cost = document["estimate"]
    # The layout gives so few images one worker.
    assert (cost["gets"], cost["commits"], cost["seconds"]["fetch, decode and embed"]) == (5, 1, 2.5)
    assert cost["rates"]["images_per_second_per_worker"]["source"] == "given"
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "5 GETs" in text
    assert "images_per_second_per_worker 2 (given)" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--probe", "4"], "Add --estimate"),
        (["--rate", "gets_per_second=4"], "Add --estimate"),
        (["--estimate", "--rate", "speed=4"], "no rate 'speed'"),
        (["--estimate", "--rate", "gets_per_second=0"], "no positive number"),
        (["--estimate", "--probe", "0"], "measures nothing"),
        (["--estimate", "--probe", "many"], "invalid int value"),
        (["--cpus", "0"], "at least one CPU"),
        (["--gpus", "-1"], "how many there are"),
        (["--cpus", "nan"], "how many there are"),
        (["--ray", "127.0.0.1:1"], "Nothing listens"),
    ],
)
def test_wrong_calls(written: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["plan", written, *words]) in (1, 2)
    assert said in capsys.readouterr().err
