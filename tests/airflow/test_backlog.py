"""A trigger that has told much waits until its supervisor has read it."""

import asyncio

from clipflow_airflow.backlog import READ_BYTES, Backlog


def turns(backlog: Backlog) -> int:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    asyncio.run(backlog.drain(ask))
    return asked


def test_every_byte_is_read_in_some_turn() -> None:
    backlog = Backlog()
    for number in range(100):
        backlog.add(f"line {number}")
    # As JSON, with its time and its task, such a line has some 400 bytes.
    assert turns(backlog) * READ_BYTES > 100 * 400
    assert turns(backlog) <= 3


def test_an_answer_is_a_turn() -> None:
    told, quiet = Backlog(), Backlog()
    for backlog in (told, quiet):
        for _ in range(50):
            backlog.add("x" * 100)
    for _ in range(5):
        quiet.answered()
    assert turns(quiet) == turns(told) - 5


def test_the_wait_is_bounded() -> None:
    backlog = Backlog()
    for _ in range(100_000):
        backlog.add("x" * 1000)
    assert turns(backlog) == 1000
