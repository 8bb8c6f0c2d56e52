"""The arithmetic of an estimate, by hand and by law."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.errors import UsageError
from clipflow.estimate.prediction import Estimate, Work, Workers, predict
from clipflow.estimate.rates import UNITS, Rate, given_rates

WORK = Work(
    listed=1_200_000,
    rows=1_000_000,
    gets=990_000,
    sized_bytes=99_000_000_000,
    list_seconds=100.0,
    dim=512,
    commit_rows=50_000,
    replaced=10_000,
    unsized=0,
    table_rows=200_000,
    table_bytes=300_000_000,
)
RATES = {"images_per_second_per_worker": 25.0, "bytes_per_row": 1_400.0, "committed_per_second": 100_000.0}


def rates(**more: float) -> dict[str, Rate]:
    return {name: Rate(value, "test") for name, value in {**RATES, **more}.items()}


def test_cpu_workers() -> None:
    found = predict(WORK, Workers(11), rates(fixed_seconds=20))
    # 990,000 / (11 * 25) = 3,600
    assert found.seconds == {"list": 100, "start": 20, "fetch, decode and embed": 3_600, "commit": 10, "total": 3_720}
    assert found.limit == "fetch, decode and embed"
    assert found.hours == 3_720 / 3_600
    assert (found.gpu_hours, found.cpu_hours) == (0, 11 * 3_720 / 3_600)
    assert (found.gets, found.lists, found.bytes) == (990_000, 1_200, 99_000_000_000)
    assert (found.rows, found.rows_added, found.commits) == (1_000_000, 990_000, 20)
    assert (found.added_bytes, found.table_bytes) == (1_400_000_000, 1_700_000_000)
    # 1,190,000 rows: a key of 64 and a row id of 8 bytes, and 512 / 8 codes and a row id.
    assert found.index_bytes == 1_190_000 * (64 + 8) + 1_190_000 * (64 + 8)


def test_gpus() -> None:
    fast = {"prepared_per_second_per_cpu": 99.0, "images_per_second_per_gpu_encoder": 990.0}
    found = predict(WORK, Workers(4, 0.5, 10), rates(**fast))
    assert found.seconds["fetch and decode"] == 1_000
    assert found.seconds["embed"] == 250
    assert found.limit == "fetch and decode"
    assert found.seconds["total"] == 1_100
    assert (found.gpu_hours, found.cpu_hours) == (2 * 1_100 / 3_600, 10 * 1_100 / 3_600)


@pytest.mark.parametrize(
    ("more", "limit", "total"),
    [
        ({"gets_per_second": 99.0}, "GETs", 10_100),
        ({"fetched_per_second": 9_900_000.0}, "network", 10_100),
        ({"committed_per_second": 100.0}, "commit", 10_100),
        ({"fixed_seconds": 9_900.0}, "start", 13_600),
    ],
)
def test_the_slowest_decides(more: dict[str, float], limit: str, total: float) -> None:
    found = predict(WORK, Workers(11), rates(**more))
    assert (found.limit, found.seconds["total"]) == (limit, total)


@pytest.mark.parametrize(
    ("rows", "commit_rows", "commits"),
    [(0, 50, 0), (1, 50, 1), (50, 50, 1), (51, 50, 2), (1_000_000, 50_000, 20), (1_000_000, 25_000, 34)],
)
def test_commits_are_of_whole_fragments(rows: int, commit_rows: int, commits: int) -> None:
    work = replace(WORK, rows=rows, gets=rows, commit_rows=commit_rows, replaced=0)
    assert predict(work, Workers(100), rates(images_per_second_per_worker=1e6)).commits == commits


def test_a_slow_run_commits_by_the_clock() -> None:
    found = predict(
        replace(WORK, rows=3_000, gets=3_000, replaced=0), Workers(1), rates(images_per_second_per_worker=1)
    )
    assert found.commits == 10


def test_sizes_that_the_listing_does_not_say() -> None:
    work = replace(WORK, sized_bytes=1_000, unsized=10)
    assert predict(work, Workers(1), rates(bytes_per_image=7.0)).bytes == 1_070
    with pytest.raises(UsageError, match="bytes_per_image"):
        predict(work, Workers(1), rates())


def test_nothing_to_do_needs_no_rate() -> None:
    found = predict(replace(WORK, rows=0, gets=0, sized_bytes=0, replaced=0), Workers(1), {})
    assert (found.hours, found.cpu_hours, found.commits, found.table_bytes) == (100 / 3_600, 0, 0, WORK.table_bytes)
    assert found.rates == {}


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_missing_rate_is_named_with_the_mend(gpus: int) -> None:
    with pytest.raises(UsageError, match="--probe 64"):
        predict(WORK, Workers(1, gpus, 1), {})


def test_only_rates_that_count_are_shown() -> None:
    found = predict(WORK, Workers(1), rates(images_per_second_per_gpu_encoder=5))
    assert found.rates.keys() == RATES.keys()


COUNT = st.integers(1, 10**9)
SPEED = st.floats(1e-3, 1e6)


@given(COUNT, st.integers(1, 1_000), SPEED, SPEED, st.integers(1, 100_000))
def test_more_work_never_costs_less_and_more_workers_never_more(
    rows: int, workers: int, speed: float, commit: float, commit_rows: int
) -> None:
    def cost(rows: int, workers: int) -> Estimate:
        work = replace(WORK, listed=rows, rows=rows, gets=rows, replaced=0, commit_rows=commit_rows)
        return predict(work, Workers(workers), rates(images_per_second_per_worker=speed, committed_per_second=commit))

    one, more_work, more_workers = cost(rows, workers), cost(2 * rows, workers), cost(rows, 2 * workers)
    assert more_work.hours >= one.hours >= more_workers.hours
    for name in ("gets", "commits", "rows", "table_bytes", "index_bytes", "lists"):
        assert getattr(more_work, name) >= getattr(one, name)
    assert one.seconds["total"] == one.seconds["list"] + max(
        seconds for name, seconds in one.seconds.items() if name not in ("list", "total")
    )


@pytest.mark.parametrize("text", ["nonsense=1", "gets_per_second", "gets_per_second=", "gets_per_second=fast"])
@pytest.mark.parametrize("bad", ["", "=-1", "=0", "=nan", "=inf"])
def test_a_wrong_rate_is_one_sentence(text: str, bad: str) -> None:
    with pytest.raises(UsageError):
        given_rates([text.split("=")[0] + bad if bad else text])


def test_given_rates() -> None:
    found: dict[str, Any] = given_rates([f"{name}=2.5" for name in UNITS])
    assert found == {name: Rate(2.5, "given") for name in UNITS}
