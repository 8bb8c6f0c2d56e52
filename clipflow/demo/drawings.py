"""Pictures of one coloured shape each, drawn by rule, with captions that are true of them.

They stand in for a photo library where there is none: the demo encoder learns from them, and the demo catalogue is
made of them. Everything follows from the generator that is passed in, so equal seeds give equal pixels.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: Final[dict[str, RGB]] = {
    "red": (214, 32, 36),
    "orange": (247, 136, 16),
    "yellow": (248, 222, 34),
    "green": (34, 152, 60),
    "blue": (30, 82, 212),
    "purple": (124, 42, 166),
    "pink": (248, 146, 194),
    "black": (18, 18, 20),
}
SHAPES: Final[tuple[str, ...]] = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
TEMPLATES: Final[tuple[str, ...]] = (
    "a {colour} {shape}",
    "a picture of a {colour} {shape}",
    "a drawing of a {colour} {shape}",
    "a photo of a {colour} {shape}",
    "one {colour} {shape} on a plain background",
    "a {shape} that is {colour}",
    "the {shape} is {colour}",
)

_SUPERSAMPLE = 3
# A black crescent on a charcoal wall would have a caption that nobody could check, so such pairs are drawn again.
_MIN_CONTRAST = 95.0


def draw(rng: np.random.Generator, colour: str, shape: str) -> Image.Image:
    """One RGB picture, 80 to 256 pixels on its short side, of `shape` in a shade of `colour`."""
    short = int(rng.integers(80, 257))
    long = min(256, round(short * float(rng.uniform(1.0, 1.5))))
    width, height = (short, long) if rng.random() < 0.5 else (long, short)
    fill = _shade(rng, colour)
    ground = _background(rng, width, height, fill)

    # The shape stays inside the central square: models that crop to a square must still see what the caption says.
    radius = float(rng.uniform(0.24, 0.44)) * short
    slack = max(0.0, short / 2 - radius * 1.05)
    centre = (width / 2 + float(rng.uniform(-slack, slack)), height / 2 + float(rng.uniform(-slack, slack)))
    turn = float(rng.uniform(0.0, math.tau))
    picture = Image.fromarray(ground)
    picture.paste(fill, (0, 0), shape_mask(shape, (width, height), centre, radius, turn))

    if rng.random() < 0.3:
        body, hole = _outline(shape)
        body_px, hole_px = _place(body, centre, radius, turn), _place(hole, centre, radius, turn)
        edge = Image.new("L", (width * _SUPERSAMPLE, height * _SUPERSAMPLE), 0)
        line = ImageDraw.Draw(edge)
        thickness = max(2, round(radius * _SUPERSAMPLE * float(rng.uniform(0.03, 0.09))))
        for ring in _rims(shape, body_px, hole_px):
            line.line([*ring, ring[0], ring[1]], fill=255, width=thickness, joint="curve")
        tone = (245, 245, 245) if rng.random() < 0.4 else (40, 40, 40)
        picture.paste(tone, (0, 0), edge.resize((width, height), Image.Resampling.BOX))
    return picture


def shape_mask(shape: str, size: tuple[int, int], centre: Point, radius: float, turn: float) -> Image.Image:
    """Where `shape` covers a picture of `size`, with soft edges; `turn` is in radians."""
    body, hole = _outline(shape)
    mask = Image.new("L", (size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE), 0)
    pen = ImageDraw.Draw(mask)
    pen.polygon(_place(body, centre, radius, turn), fill=255)
    if hole:
        pen.polygon(_place(hole, centre, radius, turn), fill=0)
    return mask.resize(size, Image.Resampling.BOX)


def caption(rng: np.random.Generator, colour: str, shape: str) -> str:
    """One of the templates, filled in."""
    return describe(TEMPLATES[int(rng.integers(len(TEMPLATES)))], colour, shape)


def describe(template: str, colour: str, shape: str) -> str:
    """`template` filled in, with "an" before a vowel."""
    article = "an " if colour.startswith(tuple("aeiou")) else "a "
    return template.replace("a {colour}", article + "{colour}").format(colour=colour, shape=shape)


def _shade(rng: np.random.Generator, colour: str) -> RGB:
    shaded = np.array(COLOURS[colour], dtype=np.float64) * rng.uniform(0.9, 1.08) + rng.uniform(-9.0, 9.0, size=3)
    red, green, blue = (int(v) for v in np.clip(shaded, 0, 255))
    return red, green, blue


def _background(rng: np.random.Generator, width: int, height: int, fill: RGB) -> NDArray[np.uint8]:
    """A plain, graded or noisy ground, greyish so that the shape is the only thing with a colour to name."""
    while True:
        start, end = _grey(rng), _grey(rng)
        if min(float(np.linalg.norm(tone - np.array(fill))) for tone in (start, end)) > _MIN_CONTRAST:
            break
    kind = rng.choice(["plain", "gradient", "grain", "cloud"])
    across, down = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
    if kind == "gradient":
        angle = float(rng.uniform(0.0, math.tau))
        blend = np.clip(0.5 + 0.75 * (across * math.cos(angle) + down * math.sin(angle)), 0.0, 1.0)[..., None]
        # Two ends on either side of the fill's own grey would meet it half way; a short step between them cannot.
        end = start + (end - start) * (1.0 if np.dot(start - fill, end - fill) > 0 else 0.15)
        pixels = start * (1.0 - blend) + end * blend
    else:
        pixels = np.broadcast_to(start, (height, width, 3)).copy()
    if kind == "grain":
        pixels = pixels + rng.normal(0.0, float(rng.uniform(4.0, 22.0)), size=(height, width, 1))
    if kind == "cloud":
        coarse = rng.integers(0, 256, size=(6, 6), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        swing = np.asarray(smooth, dtype=np.float64)[..., None] / 255.0 - 0.5
        pixels = pixels + swing * float(rng.uniform(20.0, 60.0))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _grey(rng: np.random.Generator) -> NDArray[np.float64]:
    light = rng.uniform(175.0, 250.0) if rng.random() < 0.6 else rng.uniform(20.0, 150.0)
    return np.clip(light + rng.uniform(-10.0, 10.0, size=3), 0, 255)


def _arc(radius: float, steps: int = 72, shift: float = 0.0) -> list[Point]:
    angles = [math.tau * i / steps for i in range(steps)]
    return [(shift + radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _outline(shape: str) -> tuple[list[Point], list[Point]]:
    """Body and hole of a shape as polygons within the unit circle."""
    match shape:
        case "circle":
            return _arc(0.9), []
        case "square":
            return _arc(1.0, 4), []
        case "triangle":
            return _arc(1.0, 3), []
        case "star":
            spokes = [1.0 if i % 2 == 0 else 0.42 for i in range(10)]
            return [(s * math.cos(math.pi * i / 5), s * math.sin(math.pi * i / 5)) for i, s in enumerate(spokes)], []
        case "heart":
            turns = [math.tau * i / 72 for i in range(72)]
            return [
                (
                    0.058 * 16 * math.sin(t) ** 3,
                    -0.058 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
                )
                for t in turns
            ], []
        case "cross":
            arm, reach = 0.3, 0.92
            quarter = [(reach, -arm), (reach, arm), (arm, arm)]
            return [_turned(p, math.pi / 2 * k) for k in range(4) for p in quarter], []
        case "ring":
            return _arc(0.95), _arc(0.55)
        case "crescent":
            return _arc(0.95), _arc(0.78, shift=0.42)
        case _:
            raise ValueError(f"no shape named {shape!r}; there are {', '.join(SHAPES)}")


def _rims(shape: str, body: list[Point], hole: list[Point]) -> list[list[Point]]:
    """The closed lines that an outline follows."""
    if shape != "crescent":
        return [body, hole] if hole else [body]
    # A crescent's two circles cross, so the rim is what each leaves of the other.
    middle, bite = np.mean(body, axis=0), np.mean(hole, axis=0)
    reach, bite_reach = math.dist(body[0], middle), math.dist(hole[0], bite)
    outer = [i for i, p in enumerate(body) if math.dist(p, bite) > bite_reach]
    inner = [i for i, p in enumerate(hole) if math.dist(p, middle) < reach]
    return [_unbroken(body, outer) + _unbroken(hole, inner)[::-1]]


def _unbroken(points: list[Point], kept: list[int]) -> list[Point]:
    """The kept points of a closed line in the order they follow each other, the gap between them left at the ends."""
    first = next(k for i, k in enumerate(kept) if (k - 1) % len(points) != kept[i - 1])
    return [points[(first + i) % len(points)] for i in range(len(kept))]


def _turned(point: Point, angle: float) -> Point:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _place(points: list[Point], centre: Point, radius: float, turn: float) -> list[Point]:
    turned = (_turned(point, turn) for point in points)
    return [((centre[0] + radius * x) * _SUPERSAMPLE, (centre[1] + radius * y) * _SUPERSAMPLE) for x, y in turned]
