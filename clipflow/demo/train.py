"""Train the demo encoder: `python -m clipflow.demo.train --out DIR --seed N --minutes M`.

One process draws pictures, this one learns from them. Every batch holds each colour and shape pair exactly once, so
no caption of a batch is true of another's picture. Learning-rate and stopping follow the clock: a slower machine
trains less and is still done in time, hence equal seeds repeat the data but not the last digits of the weights.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.logging import disable_progress_bar

from clipflow.demo.build import SIDE, build_image_processor, build_model, build_tokenizer
from clipflow.demo.drawings import COLOURS, SHAPES, TEMPLATES, describe, draw

PAIRS = list(itertools.product(COLOURS, SHAPES))
# Beside the evaluation's templates the text side hears how people type a search, one word at a time included.
PHRASINGS = (
    *TEMPLATES,
    "{colour} {shape}",
    "{shape}, {colour}",
    "a {colour} coloured {shape}",
    "{colour} {shape}s",
    "an image of a {colour} {shape}",
    "a {shape} in {colour}",
    "a photo depicts a {colour} {shape}",
)
COLOUR_ONLY = (
    "{colour}",
    "something {colour}",
    "a {colour} shape",
    "a picture of something {colour}",
    "a {colour} thing",
)
SHAPE_ONLY = ("{shape}", "a {shape}", "a picture of a {shape}", "{shape}s", "a photo of a {shape}")
ROUNDS = 256
_SHIFT = 4


def phrase(rng: np.random.Generator, templates: tuple[str, ...], colour: str, shape: str) -> str:
    """A caption by one of `templates`, with an English plural where the template asks for one."""
    text = describe(templates[int(rng.integers(len(templates)))], colour, shape)
    return text.replace("crosss", "crosses")


def draw_rounds(path: str, seed: int, done: "Synchronized[int]") -> None:
    """Fill the pool at `path` round by round; a round has one picture of every pair."""
    pool = np.memmap(path, dtype=np.uint8, mode="r+", shape=(ROUNDS, len(PAIRS), SIDE, SIDE, 3))
    rng, prepare = np.random.default_rng([seed, 1]), build_image_processor()
    for index in range(ROUNDS):
        pictures = [draw(rng, colour, shape) for colour, shape in PAIRS]
        # The model's own resize and crop, stopped before the normalisation, keeps the pool small and the pixels honest.
        pixels = prepare(pictures, do_normalize=False, do_rescale=False, return_tensors="np")["pixel_values"]
        pool[index] = np.clip(pixels, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        done.value = index + 1


def augment(rng: np.random.Generator, pictures: NDArray[np.uint8]) -> Tensor:
    """Quarter turns, mirroring, a small shift and a little light: nothing that a caption would notice."""
    padded = np.pad(pictures, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    changed = np.empty(pictures.shape, dtype=np.float32)
    for index, picture in enumerate(padded):
        top, left = rng.integers(0, 2 * _SHIFT + 1, size=2)
        cut = np.rot90(picture[top : top + SIDE, left : left + SIDE], int(rng.integers(4)))
        changed[index] = cut[:, ::-1] if rng.random() < 0.5 else cut
    gain = rng.uniform(0.93, 1.07, size=(len(pictures), 1, 1, 1)) * rng.uniform(
        0.98, 1.02, size=(len(pictures), 1, 1, 3)
    )
    return torch.from_numpy(np.clip(changed * gain.astype(np.float32), 0, 255).transpose(0, 3, 1, 2).copy())


def embed_texts(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Unit vectors of texts, with their gradient."""
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return normalize(model.get_text_features(**batch).pooler_output.float(), dim=-1)


def embed_images(model: Any, pixels: Tensor) -> Tensor:
    """Unit vectors of prepared pictures, without a gradient."""
    with torch.inference_mode():
        vectors = [model.get_image_features(pixel_values=part).pooler_output for part in torch.split(pixels, 128)]
    return normalize(torch.cat(vectors), dim=-1)


def zero_shot(model: Any, tokenizer: Any, vectors: Tensor, templates: tuple[str, ...]) -> NDArray[np.int64]:
    """The index into PAIRS that the texts give each picture's vector, by the mean of the templates' unit vectors."""
    with torch.inference_mode():
        texts = [embed_texts(model, tokenizer, [describe(template, *pair) for template in templates]) for pair in PAIRS]
        classes = normalize(torch.stack(texts).mean(1), dim=-1)
    picked: NDArray[np.int64] = (vectors @ classes.T).argmax(1).numpy()
    return picked


