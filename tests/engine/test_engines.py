"""The same rows come out of every engine: this process, fused CPU actors, and CPU actors before a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipflow
from clipflow.engine.layout import Layout, lay_out
from clipflow.errors import ClusterError, EncoderError
from tests.catalogues import draw, job, picture, rows
from tests.table.staging import assignment

RUN_COLUMNS = {"run_id", "embedded_at", "judged_at", "status_at", "first_seen_at"}


# Labels and captions cross to the workers, duplicates are told where all rows are.
POLICY = {
    "rules": [
        {
            "name": "red",
            "score": "zero_shot",
            "labels": {"red": ["red", "crimson"], "other": "blue"},
            "label": "red",
            "none": "other",
            "keep": ["other"],
            "review_above": 0.9,
        },
        {"name": "twice", "score": "near_duplicate", "reject_above": 0.999},
        {"name": "both", "score": "expression", "sql": "score_red > 0.5 and score_twice > 0.5", "review_above": 0},
    ]
}


def without_run(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {name: v for name, v in row.items() if name not in RUN_COLUMNS} for key, row in found.items()}


def catalogue(folder: Path) -> Path:
    draw(folder, range(70))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "copy.png").write_bytes(picture(3))
    return folder


@pytest.fixture
def inline_rows(tmp_path: Path) -> dict[str, dict[str, Any]]:
    clipflow.run(job(catalogue(tmp_path / "images"), tmp_path / "inline.lance", policy=POLICY), ray="none")
    return rows(tmp_path / "inline.lance")


@pytest.mark.parametrize("gpus", [0, 1])
def test_ray_writes_the_rows_of_this_process(
    tmp_path: Path, joined_ray: str, inline_rows: dict[str, dict[str, Any]], gpus: int
) -> None:
    compute, table = {"gpus_per_encoder": gpus}, {"commit_rows": 20}
    spec = job(tmp_path / "images", tmp_path / "ray.lance", compute=compute, table=table, policy=POLICY)
    report = clipflow.run(spec, ray=joined_ray).document()
    assert (report["listed"], report["embedded"], report["failed"]) == (72, 71, 1)
    assert report["seconds"]["decode"] > 0
    assert report["version"] > 3, "a long run becomes visible in steps"
    assert without_run(rows(tmp_path / "ray.lance")) == without_run(inline_rows)
    again = clipflow.run(spec, ray=joined_ray).document()
    assert (again["version"], again["unchanged"]) == (report["version"], 72)


def test_openvino_on_ray_gives_the_vectors_of_torch_here(tmp_path: Path, joined_ray: str) -> None:
    draw(tmp_path / "images", range(40))
    encoder = {"model": "demo", "precision": "fp32"}
    made = {}
    for backend, ray in (("torch", "none"), ("openvino", joined_ray)):
        table = tmp_path / f"{backend}.lance"
        clipflow.run(job(tmp_path / "images", table, encoder=encoder, compute={"backend": backend}), ray=ray)
        made[backend] = rows(table)
    assert len(made["torch"]) == 40
    assert made["torch"].keys() == made["openvino"].keys()
    for image, row in made["torch"].items():
        one, other = (np.array(found["vector"], np.float64) for found in (row, made["openvino"][image]))
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) >= 0.9999


def test_a_worker_that_cannot_load_the_encoder_fails_the_run_in_one_sentence(tmp_path: Path, joined_ray: str) -> None:
    draw(tmp_path / "images", range(3))
    spec = job(tmp_path / "images", tmp_path / "t.lance", encoder={"model": "stub:unloadable=1", "loader": "stub"})
    with pytest.raises(EncoderError, match="unloadable"):
        clipflow.run(spec, ray=joined_ray)


def test_an_address_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(2))
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1"):
        clipflow.run(job(tmp_path / "images", tmp_path / "t.lance"), ray="127.0.0.1:1")


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "images", "expected"),
    [
        ({}, 2, 0, 10, Layout(0, (1, 1), 0)),
        ({}, 2, 0, 10_000, Layout(0, (1, 2), 0)),
        ({}, 16, 4, 10_000_000, Layout(1, (1, 4), 15)),
        ({"gpus_per_encoder": 0.5}, 16, 4, 10_000_000, Layout(0.5, (1, 8), 15)),
        ({"gpus_per_encoder": 0}, 16, 4, 10_000_000, Layout(0, (1, 16), 0)),
        ({"gpus_per_encoder": 1}, 4, 0, 10_000, Layout(0, (1, 4), 0)),
        ({"encoders": [2, 8]}, 4, 0, 10_000, Layout(0, (2, 4), 0)),
        ({"encoders": [1, 8], "gpus_per_encoder": 1}, 4, 1, 10, Layout(1, (1, 8), 3)),
    ],
)
def test_the_layout_follows_the_job_and_the_cluster(
    tmp_path: Path, asked: dict[str, Any], cpus: int, gpus: int, images: int, expected: Layout
) -> None:
    given = assignment(tmp_path, "a")
    spec = job(tmp_path, tmp_path / "t.lance", compute=asked)
    given = type(given)(spec, given.info, "a", None, given.address)
    assert lay_out(given, cpus, gpus, images, ours=True) == expected


def test_more_encoders_than_cpus_are_refused(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    spec = job(tmp_path, tmp_path / "t.lance", compute={"encoders": [4, 8]})
    with pytest.raises(ClusterError, match="at least 4 encoders"):
        lay_out(type(given)(spec, given.info, "a", None, given.address), 2, 0, 10, ours=False)


FEW_CPUS = """
import logging
import sys
import clipflow
from clipflow.engine.cluster import start_local
from clipflow.jobfile import read_text

