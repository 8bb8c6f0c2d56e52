"""PNG: what Pillow refuses for its texts, and the transparent colour of 16 bits, which Pillow takes for one of 8."""

import io
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

# Texts may hold megabytes in few bytes. EXIF is kept, which ImageMagick writes as a text.
_WORDS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_EXIF = (b"Raw profile type exif\0", b"exif\0")
# Pillow spreads grey of few bits over 8, and forgets its transparent value.
_SPREAD = {"L;2": 85, "L;4": 17}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def without_words(data: bytes) -> bytes:
    """The file without texts and colour profile, whatever they would grow to."""
    kept = [_SIGNATURE]
    for kind, start, end in _chunks(data):
        if kind not in _WORDS or data.startswith(_EXIF, start + 8):
            kept.append(data[start:end])
    return b"".join(kept)


def is_too_wordy(error: Exception) -> bool:
    """Whether Pillow gave up on a PNG for the size of its texts or of its profile."""
    return isinstance(error, ValueError) and "MAX_TEXT_" in str(error)


def prepare(image: PngImageFile, data: bytes) -> npt.NDArray[np.bool_] | None:
    """Set the transparent colour of an opened file right, before its pixels are made.

    Returns:
        Bool [height, width]: where pixels are transparent, if Pillow cannot tell.
    """
    key = image.info.get("transparency")
    stored = image.tile[0].args if image.tile else ""
    if key is None:
        return None
    if stored in _SPREAD:
        image.info["transparency"] = key * _SPREAD[stored] % 256
    if stored != "RGB;16B":
        return None
    del image.info["transparency"]
    return _transparent(data)


def _transparent(data: bytes) -> npt.NDArray[np.bool_]:
    """Bool [height, width]: where a PNG of RGB with 16 bits has the colour that its tRNS chunk names.

    Filters of rows look at bytes one pixel before or above, so high and low bytes are two pictures of 8 bits, and
    Pillow reads either. Rows of interlaced files differ in length; their seven pictures are halved one by one.
    """
    found = {kind: data[start + 8 : end - 4] for kind, start, end in _chunks(data) if kind in (b"IHDR", b"tRNS")}
    header, key = found[b"IHDR"], found[b"tRNS"]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    packed = b"".join(data[start + 8 : end - 4] for kind, start, end in _chunks(data) if kind == b"IDAT")
    passes = _ADAM7 if header[12] else [(0, 0, 1, 1)]
    sizes = [(-(-(height - top) // down), -(-(width - left) // across)) for left, top, across, down in passes]
    stream = np.frombuffer(zlib.decompressobj().decompress(packed, sum(h * (1 + 6 * w) for h, w in sizes)), np.uint8)
    halves: list[list[bytes]] = [[], []]
    at = 0
    for high, wide in sizes:
        if high <= 0 or wide <= 0:
            continue
        rows = stream[at : at + high * (1 + 6 * wide)].reshape(high, 1 + 6 * wide)
        at += rows.size
        for which in (0, 1):
            halves[which].append(np.hstack([rows[:, :1], rows[:, 1 + which :: 2]]).tobytes())
    mask = np.ones((height, width), bool)
    for which, parts in enumerate(halves):
        small = header[:8] + b"\x08" + header[9:]
        made = _SIGNATURE + _chunk(b"IHDR", small) + _chunk(b"IDAT", zlib.compress(b"".join(parts), 1))
        with Image.open(io.BytesIO(made + _chunk(b"IEND", b"")), formats=("PNG",)) as image:
            mask &= (np.asarray(image) == np.frombuffer(key[which:6:2], np.uint8)).all(-1)
    return mask


# Left, top, step across and step down of the pictures that an interlaced file is made of.
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk, length and checksum included; the last may end beyond the data."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
