"""Revision: which decoder made pixels, or gave up, so that a later one knows what to try again.

The revision is no part of `encoder_id`: rows of an older one stay valid, and people choose to read them again.
"""

from clipflow.decode.heif import heif_is_here

REVISION = 1
"""Goes up when other pixels, or other codes, are made of the same bytes. Rows of before have null, which is 0."""

CHANGED_IN = {
    "image/avif": 1,
    "image/bmp": 1,
    "image/gif": 1,
    "image/heic": 1,
    "image/jpeg": 1,
    "image/png": 1,
    "image/tiff": 1,
    "image/webp": 1,
}
"""By media type the revision that last changed pixels of files that decoded before; rows of older ones may differ.

1: orientations that stand in XMP alone are not applied, in all formats. BMP with an alpha of nothing but zeros is
opaque. GIF and WebP are white outside a first frame that is smaller than its canvas. PNG knows the transparent colour
of 16 bits. TIFF inverts 16-bit WhiteIsZero, spreads 12 bits, reads what is kept in planes, and shows no previews.
"""


def decoder_revision() -> int:
    """The revision of this machine: higher where HEIC is decoded, too, and still below that of the next release."""
    return 2 * REVISION + heif_is_here()
