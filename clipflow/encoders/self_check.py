"""The self-check at load: one picture and one text by our path and by the library's own, before the first image.

A checkpoint whose files ask for something that is computed otherwise here would fill a table with vectors that look
right and are not. Three forwards of one picture tell.
"""

from typing import TYPE_CHECKING

import numpy as np

from clipflow.encoders.base import Pixels, Vectors
from clipflow.errors import EncoderError

if TYPE_CHECKING:
    from clipflow.encoders.torch_towers import TorchEncoder

LEAST_COSINE = 0.9995
"""Between our way and the library's, both in fp32: resized pixels may differ by one grey level."""
LEAST_COSINE_HALF = 0.99
"""Between half precision and fp32; trained checkpoints keep 0.999, random ones less."""
_LEAST_COSINE_PACKED = 0.999
"""Between packed layers and plain ones, both in bf16: another order of roundings, as between sizes of batches."""
_TEXT = "A photo of Two cups, and a spoon."
# Beside a longer one, a text is padded; alone it is not, wherever padding is to the longest.
_LONGER = "A photo of a kitchen with seven plates, " + _TEXT


def picture() -> Pixels:
    """The picture of the check: uint8 [333, 500, 3], slopes, edges and noise."""
    down, across = np.mgrid[0:333, 0:500]
    planes = [down * 255 // 332, across * 255 // 499, (down // 40 + across // 40) % 2 * 180]
    noise = np.random.default_rng(0).integers(0, 60, (333, 500, 3))
    return np.clip(np.stack(planes, axis=2) + noise, 0, 255).astype(np.uint8)


def check_image_side(encoder: "TorchEncoder", rgb: Pixels) -> Vectors:
    """Our vector of a picture in fp32, float32 [1, dim], once it is known to be the library's.

    Raises:
        EncoderError: It is another, or not finite.
    """
    ours = encoder.encode_pixels([encoder.preprocess(rgb)])
    given = encoder.library_pixels(rgb)
    _compare(encoder, "picture", ours, ours if given is None else encoder.image_vectors(given))
    return ours


def check_text_side(encoder: "TorchEncoder") -> None:
    """Raises EncoderError unless our vector of a text is the library's."""
    ours = encoder.encode_texts([_TEXT, _LONGER])[:1]
    given = encoder.library_tokens(_TEXT)
    _compare(encoder, "text", ours, ours if given is None else encoder.text_vectors(given))


def check_precision(encoder: "TorchEncoder", rgb: Pixels, exact: Vectors) -> Vectors:
    """The vector of a picture in the encoder's precision, float32 [1, dim], once it agrees with its own fp32.

    Raises:
        EncoderError: It does not.
    """
    made = encoder.encode_pixels([encoder.preprocess(rgb)])
    cosine = float((made * exact).sum())
    if not cosine >= LEAST_COSINE_HALF:
        raise EncoderError(
            f"{encoder.info.model} in {encoder.precision} has a cosine of {cosine:.4f} to itself in fp32.",
            "Set encoder.precision: fp32.",
        )
    return made


def still_gives(encoder: "TorchEncoder", rgb: Pixels, vector: Vectors) -> bool:
    """Whether an encoder, with packed layers by now, gives a picture's vector in its precision as before."""
    made = encoder.encode_pixels([encoder.preprocess(rgb)])
    return float((made * vector).sum()) >= _LEAST_COSINE_PACKED


def _compare(encoder: "TorchEncoder", what: str, ours: Vectors, theirs: Vectors) -> None:
    model = encoder.info.model
    if not np.isfinite(ours).all():
        raise EncoderError(
            f"{model} gives vectors that are not finite.", "Its weights are damaged: download the checkpoint again."
        )
    cosine = float((ours.astype(np.float64) * theirs).sum())
    if not cosine >= LEAST_COSINE:
        raise EncoderError(
            f"{model}: the vector of a {what} has a cosine of {cosine:.5f} to the one that {encoder.library} makes.",
            "Its files ask for something that clipflow computes otherwise; please report the model.",
        )