logging.basicConfig(format="%(message)s")
logging.getLogger("clipflow").setLevel(logging.INFO)
cpus, gpus = map(int, sys.argv[3:])
start_local(cpus=cpus, gpus=gpus)
for per_encoder in (1, 0):
    sets = [f"table.uri={sys.argv[2]}/{per_encoder}.lance", f"compute.gpus_per_encoder={per_encoder}"]
    spec = read_text(sys.argv[1], "the test", sets)
    print(clipflow.plan(spec, ray="local", cpus=cpus, gpus=gpus).graph["layout"])
    print(clipflow.run(spec, ray="local").document()["embedded"])
"""


@pytest.mark.xdist_group("ray")  # two at once would be too much memory
def test_one_cpu_is_enough_with_and_without_a_gpu(tmp_path: Path) -> None:
    """An operator that asked for more than the encoders leave would wait for ever; and the plan said what is done.

    Larger machines leave more: what they are laid out to is reckoned above, and the standing Ray has two.
    """
    draw(tmp_path / "images", range(60))
    spec = job(tmp_path / "images", tmp_path / "t.lance", table={"commit_rows": 20})
    command = [sys.executable, "-c", FEW_CPUS, json.dumps(spec.body()), str(tmp_path), "1", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, start_new_session=True, check=False)
    planned, embedded = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert embedded == ["60", "60"], done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if line.startswith("engine: ")] == [
        f"engine: {layout}" for layout in planned
    ]
    assert planned[0].startswith("up to")
    assert "uint8 pixels cross" in planned[0]
    assert planned[1] == "1 CPU actors fetch, decode and embed"


def test_plan_says_where_the_stages_will_lie(tmp_path: Path, joined_ray: str) -> None:
    draw(tmp_path / "images", range(3))
    spec = job(tmp_path / "images", tmp_path / "t.lance")
    here = clipflow.plan(spec).graph
    assert here is not None
    assert here["engine"] == "none"
    assert "in this process" in here["text"]
    asked = clipflow.plan(spec, ray=joined_ray).graph
    assert asked is not None
    assert (asked["cpus"], asked["gpus"], asked["gpus_per_encoder"]) == (2, 1, 1)
    large = clipflow.plan(spec, cpus=64, gpus=0).graph
    assert large is not None
    assert large["text"].startswith("graph: on a Ray started here (64 CPUs, 0 GPUs)")
    clipflow.run(spec, ray="none")
    assert clipflow.plan(spec).graph is None


def test_a_plan_for_named_machines_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "images", range(3))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert clipflow.plan(job(tmp_path / "images", tmp_path / "t.lance"), cpus=8, gpus=2).graph is not None
