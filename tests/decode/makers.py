"""Files written byte by byte, so that what they show is known without the decoder that is tested."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def scene(width: int = 48, height: int = 40) -> Pixels:
    """uint8 [height, width, 3] in which turning, inverting and blanking show."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    picture = np.stack([across, down, np.full_like(across, 40)], -1).astype(np.uint8)
    picture[: height // 4, : width // 4] = (250, 30, 30)
    return picture


def grey(width: int = 48, height: int = 40) -> Pixels:
    """uint8 [height, width], of all values, and no two rows alike."""
    return (np.arange(width * height).reshape(height, width) * 7 // 5 % 256).astype(np.uint8)


def packed(samples: npt.NDArray[np.integer], bits: int, order: Literal["<", ">"] = ">", turned: bool = False) -> bytes:
    """Rows of samples [height, width or width * count] as bits, each row from a new byte; 8, 16 and 32 in an order."""
    if bits % 8 == 0:
        data = samples.astype(f"{order}u{bits // 8}").tobytes()
    else:
        places = np.arange(bits - 1, -1, -1)
        rows = (samples[..., None] >> places & 1).astype(np.uint8).reshape(len(samples), -1)
        data = np.packbits(rows, axis=1).tobytes()
    if turned:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    return data


Tags = Mapping[int, Sequence[int] | bytes]


def tiff(
    tags: Tags,
    parts: Sequence[bytes],
    order: Literal["<", ">"] = "<",
    *,
    big: bool = False,
    below: Sequence[tuple[Tags, Sequence[bytes]]] = (),
) -> bytes:
    """A TIFF of one directory, with others below it.

    Args:
        tags: Values by tag; numbers become SHORT where they fit. Places (273 or 324) are filled in.
        parts: Strips or tiles.
        big: BigTIFF.
        below: Tags and parts of the directories that tag 330 names.
    """
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    first = dict(tags)
    if below:  # Where the others are hangs on the length of the first, which does not hang on that.
        first[330] = [0] * len(below)
        at = len(head) + len(_directory(first, parts, order, big, len(head)))
        places = []
        for more, pieces in below:
            places.append(at)
            at += len(_directory(more, pieces, order, big, at))
        first[330] = places
    made = head + _directory(first, parts, order, big, len(head))
    for more, pieces in below:
        made += _directory(more, pieces, order, big, len(made))
    return made


def _directory(tags: Tags, parts: Sequence[bytes], order: str, big: bool, at: int) -> bytes:
    """One directory that stands at a place, and behind it what it names."""
    wide, form = (8, "Q") if big else (4, "I")
    start = at + (8 if big else 2) + (20 if big else 12) * len(tags) + wide
    body, places = b"", []
    for part in parts:
        places.append(start + len(body))
        body += part + bytes(len(part) % 2)
    entries = b""
    for tag, values in sorted(tags.items()):
        if isinstance(values, bytes):
            kind, count, data = 7, len(values), values
        else:
            numbers = places if tag in (273, 324) and not values else values
            kind = 4 if tag in (273, 324, 330) or max(numbers, default=0) > 0xFFFF else 3
            count, data = (
                len(numbers),
                b"".join(struct.pack(order + ("H" if kind == 3 else "I"), value) for value in numbers),
            )
        entries += struct.pack(order + "HH" + form, tag, kind, count)
        if len(data) <= wide:
            entries += data.ljust(wide, b"\0")
        else:
            entries += struct.pack(order + form, start + len(body))
            body += data + bytes(len(data) % 2)
    return struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(wide) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: npt.NDArray[np.integer],
    bits: int,
    colour: int,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
    filtered: bool = True,
    end: bool = True,
) -> bytes:
    """A PNG of samples [height, width, count].

    Args:
        before: Chunks before the pixels; `after` those behind them.
        filtered: Rows are stored as differences (filters 1 to 4 in turn) where they have whole bytes.
    """
    height, width, count = samples.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    step = max(1, bits * count // 8)
    data = b""
    for top, left, down, across in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::across]
        if not part.size:
            continue
        rows = packed(part.reshape(len(part), -1), bits)
        length = len(rows) // len(part)
        above = bytes(length)
        for i in range(len(part)):
            row = rows[i * length : (i + 1) * length]
            kind = i % 5 if filtered and bits >= 8 else 0
            data += bytes([kind]) + _filter(row, above, step, kind)
            above = row
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    made = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(data)) + after
    return made + (chunk(b"IEND", b"") if end else b"")


def _filter(row: bytes, above: bytes, step: int, kind: int) -> bytes:
    here = np.frombuffer(row, np.uint8).astype(int)
    up = np.frombuffer(above, np.uint8).astype(int)
    left = np.concatenate([np.zeros(step, int), here[:-step]])
    corner = np.concatenate([np.zeros(step, int), up[:-step]])
    guess = left + up - corner
    near = np.where(
        (abs(guess - left) <= abs(guess - up)) & (abs(guess - left) <= abs(guess - corner)),
        left,
        np.where(abs(guess - up) <= abs(guess - corner), up, corner),
    )
    guesses = np.stack([0 * here, left, up, (left + up) // 2, near])
    stored: bytes = ((here - guesses[kind]) % 256).astype(np.uint8).tobytes()
    return stored


def bmp(
    pixels: bytes,
    size: tuple[int, int],
    bits: int = 32,
    header: int = 40,
    compression: int = 0,
    masks: Sequence[int] = (),
    palette: bytes = b"",
) -> bytes:
    """A bitmap of rows as they are stored, bottom first; masks stand behind a header of 40 bytes, else within it."""
    width, height = size
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        colours = len(palette) // 4
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours, 0
        )
        info = (info + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0")
    at = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + palette + pixels
