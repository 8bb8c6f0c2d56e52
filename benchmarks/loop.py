"""What one would write by hand: a loop over Hugging Face's processor and model, and rows in a Lance table.

    python -m benchmarks.loop PHOTOGRAPHS CHECKPOINT TABLE fp32|bf16

It does no more than it must: no failures, no hashes, no provenance, no second run.
"""

import sys
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

_BATCH = 32
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@torch.inference_mode()
def embed(photographs: Path, checkpoint: Path, table: str, dtype: torch.dtype) -> None:
    """One row per photograph: its address, and its vector in float16 as clipflow stores it."""
    torch.set_num_threads(1)
    # Without torchvision this backend is what one gets; named, so that it stays the same.
    processor = AutoProcessor.from_pretrained(checkpoint, backend="pil")
    model = CLIPModel.from_pretrained(checkpoint).to(dtype).eval()
    paths = sorted(photographs.glob("*.jpg"))
    parts = []
    for first in range(0, len(paths), _BATCH):
        images = [Image.open(path).convert("RGB") for path in paths[first : first + _BATCH]]
        inputs = processor(images=images, return_tensors="pt")
        vectors = model.get_image_features(pixel_values=inputs["pixel_values"].to(dtype)).pooler_output.float()
        parts.append((vectors / vectors.norm(dim=1, keepdim=True)).numpy())
    made = np.concatenate(parts).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), made.shape[1])
    uris = pa.array([path.resolve().as_uri() for path in paths])
    lance.write_dataset(pa.table({"source_uri": uris, "vector": column}), table)


if __name__ == "__main__":
    embed(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], _DTYPES[sys.argv[4]])
