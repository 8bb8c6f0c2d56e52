"""The main job on real photographs in the formats of the wild, against transformers' own code path."""

import io
from pathlib import Path

import lance
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoModel

import clipflow
from tests.catalogues import job, rows
from tests.pictures import files as pictures
from tests.tiny_models import tiny_clip, tiny_siglip


def reference(model: Path, files: list[Path]) -> np.ndarray:
    """Unit vectors [N, dim] as the library's documentation computes them, from RGB made by the stated policy."""
    processor = AutoImageProcessor.from_pretrained(model, backend="pil")
    network = AutoModel.from_pretrained(model).eval()
    images = []
    for file in files:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file.read_bytes())))
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        images.append(image.convert("RGB"))
    with torch.no_grad():
        vectors = network.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output.numpy()
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("build", [tiny_clip, tiny_siglip])
def test_every_format_is_embedded_as_the_library_would(tmp_path: Path, build: object, precision: str) -> None:
    torch.set_num_threads(1)
    model = build(tmp_path / "model")  # type: ignore[operator]
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in pictures().items():
        (folder / name).write_bytes(data)
    spec = job(
        folder,
        tmp_path / "t.lance",
        encoder={"model": str(model), "precision": precision},
        table={"vector": "float32"},
    )
    report = clipflow.run(spec, ray="none").document()
    assert report["embedded"] == report["listed"] == len(list(folder.iterdir()))
    found = sorted(rows(tmp_path / "t.lance").values(), key=lambda row: row["source_uri"])
    stored = np.array([row["vector"] for row in found])
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    files = [Path(row["source_uri"].removeprefix("file://")) for row in found]
    cosines = (stored * reference(model, files)).sum(axis=1)
    least = 0.9999 if precision == "fp32" else 0.999
    assert cosines.min() >= least, dict(zip([file.name for file in files], cosines.round(6), strict=True))
    card = lance.dataset(str(tmp_path / "t.lance")).schema.metadata[b"encoder"]
    assert b'"checkpoint_fp"' in card
