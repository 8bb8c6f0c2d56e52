"""Calling a function in a process of its own."""

import multiprocessing
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Given = TypeVarTuple("Given")
Result = TypeVar("Result")


def apart(work: Callable[[*Given], Result], *given: *Given) -> Result:
    """Call it in a fresh process, whose peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)
