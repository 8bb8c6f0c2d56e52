"""The codes of failed images: why an image has a row without a vector.

A *final* code is not tried again while the source object, and what the failure follows from, stay as they are.
A *passing* code is tried again by later runs, up to `limits.max_attempts`.
"""

_FINAL = {
    "empty": "no bytes",
    "not_an_image": "the bytes are no image, or the address is no regular file",
    "unsupported_format": "an image in a format or mode that is not decoded here",
    "truncated": "the file ends before it should",
    "corrupt": "the file cannot be decoded for another reason",
    "too_many_pixels": "more than `limits.max_pixels`",
    "too_large": "more than `limits.max_bytes`",
    "blocked_address": "an address that may not be fetched; http for now",
    "too_many_redirects": "for images over http, which come later",
    "encoder_nonfinite": "the encoder gave a vector that is not finite",
}
_PASSING = {
    "timeout": "storage did not answer in time",
    "network": "storage could not be reached",
    "forbidden": "access was refused",
    "not_found": "the object is gone",
}
NOT_FOUND = "not_found"
FINAL, PASSING = frozenset(_FINAL), frozenset(_PASSING)
CODES = FINAL | PASSING
MEANINGS = _FINAL | _PASSING
"""What each code says to people."""


LIMITS = {"too_many_pixels": "max_pixels", "too_large": "max_bytes"}
"""Codes that follow from a key of `limits`: a larger one may do better."""
DECODED = frozenset({"not_an_image", "unsupported_format", "truncated", "corrupt"})
"""Codes that follow from what the decoder can do: a higher revision of it may do better."""
OF_THE_BYTES = DECODED | LIMITS.keys() | {"empty"}
"""Codes that say something of the file alone, and nothing of storage, the network or the encoder."""


class ImageFailure(Exception):
    """One image cannot be had. Stages raise it, the flow turns it into a row with its code.

    Args:
        code: One of `CODES`.
    """

    def __init__(self, code: str) -> None:
        if code not in CODES:
            raise ValueError(f"{code!r} is no failure code")
        super().__init__(code)
        self.code = code

    def __reduce__(self) -> tuple[type["ImageFailure"], tuple[str]]:
        return (ImageFailure, (self.code,))