def held_out(prepare: Any, seed: int, count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Freshly drawn pictures that no training run with another seed has seen, and the index of each one's pair."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % len(PAIRS)
    pictures = [draw(rng, *PAIRS[index]) for index in truth]
    return prepare(pictures, return_tensors="pt")["pixel_values"], truth


def save(model: Any, tokenizer: Any, prepare: Any, out: Path) -> None:
    """Everything that `from_pretrained` needs, the weights as float16."""
    half: Any = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    prepare.save_pretrained(out)


def train(out: Path, seed: int, minutes: float) -> None:
    """Train for `minutes` of wall-clock time and leave the best model seen in `out`."""
    torch.set_num_threads(1)
    disable_progress_bar()
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    every_text = [describe(t, *p) for t in (*PHRASINGS, *COLOUR_ONLY, *SHAPE_ONLY) for p in PAIRS]
    tokenizer, prepare = build_tokenizer(every_text), build_image_processor()
    model: Any = build_model(tokenizer)
    heads = nn.ModuleList(nn.Linear(model.config.projection_dim, len(COLOURS) + len(SHAPES)) for _ in range(2))
    colour_of = torch.tensor([list(COLOURS).index(colour) for colour, _ in PAIRS])
    shape_of = torch.tensor([SHAPES.index(shape) for _, shape in PAIRS])
    weights = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": 0.05},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
    mean = torch.tensor(prepare.image_mean).view(1, 3, 1, 1)
    deviation = torch.tensor(prepare.image_std).view(1, 3, 1, 1)
    test_pixels, test_truth = held_out(prepare, seed + 1000, 512)
    print(
        f"parameters {sum(p.numel() for p in model.parameters())} vocabulary {len(tokenizer)} seed {seed}", flush=True
    )

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "pool"))
        pool = np.memmap(path, dtype=np.uint8, mode="w+", shape=(ROUNDS, len(PAIRS), SIDE, SIDE, 3))
        context = multiprocessing.get_context("spawn")
        done = context.Value("i", 0)
        artist = context.Process(target=draw_rounds, args=(path, seed, done), daemon=True)
        artist.start()
        while done.value < 8 and artist.is_alive():
            time.sleep(0.2)

        began, last_log, last_test, step, best = time.monotonic(), 0.0, 0.0, 0, -1.0
        while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, share / 0.03) * 0.5 * (1 + math.cos(math.pi * share)) + 1e-6
            pixels = augment(rng, pool[rng.integers(done.value, size=len(PAIRS)), np.arange(len(PAIRS))])
            texts = [phrase(rng, PHRASINGS, *pair) for pair in PAIRS]
            texts += [phrase(rng, COLOUR_ONLY, colour, "") for colour in COLOURS]
            texts += [phrase(rng, SHAPE_ONLY, "", shape) for shape in SHAPES]

            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen = model.get_image_features(pixel_values=(pixels / 255 - mean) / deviation)
                read = embed_texts(model, tokenizer, texts)
            scale = model.logit_scale.exp()
            logits = scale * normalize(seen.pooler_output.float(), dim=-1) @ read.T
            pairs, colours, shapes = logits.split([len(PAIRS), len(COLOURS), len(SHAPES)], dim=1)
            own = torch.arange(len(PAIRS))
            contrast = (cross_entropy(pairs, own) + cross_entropy(pairs.T, own)) / 2
            words = cross_entropy(colours, colour_of) + cross_entropy(shapes, shape_of)
            # Colour and shape by themselves are easier to find than their 64 products, so they lead the way there.
            hints = torch.zeros(())
            for head, view in zip(heads, (seen.pooler_output, seen.last_hidden_state[:, 1:].mean(1)), strict=True):
                by_colour, by_shape = head(view.float()).split([len(COLOURS), len(SHAPES)], dim=1)
                hints = hints + (cross_entropy(by_colour, colour_of) + cross_entropy(by_shape, shape_of)) / 2
            loss = contrast + 0.25 * words + 0.5 * hints
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100.0))
            step += 1

            spent = time.monotonic() - began
            if spent - last_log >= 10:
                last_log = spent
                print(
                    f"seconds {spent:.0f} step {step} loss {loss.item():.3f} contrast {contrast.item():.3f} "
                    f"hints {hints.item():.3f} temperature {scale.item():.1f} rounds {done.value}",
                    flush=True,
                )
            if spent - last_test >= 60 or spent >= 60 * minutes:
                last_test = spent
                accuracy = float(
                    (zero_shot(model, tokenizer, embed_images(model, test_pixels), TEMPLATES) == test_truth).mean()
                )
                print(f"seconds {spent:.0f} step {step} held-out zero-shot {accuracy:.4f}", flush=True)
                if accuracy >= best:
                    best = accuracy
                    save(model, tokenizer, prepare, out)
        artist.terminate()
        artist.join()
    print(f"finished: steps {step} best held-out {best:.4f} cpu minutes {sum(os.times()[:4]) / 60:.1f}", flush=True)
    print(json.dumps(measure(out, seed + 2000, 2048)), flush=True)


def measure(folder: Path, seed: int, count: int) -> dict[str, float]:
    """What the model card states, from the saved files and pictures of a seed that chose nothing."""
    model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    pixels, truth = held_out(CLIPImageProcessorPil.from_pretrained(folder), seed, count)
    vectors = embed_images(model, pixels)
    picked = zero_shot(model, tokenizer, vectors, TEMPLATES)
    figures = {"seed": seed, "count": count, "ensemble": float((picked == truth).mean())}
    figures["colour"] = float((picked // len(SHAPES) == truth // len(SHAPES)).mean())
    figures["shape"] = float((picked % len(SHAPES) == truth % len(SHAPES)).mean())
    singles = {t: float((zero_shot(model, tokenizer, vectors, (t,)) == truth).mean()) for t in TEMPLATES}
    return figures | singles | {"temperature": float(model.logit_scale.exp().item())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    train(options.out, options.seed, options.minutes)
