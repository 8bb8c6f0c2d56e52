"""From the bytes of one image to what its row says of the picture, and to the pixels of the model."""

from typing import Any, cast

from clipflow.assignment import Assignment
from clipflow.decode import decode
from clipflow.encoders import load_preprocess
from clipflow.encoders.base import Drafting
from clipflow.measures import measure_detail, measure_shape
from clipflow.policy.check import details_read


class ToPixels:
    """decode ▸ measure ▸ preprocess."""

    def __init__(self, assignment: Assignment) -> None:
        self._most = assignment.spec.limits.max_pixels
        self._preprocess = load_preprocess(assignment.info)
        drafts = assignment.info.decode == "draft" and isinstance(self._preprocess, Drafting)
        self._drafting = cast(Drafting, self._preprocess) if drafts else None
        # A draft does not tell them, and a rule may not be told something else.
        self._details = bool(details_read(assignment.spec.policy))

    def __call__(self, data: bytes) -> dict[str, Any]:
        """The columns of the picture, and `pixels` with their height and width.

        Raises:
            ImageFailure: The bytes cannot be decoded.
        """
        drafting = self._drafting
        decoded = decode(data, self._most, drafting.needed if drafting else None)
        height, width = decoded.height, decoded.width
        row: dict[str, Any] = {"media_type": decoded.media_type, "width": width, "height": height}
        row |= measure_shape(height, width, len(data)) | {"damaged": float(decoded.damaged)}
        if not decoded.drafted:
            row |= measure_detail(decoded.rgb)
        elif self._details:
            row |= measure_detail(decode(data, self._most).rgb)
        pixels = drafting(decoded.rgb, (height, width)) if drafting else self._preprocess(decoded.rgb)
        return row | {"pixels": pixels.tobytes(), "pixels_height": pixels.shape[0], "pixels_width": pixels.shape[1]}
