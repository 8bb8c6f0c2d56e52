"""What the demo encoder cannot do, in figures: `python -m clipflow.demo.limits clipflow/demo/encoder`.

The model card's second table comes from here. A card that lists only what works would let a reader take the demo's
encoder for more than it is.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipflow.demo.drawings import COLOURS, RGB, SHAPES, TEMPLATES, describe, draw, shape_mask
from clipflow.demo.train import PAIRS, embed_images, embed_texts

SEED = 31337
COUNT = 512
_GREY: RGB = (228, 228, 228)
_OTHER_COLOURS = ("crimson", "tangerine", "golden", "emerald", "azure", "violet", "rose", "jet")
_OTHER_SHAPES = ("disc", "box", "pyramid", "asterisk", "valentine", "plus", "donut", "moon")
_PHOTOGRAPHS = ("astronaut", "coffee", "cat", "rocket", "hubble_deep_field", "camera", "coins", "page", "text", "moon")


class Probe:
    """One encoder, asked questions outside of what it was taught."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        self.prepare = CLIPImageProcessorPil.from_pretrained(folder)
        self.rng = np.random.default_rng(SEED)
        self.truth = np.arange(COUNT) % len(PAIRS)
        texts = [self.read([describe(template, *pair) for template in TEMPLATES]) for pair in PAIRS]
        self.classes = normalize(torch.stack(texts).mean(1), dim=-1)

    def look(self, pictures: list[Image.Image]) -> Tensor:
        """The pictures' unit vectors."""
        return embed_images(self.model, self.prepare(pictures, return_tensors="pt")["pixel_values"])

    def read(self, texts: list[str]) -> Tensor:
        """The texts' unit vectors."""
        with torch.inference_mode():
            return embed_texts(self.model, self.tokenizer, texts)

    def measure(self) -> dict[str, Any]:
        """Every figure of the card's second table."""
        usual = self.look([draw(self.rng, *PAIRS[index]) for index in self.truth])
        nearest = (usual @ self.classes.T).max(1).values.numpy()
        wordy = self.read([f"please find every {shape} painted in {colour} that we have" for colour, shape in PAIRS])
        colours = self.read([f"a picture of a {other} {shape}" for other in _OTHER_COLOURS for shape in SHAPES])
        shapes = self.read([describe(TEMPLATES[1], colour, other) for colour in COLOURS for other in _OTHER_SHAPES])
        side = len(SHAPES)
        return {
            "usual": self._right(usual, self.classes),
            "usual_cosine_p05_p50": [round(float(v), 3) for v in np.quantile(nearest, [0.05, 0.5])],
            "untaught_wording": self._right(usual, wordy),
            "other_colour_words": float((_picked(usual, colours) // side == self.truth // side).mean()),
            "other_shape_words": float((_picked(usual, shapes) % side == self.truth % side).mean()),
            "coloured_ground": self._right(
                self.look([self._on_colour(int(index)) for index in self.truth]), self.classes
            ),
            "two_side_by_side_names_either": self._two_shapes(256),
            "left_or_right": self._left_or_right(),
            "one_or_two": self._one_or_two(),
            "photographs": self._photographs(),
        }

    def _right(self, vectors: Tensor, classes: Tensor) -> float:
        return float((_picked(vectors, classes) == self.truth).mean())

    def _paint(self, pair: tuple[str, str], ground: RGB, places: list[tuple[float, float, float]]) -> Image.Image:
        picture = Image.new("RGB", (128, 128), ground)
        for across, down, radius in places:
            turn = float(self.rng.uniform(0, 2 * np.pi))
            mask = shape_mask(pair[1], picture.size, (across, down), radius, turn)
            picture.paste(COLOURS[pair[0]], (0, 0), mask)
        return picture

    def _on_colour(self, index: int) -> Image.Image:
        others = [rgb for name, rgb in COLOURS.items() if name != PAIRS[index][0]]
        ground = others[int(self.rng.integers(len(others)))]
        return self._paint(PAIRS[index], ground, [(64, 64, 128 * float(self.rng.uniform(0.26, 0.42)))])

    def _two_shapes(self, count: int) -> float:
        pictures, named = [], []
        for _ in range(count):
            both = [int(index) for index in self.rng.choice(len(PAIRS), 2, replace=False)]
            picture = Image.new("RGB", (256, 256), _GREY)
            for place, index in enumerate(both):
                drawing = draw(self.rng, *PAIRS[index])
                edge = min(drawing.size)
                left, top = (drawing.width - edge) // 2, (drawing.height - edge) // 2
                square = drawing.crop((left, top, left + edge, top + edge)).resize((128, 128))
                picture.paste(square, (128 * place, 64))
            pictures.append(picture)
            named.append(both)
        picked = _picked(self.look(pictures), self.classes)
        return float(np.mean([index in both for index, both in zip(picked, named, strict=True)]))

    def _left_or_right(self) -> float:
        left = self.rng.random(COUNT) < 0.5
        pairs = [PAIRS[index] for index in self.truth]
        places = [(38.0 if on_left else 90.0, 64.0, 32.0) for on_left in left]
        vectors = self.look([self._paint(pair, _GREY, [at]) for pair, at in zip(pairs, places, strict=True)])
        return self._prefers(
            vectors,
            [describe("a {colour} {shape} on the left", *pair) for pair in pairs],
            [describe("a {colour} {shape} on the right", *pair) for pair in pairs],
            left,
        )

    def _one_or_two(self) -> float:
        one = self.rng.random(COUNT) < 0.5
        pairs = [PAIRS[index] for index in self.truth]
        single, double = [(64.0, 64.0, 28.0)], [(34.0, 64.0, 28.0), (94.0, 64.0, 28.0)]
        painted = [
            self._paint(pair, _GREY, single if alone else double) for pair, alone in zip(pairs, one, strict=True)
        ]
        plurals = [f"two {colour} {shape}{'es' if shape == 'cross' else 's'}" for colour, shape in pairs]
        return self._prefers(self.look(painted), [f"one {colour} {shape}" for colour, shape in pairs], plurals, one)

    def _prefers(self, vectors: Tensor, first: list[str], second: list[str], truth: NDArray[np.bool_]) -> float:
        closer = (vectors * self.read(first)).sum(1) > (vectors * self.read(second)).sum(1)
        return float((closer.numpy() == truth).mean())

    def _photographs(self) -> dict[str, str]:
        # Only developers have scikit-image, and only it brings photographs along; the rest does not need it.
        try:
            from skimage import data
        except ImportError:
            return {}
        pictures = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in _PHOTOGRAPHS]
        best = (self.look(pictures) @ self.classes.T).max(1)
        answers = zip(_PHOTOGRAPHS, best.values.tolist(), best.indices.tolist(), strict=True)
        return {name: f"{' '.join(PAIRS[index])} {cosine:.2f}" for name, cosine, index in answers}


def _picked(vectors: Tensor, classes: Tensor) -> NDArray[np.int64]:
    picked: NDArray[np.int64] = (vectors @ classes.T).argmax(1).numpy()
    return picked


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(Probe(parser.parse_args().folder).measure(), indent=1) + "\n")
