"""The drawings: the same from the same seed, of the promised sizes, and true to their captions."""

import numpy as np
import pytest

from clipflow.demo.drawings import COLOURS, SHAPES, TEMPLATES, caption, describe, draw

PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


def test_the_vocabulary_is_eight_by_eight_by_seven() -> None:
    assert (len(COLOURS), len(SHAPES), len(TEMPLATES)) == (8, 8, 7)


def test_equal_generators_draw_equal_pictures() -> None:
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    for pair in PAIRS:
        assert draw(first, *pair).tobytes() == draw(second, *pair).tobytes()
        assert caption(first, *pair) == caption(second, *pair)


@pytest.mark.parametrize("colour", COLOURS)
def test_sizes_and_colour(colour: str) -> None:
    rng = np.random.default_rng(11)
    for shape in SHAPES:
        picture = draw(rng, colour, shape)
        assert picture.mode == "RGB"
        assert 80 <= min(picture.size) <= max(picture.size) <= 256
        away = np.linalg.norm(np.asarray(picture, dtype=float) - np.array(COLOURS[colour]), axis=-1)
        assert (away < 50).mean() > 0.02


def test_captions_name_both() -> None:
    rng = np.random.default_rng(3)
    for colour, shape in PAIRS:
        words = caption(rng, colour, shape).split()
        assert colour in words
        assert shape in words
    assert describe("a photo of a {colour} {shape}", "orange", "star") == "a photo of an orange star"


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no shape named 'hexagon'.*crescent"):
        draw(np.random.default_rng(0), "red", "hexagon")
