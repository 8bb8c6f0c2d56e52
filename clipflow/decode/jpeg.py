"""JPEG: libjpeg-turbo without Pillow's copies where a file is sound, and what it takes for whole where it is not."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import simplejpeg
from PIL import Image

from clipflow.decode.colours import Pixels, in_bands

_END = b"\xff\xd9"
# Warnings that say nothing of pixels, and those that do.
_HARMLESS = re.compile("Invalid SOS parameters|unknown JFIF revision|Unknown Adobe color transform")
_GUESSED = re.compile("Corrupt JPEG data|remature end|Inconsistent progression")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
_SCAN, _HIERARCHY, _JPEG_LS = 0xDA, 0xDE, 0xF7
# Segments that are looked at: more are a trap.
_MOST = 100_000
# Comments and application segments, but for JFIF's and Adobe's, which tell colours.
_WORDS = frozenset({0xFE, 0xEF, *range(0xE1, 0xEE)})


def fast(data: bytes, image: Image.Image, least: Mapping[str, int]) -> tuple[Pixels | None, bool]:
    """The pixels as stored, and whether they are a guess.

    Args:
        data: The file.
        image: The same as Pillow opened it, in mode RGB, L or CMYK.
        least: The smallest height and width of a draft, by simplejpeg's names; empty for the whole picture.

    Returns:
        uint8 [height, width, 3]. None where only Pillow can tell: then the second value holds if it can.
    """
    complaint = ""
    for make in (bytes, _plain):
        tried = make(data)
        try:
            made = _libjpeg(tried, image, least)
        except ValueError as error:
            complaint = str(error)
            if _HARMLESS.search(complaint):
                return None, False
        else:
            return made, bool(image.info.get("progressive")) and not _has_all_scans(data)
    return None, _GUESSED.search(complaint) is not None or not has_end_mark(data)


def without_end_mark(data: bytes, image: Image.Image) -> Pixels | None:
    """The pixels of a picture that lacks nothing but its end mark, as `fast` gives them; None if it lacks more.

    Of arithmetic codes nobody can tell: behind their end they go on in zeros.
    """
    found = frame(data)
    if found is None or found[0] not in _HUFFMAN:
        return None
    for ended in (data + _END, _without_padding(data) + _END):
        try:
            made = _libjpeg(ended, image, {})
        except ValueError:
            continue
        if _has_all_scans(ended):
            return made
    return None


def _libjpeg(data: bytes, image: Image.Image, least: Mapping[str, int]) -> Pixels:
    """Raises ValueError for warnings, too."""
    if image.mode != "CMYK":
        made: Pixels = simplejpeg.decode_jpeg(data, "RGB", **least)
        return made
    # Pillow's assumption, which is Adobe's: inks are stored inverted.
    inks: Pixels = simplejpeg.decode_jpeg(data, "CMYK")
    return in_bands(Image.fromarray(np.invert(inks, out=inks), "CMYK"))


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment after the first mark, without the pixels behind a scan's; ends at EOI."""
    at = 2
    for _ in range(_MOST):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, start = found[0][1], found.start()
        at = found.end() if marker == 0xD9 else found.end() + int.from_bytes(data[start + 2 : start + 4], "big")
        yield marker, start, at
        if marker == 0xD9:
            return


def has_end_mark(data: bytes) -> bool:
    """Whether the first picture of the file has one."""
    return any(marker == 0xD9 for marker, _, _ in segments(data))


def frame(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Marker, bits, height, width and number of components of the first frame, if its length fits the last of them."""
    for marker, start, end in segments(data):
        body = data[start + 4 : end]
        if marker in _FRAMES or marker in (_HIERARCHY, _JPEG_LS):
            fits = len(body) >= 6 and len(body) == 6 + 3 * body[5]
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return (marker, body[0], height, width, body[5]) if fits else None
        if marker == _SCAN:
            break
    return None


def _plain(data: bytes) -> bytes:
    """The file without words (profiles that lie are warned of, too) and without padding before its end mark."""
    kept, at, body = [], 0, len(data)
    for marker, start, end in segments(data):
        if marker in _WORDS:
            kept.append(data[at:start])
            at = end
        elif marker == 0xD9:
            body = start
    return b"".join([*kept, _without_padding(data[at:body]), data[body:]])


def _without_padding(body: bytes) -> bytes:
    """What lies before an end mark, without repetitions of its last byte; two stay, which libjpeg does not mind."""
    last = body[-1:]
    bare = body.rstrip(last)
    return bare + last * min(2, len(body) - len(bare))


def _has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component is sent to its last bit: a file may be cut between two scans."""
    missing: dict[int, int] = {}  # By component a bit for each coefficient.
    first_scan = len(data)
    for marker, start, end in segments(data):
        body = data[start + 4 : end]
        if marker in _FRAMES and len(body) >= 6:
            missing = dict.fromkeys(body[6 : 6 + 3 * body[5] : 3], (1 << 64) - 1 if marker in (0xC2, 0xCA) else 1)
        elif marker == _SCAN:
            first_scan = start
            break
    marks = np.frombuffer(data, np.uint8, offset=first_scan)
    begun = np.flatnonzero(marks[:-1] == 0xFF)
    for at in (first_scan + begun[marks[begun + 1] == _SCAN])[:_MOST].tolist():
        count = data[at + 4] if at + 4 < len(data) else 0
        body = data[at + 5 : at + 8 + 2 * count]
        first, last, bits = (body[2 * count :] + bytes(3))[:3]
        sent = (2 << last) - (1 << first)
        for name in body[: 2 * count : 2]:
            if name in missing:
                missing[name] = missing[name] | sent if bits & 15 else missing[name] & ~sent
    return not any(missing.values())
