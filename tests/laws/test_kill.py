"""Laws 2 and 4 under SIGKILL: drivers and workers die at their work, and running again is all it takes.

Some are killed at a named moment, where the encoder holds them; others at a moment of chance, which may come too
late: then the run is over, which is fine too.
"""

import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import yaml

import clipflow
from clipflow.spec import JobSpec
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.drivers import PATIENCE, Driver, fragments, versions
from tests.examples import chances, turns
from tests.ray_fixtures import StandingRay

NEW_IMAGES, COMMIT_ROWS = 24, 6


def spec_of(folder: Path, **options: int) -> JobSpec:
    model = ",".join(["stub:dim=16", *(f"{name}={value}" for name, value in options.items())])
    # A GPU's actor takes two batches at once: as much as a commit.
    parts: dict[str, Any] = {"table": {"commit_rows": COMMIT_ROWS}, "compute": {"batch_size": COMMIT_ROWS // 2}}
    return job(folder / "images", folder / "t.lance", encoder={"model": model, "loader": "stub"}, **parts)


def start(spec: JobSpec, folder: Path, ray: str = "none", *, one_cpu: bool = False) -> Driver:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec.body()))
    return Driver("run", path, "--ray", ray, one_cpu=one_cpu)


def grow(folder: Path, turn: int) -> None:
    """New pictures, and a changed one under an old name."""
    draw(folder, range(turn * NEW_IMAGES, (turn + 1) * NEW_IMAGES))
    (folder / "000000.png").write_bytes(picture(1_000_000 + turn))


def assert_whole(folder: Path, images: int) -> None:
    """Running again finishes, and then there is nothing left."""
    spec = spec_of(folder)
    clipflow.run(spec, ray="none")
    report = clipflow.run(spec, ray="none").document()
    assert (report["listed"], report["unchanged"]) == (images, images)
    assert_unique_ever(folder / "t.lance")
    found = rows(folder / "t.lance", ["image_id", "status", "source_uri", "width"])
    assert len(found) == images
    assert {row["status"] for row in found.values()} == {"accepted"}


def kill_after(folder: Path, commits: int, ray: str = "none") -> None:
    """Start a run that hangs after so many commits, and kill it there."""
    before = versions(folder / "t.lance")
    # With the first rows comes the empty table, as a version of its own.
    due = (before or 1) + commits if commits else before
    driver = start(spec_of(folder, gate=commits * COMMIT_ROWS + 1), folder, ray, one_cpu=True)

    def held() -> bool:
        return versions(folder / "t.lance") >= due and "to fetch" in driver.log

    assert driver.until(held, f"{commits} commits"), driver.log
    assert driver.kill(), "it was held, and yet it ended"
    assert versions(folder / "t.lance") == due
    if due:
        assert_unique_ever(folder / "t.lance")


def test_a_driver_killed_after_each_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for commits in range(5):
        grow(tmp_path / "images", commits)
        kill_after(tmp_path, commits)
    assert_whole(tmp_path, 5 * NEW_IMAGES)


def test_a_driver_killed_at_a_moment_of_chance_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = chances("a driver killed")
    spec = spec_of(tmp_path, ms=4)
    began = time.monotonic()
    grow(tmp_path / "images", 0)
    assert start(spec, tmp_path).wait() == 0
    whole, hits, kills = time.monotonic() - began, 0, turns(8)
    for turn in range(1, kills + 1):
        grow(tmp_path / "images", turn)
        staged = fragments(tmp_path / "t.lance") + chance.randrange(1, 6)
        driver = start(spec, tmp_path)
        if chance.random() < 0.5:
            # A file of rows is there, and is being committed, or will be.
            driver.until(lambda staged=staged: fragments(tmp_path / "t.lance") >= staged, "a file of rows")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.02 if chance.random() < 0.5 else whole))
        hits += driver.kill()
        assert_unique_ever(tmp_path / "t.lance")
    print(f"{hits} of {kills} were still at work")
    assert_whole(tmp_path, (kills + 1) * NEW_IMAGES)


@pytest.mark.timeout(900)
def test_drivers_and_actors_killed_on_ray_lose_and_double_nothing(tmp_path: Path, standing_ray: StandingRay) -> None:
    chance = chances("killed on Ray")
    grow(tmp_path / "images", 0)
    kill_after(tmp_path, 0, standing_ray.address)
    grow(tmp_path / "images", 1)
    driver = start(spec_of(tmp_path, ms=100), tmp_path, standing_ray.address)
    due = chance.randrange(2, 5)
    driver.until(lambda: versions(tmp_path / "t.lance") >= due, "commits")
    print("a driver killed" if driver.kill() else "the driver was over")
    assert_unique_ever(tmp_path / "t.lance")
    kills = turns(3)
    for turn in range(2, 2 + kills):
        grow(tmp_path / "images", turn)
        driver = start(spec_of(tmp_path, ms=100), tmp_path, standing_ray.address)
        hit = kill_an_actor(standing_ray, driver, tmp_path / "t.lance", chance)
        assert driver.wait() == 0, driver.log
        print(f"turn {turn}: {'an actor killed' if hit else 'no actor was there'}")
    assert_whole(tmp_path, (2 + kills) * NEW_IMAGES)


def kill_an_actor(ray: StandingRay, driver: Driver, table: Path, chance: Random) -> bool:
    """SIGKILL a Ray worker process that embeds or stages for the driver, after a commit or before the first."""
    due = versions(table) + chance.randrange(3)
    if not driver.until(lambda: ray.workers() and versions(table) >= due, "an actor at work"):
        return False
    try:
        chance.choice(ray.workers()).send_signal(signal.SIGKILL)
    except (IndexError, psutil.NoSuchProcess):
        return False
    return True


def test_two_runs_over_the_same_images_at_once(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(80))
    spec = spec_of(tmp_path, ms=5)
    drivers = [start(spec, tmp_path) for _ in range(3)]
    assert [driver.wait(PATIENCE) for driver in drivers] == [0, 0, 0]
    assert_whole(tmp_path, 80)
    runs = clipflow.open(tmp_path / "t.lance").sql("select * from runs where state = 'done' and from_version is null")
    for run in runs:
        assert run["listed"] == run["unchanged"] + run["reused"] + run["embedded"] + run["failed"] + run["forgotten"]
