"""The codes of failed images: why an image has a row without a vector.

A *final* code is not tried again while the source object stays as it is.
A *passing* code is tried again by later runs, up to `limits.max_attempts`.
"""

FINAL = frozenset(
    {
        "empty",
        "not_an_image",
        "unsupported_format",
        "truncated",
        "corrupt",
        "too_many_pixels",
        "too_large",
        "blocked_address",
        "too_many_redirects",
        "encoder_nonfinite",
    }
)
PASSING = frozenset({"timeout", "network", "forbidden", "not_found"})
CODES = FINAL | PASSING


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
