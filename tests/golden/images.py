"""The images behind the golden table: bytes that are the same for ever, whatever library of images is installed.

Drawn by hand as 24-bit BMP, out of sha256: an encoder of Pillow, zlib or numpy's random numbers may write other bytes
in another version, and then a test would see new images where nothing changed. **Nothing here may ever change**;
the table beside it remembers every byte.
"""

import csv
import hashlib
import io
import struct

BUCKET = "golden"
TABLE = f"s3://{BUCKET}/lake/catalog.lance"
LIST = "list.csv"
BLOCKS = 8

Blocks = list[tuple[int, int, int]]


def blocks(seed: int) -> Blocks:
    """Eight times eight colours."""
    data = b"".join(hashlib.sha256(f"{seed}/{part}".encode()).digest() for part in range(6))
    return [(data[at], data[at + 1], data[at + 2]) for at in range(0, 3 * BLOCKS * BLOCKS, 3)]


def bmp(colours: Blocks, width: int = 64, height: int = 48) -> bytes:
    """A bitmap of eight times eight plain blocks; width and height are multiples of eight."""
    rows = []
    for y in reversed(range(height)):
        line = [colours[y * BLOCKS // height * BLOCKS + x * BLOCKS // width] for x in range(width)]
        rows.append(b"".join(bytes((blue, green, red)) for red, green, blue in line))
    body = b"".join(rows)
    header = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 2835, 2835, 0, 0) + body


def first() -> dict[str, bytes]:
    """What the first run finds, by key."""
    # 48 pixels high: accepted. 40: in the queue. 32: rejected.
    heights = 8 * [48] + 4 * [40] + 3 * [32]
    found = {f"uploads/{number:02}.bmp": bmp(blocks(number), height=high) for number, high in enumerate(heights)}
    near = blocks(1)
    near[9] = (near[9][0] ^ 4, near[9][1], near[9][2])
    return found | {
        "uploads/copy of 0.bmp": found["uploads/00.bmp"],
        "uploads/near 1.bmp": bmp(near),
        "uploads/ä#1?.bmp": bmp(blocks(90)),
        "uploads/100%.bmp": bmp(blocks(91)),
        "uploads/%41+b.bmp": bmp(blocks(92)),
        "uploads/red.bmp": bmp(BLOCKS * BLOCKS * [(255, 0, 0)]),
        "uploads/blue.bmp": bmp(BLOCKS * BLOCKS * [(0, 0, 255)]),
        "uploads/empty.bmp": b"",
        "uploads/notes.bmp": b"no picture",
        "uploads/cut.bmp": bmp(blocks(93))[:4000],
        "uploads/large.bmp": bmp(blocks(94), 128, 96),
        "uploads/other.qoi": b"qoif" + 40 * b"\0",
    }


def later() -> dict[str, bytes]:
    """What was uploaded, or uploaded anew, before the second run."""
    return {
        "uploads/07.bmp": bmp(blocks(107)),
        "uploads/20.bmp": bmp(blocks(20)),
        "uploads/21.bmp": bmp(blocks(21), height=40),
        "uploads/22.bmp": bmp(blocks(22), height=32),
        "uploads/copy of 20.bmp": bmp(blocks(20)),
    }


MISSING = "uploads/missing.bmp"
FORGOTTEN = "uploads/06.bmp"


def manifest(keys: list[str]) -> bytes:
    """The list of the images with their captions and who uploaded them; one of them lies nowhere."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["uri", "caption", "uploader"])
    for number, key in enumerate([*keys, MISSING]):
        caption = f"{('red', 'blue', 'green')[number % 3]} blocks, no. {number}" if number % 4 else ""
        writer.writerow([f"s3://{BUCKET}/{key}", caption, ("ann", "bob", "Zoë", "")[number % 4]])
    return out.getvalue().encode()
