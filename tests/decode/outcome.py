"""What becomes of a file: its pixels, or its code."""

from clipflow.decode import Decoded, decode
from clipflow.failures import ImageFailure
from tests.decode.makers import Pixels

ENOUGH = 10_000_000


def outcome(data: bytes) -> Decoded | str:
    """The picture, or the code of the failure."""
    try:
        return decode(data, ENOUGH)
    except ImageFailure as failure:
        return failure.code


def shown(data: bytes) -> Pixels | str:
    """The pixels, or the code."""
    got = outcome(data)
    return got if isinstance(got, str) else got.rgb


def picture(got: Pixels | str) -> Pixels:
    """The pixels, which there must be."""
    assert not isinstance(got, str), got
    return got


def code(data: bytes) -> str:
    """The code, which there must be."""
    got = outcome(data)
    assert isinstance(got, str), got
    return got
