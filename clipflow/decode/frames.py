"""Frames: where the first frame of an animation lies on its canvas; outside it nothing is drawn."""

from PIL import Image

Box = tuple[int, int, int, int]


def first_frame(image: Image.Image, data: bytes) -> Box | None:
    """Left, top, right and bottom of a first frame outside which Pillow makes up a colour; before pixels are made.

    None where it knows better: where the frame fills the canvas, and where the file speaks of transparency.
    """
    box = None
    if image.format == "GIF" and "transparency" not in image.info:
        box = image.tile[0].extents  # type: ignore[attr-defined]
    elif image.format == "WEBP" and image.mode == "RGB":
        box = _webp_frame(data)
    return None if box == (0, 0, *image.size) else box


def _webp_frame(data: bytes) -> Box | None:
    at = 12
    while at + 24 <= len(data):
        if data[at : at + 4] == b"ANMF":
            left, top, width, height = (int.from_bytes(data[i : i + 3], "little") for i in range(at + 8, at + 20, 3))
            return (2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None
