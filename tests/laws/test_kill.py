"""Laws 2 and 4 under SIGKILL: drivers and workers die at random moments, and running again is all it takes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

import clipflow
from clipflow.spec import JobSpec
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.ray_fixtures import StandingRay

DRIVER_KILLS_INLINE, DRIVER_KILLS_ON_RAY, ACTOR_KILLS = 10, 4, 4
NEW_IMAGES = 24


def start(spec: JobSpec, folder: Path, ray: str) -> "subprocess.Popen[bytes]":
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec.body()))
    command = [sys.executable, "-m", "clipflow", "run", str(path), "--ray", ray]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def kill(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it was still at work."""
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def grow(folder: Path, turn: int) -> None:
    """New pictures, and a changed one under an old name."""
    draw(folder, range(turn * NEW_IMAGES, (turn + 1) * NEW_IMAGES))
    (folder / "000000.png").write_bytes(picture(1_000_000 + turn))


def assert_whole(spec: JobSpec, folder: Path, images: int) -> None:
    """Running again finishes, and then there is nothing left."""
    clipflow.run(spec, ray="none")
    report = clipflow.run(spec, ray="none").document()
    assert (report["listed"], report["unchanged"]) == (images, images)
    assert_unique_ever(folder / "t.lance")
    found = rows(folder / "t.lance", ["image_id", "status", "source_uri", "width"])
    assert len(found) == images
    assert {row["status"] for row in found.values()} == {"accepted"}


def spec_of(folder: Path, pause: int) -> JobSpec:
    encoder = {"model": f"stub:dim=16,ms={pause}", "loader": "stub"}
    return job(folder / "images", folder / "t.lance", encoder=encoder, table={"commit_rows": 6})


def test_a_driver_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20)
    spec = spec_of(tmp_path, pause=10)
    grow(tmp_path / "images", 0)
    assert start(spec, tmp_path, "none").wait(60) == 0
    grow(tmp_path / "images", 1)
    began = time.monotonic()
    assert start(spec, tmp_path, "none").wait(60) == 0
    whole = time.monotonic() - began
    at_work = turn = 0
    while at_work < DRIVER_KILLS_INLINE:
        assert turn < 4 * DRIVER_KILLS_INLINE, "the moments were too late to prove anything"
        turn += 1
        grow(tmp_path / "images", 1 + turn)
        process = start(spec, tmp_path, "none")
        time.sleep(chance.uniform(0.4, 1.05) * whole)
        at_work += kill(process)
        assert_unique_ever(tmp_path / "t.lance")
    assert_whole(spec, tmp_path, (turn + 2) * NEW_IMAGES)


def test_drivers_and_actors_killed_on_ray_lose_and_double_nothing(tmp_path: Path, standing_ray: StandingRay) -> None:
    chance = random.Random(21)
    spec = spec_of(tmp_path, pause=30)
    killed = 0
    for turn in range(DRIVER_KILLS_ON_RAY):
        grow(tmp_path / "images", turn)
        process = start(spec, tmp_path, standing_ray.address)
        time.sleep(chance.uniform(2, 8))
        killed += kill(process)
    assert killed, "the moments were too late to prove anything"
    for turn in range(DRIVER_KILLS_ON_RAY, DRIVER_KILLS_ON_RAY + ACTOR_KILLS):
        grow(tmp_path / "images", turn)
        process = start(spec, tmp_path, standing_ray.address)
        killed = kill_an_actor(standing_ray, process, chance)
        assert process.wait(300) == 0, (tmp_path / "log.txt").read_text()[-2000:]
    assert killed
    assert_whole(spec, tmp_path, (DRIVER_KILLS_ON_RAY + ACTOR_KILLS) * NEW_IMAGES)


def kill_an_actor(ray: StandingRay, driver: "subprocess.Popen[bytes]", chance: random.Random) -> bool:
    """SIGKILL a Ray worker process that embeds or stages for the driver, as soon as one is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and driver.poll() is None:
        workers = ray.workers()
        if workers:
            time.sleep(chance.uniform(0, 1.5))
            try:
                chance.choice(workers).send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            return True
        time.sleep(0.05)
    return False


def test_two_runs_over_the_same_images_at_once(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(80))
    spec = spec_of(tmp_path, pause=5)
    processes = [start(spec, tmp_path, "none") for _ in range(3)]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    assert_whole(spec, tmp_path, 80)
    runs = clipflow.open(tmp_path / "t.lance").sql("select * from runs where state = 'done' and from_version is null")
    for run in runs:
        assert run["listed"] == run["unchanged"] + run["reused"] + run["embedded"] + run["failed"] + run["forgotten"]
