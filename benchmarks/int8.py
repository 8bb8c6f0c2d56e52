"""int8 by OpenVINO and NNCF: what it gives in speed, and what it costs in recall.

    python -m benchmarks.int8        # in the environment of `make bench`

Post-training quantisation of an exported image side, calibrated on pictures that are not searched. Recall@10: of
the ten nearest of every picture by vectors in fp32, how many are among its ten nearest by the others. The encoder
that ships is trained; ViT-B/32 has random weights, so that nothing is downloaded, and only its speed says much.
"""

import argparse
import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import nncf
import numpy as np
import openvino
from PIL import Image
from tabulate import tabulate

from benchmarks.checkpoint import build
from benchmarks.machine import described
from benchmarks.photographs import SIZES
from benchmarks.photographs import draw as draw_photographs
from clipflow.demo.drawings import COLOURS, SHAPES, draw
from clipflow.encoders import describe, load_encoder, load_preprocess
from clipflow.encoders.base import normalised
from clipflow.encoders.openvino_export import find_or_export

_BATCH, _NEAREST, _TURNS = 32, 10, 3
Pixels = np.ndarray
Ways = dict[str, Callable[[Pixels], np.ndarray]]


def main() -> None:
    """Quantise both, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description="int8: speed and recall.")
    parser.add_argument("--searched", type=int, default=2000, help="drawings searched (default 2000)")
    parser.add_argument("--photographs", type=int, default=400, help="photographs searched (default 400)")
    parser.add_argument("--calibration", type=int, default=300, help="pictures to calibrate on (default 300)")
    call = parser.parse_args()
    print(described(("openvino", "nncf", "torch", "transformers")), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        build(home / "vit-b-32")
        draw_photographs(home / "photographs", call.photographs + call.calibration, SIZES["640x480"])
        photographs = [Image.open(path).convert("RGB") for path in sorted((home / "photographs").iterdir())]
        drawings = _drawings(call.searched + call.calibration)
        for model, pictures in (("demo", drawings), (str(home / "vit-b-32"), photographs)):
            rows = _measured(model, pictures, call.calibration, home)
            print(f"\n{Path(model).name}, {len(pictures) - call.calibration} pictures searched\n")
            print(tabulate(rows, headers=_HEADERS, disable_numparse=True, tablefmt="github"), flush=True)


_HEADERS = ("", "images a CPU-second", "lowest cosine to fp32", "mean cosine", "recall@10")


def _drawings(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(7)
    colours, shapes = list(COLOURS), list(SHAPES)
    return [draw(rng, str(rng.choice(colours)), str(rng.choice(shapes))) for _ in range(count)]


def _measured(model: str, pictures: Sequence[Image.Image], calibration: int, home: Path) -> list[tuple[str, ...]]:
    info = describe(model)
    prepare = load_preprocess(info)
    pixels = np.stack([prepare(np.asarray(picture)) for picture in pictures])
    held, searched = pixels[:calibration], pixels[calibration:]
    exported = find_or_export(info, lambda: load_encoder(model, precision="fp32", device="cpu", texts=False))
    core = openvino.Core()
    quantised = home / "int8.xml"
    openvino.save_model(
        nncf.quantize(
            core.read_model(exported.model),
            nncf.Dataset([held[at : at + 1] for at in range(len(held))]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=calibration,
        ),
        quantised,
    )
    ways = {
        "fp32": _way(core, exported.model, openvino.Type.f32),
        "bf16": _way(core, exported.model, openvino.Type.bf16),
        "int8": _way(core, quantised, openvino.Type.f32),
        "int8, the rest bf16": _way(core, quantised, openvino.Type.bf16),
    }
    made, rates = _in_turns(ways, searched)
    exact = made["fp32"]
    return [
        (
            name,
            f"{rates[name]:.1f}",
            f"{(vectors * exact).sum(1).min():.4f}",
            f"{(vectors * exact).sum(1).mean():.4f}",
            f"{_recall(exact, vectors):.4f}",
        )
        for name, vectors in made.items()
    ]


def _way(core: openvino.Core, model: Path, hint: openvino.Type) -> Callable[[Pixels], np.ndarray]:
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def run(pixels: Pixels) -> np.ndarray:
        parts = [
            normalised(request.infer([pixels[at : at + _BATCH]])[0].copy()) for at in range(0, len(pixels), _BATCH)
        ]
        return np.concatenate(parts).astype(np.float64)

    return run


def _in_turns(ways: Ways, pixels: Pixels) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    made: dict[str, np.ndarray] = {}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run(pixels[:_BATCH])
    for _ in range(_TURNS):
        for name, run in ways.items():
            began = _cpu()
            made[name] = run(pixels)
            spent[name].append(_cpu() - began)
    return made, {name: len(pixels) / median(costs) for name, costs in spent.items()}


def _recall(exact: np.ndarray, vectors: np.ndarray) -> float:
    """Of the nearest by `exact`, the share that is among the nearest by `vectors`; the picture itself left out."""
    wanted, found = (_nearest(one) for one in (exact, vectors))
    shares = [len(set(a) & set(b)) / _NEAREST for a, b in zip(wanted.tolist(), found.tolist(), strict=True)]
    return float(np.mean(shares))


def _nearest(vectors: np.ndarray) -> np.ndarray:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1)[:, :_NEAREST]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
