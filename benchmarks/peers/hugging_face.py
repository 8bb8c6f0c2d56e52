"""A loop written by hand over Hugging Face's processor and model, as its documentation shows.

    python -m benchmarks.peers.hugging_face LIST CHECKPOINT TABLE one|fp32|bf16

`one` takes a picture at a time, the others 32.
"""

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

from benchmarks.peers.common import BATCH, arguments, read, read_all, write

Embed = Callable[[Sequence[Image.Image]], np.ndarray]

_DTYPES = {"one": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


def loaded(checkpoint: str, dtype: torch.dtype) -> Embed:
    """Pictures to vectors float32 [N, dim], not normalised."""
    torch.set_num_threads(1)
    # Without torchvision this backend is what one gets; named, so that it stays the same.
    processor = AutoProcessor.from_pretrained(checkpoint, backend="pil")
    # The types of `to` know a device only.
    untyped: Any = CLIPModel.from_pretrained(checkpoint)
    model = untyped.to(dtype).eval()

    @torch.inference_mode()
    def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
        inputs = processor(images=list(pictures), return_tensors="pt")
        made = model.get_image_features(pixel_values=inputs["pixel_values"].to(dtype)).pooler_output
        vectors: np.ndarray = made.float().numpy()
        return vectors

    return embed


def picture(data: bytes) -> Image.Image:
    """Decoded, RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def main() -> None:
    """One row per photograph."""
    uris, checkpoint, table = arguments()
    embed = loaded(checkpoint, _DTYPES[sys.argv[4]])
    if sys.argv[4] == "one":
        write(uris, [embed([picture(read(uri))]) for uri in uris], table)
        return
    parts = []
    for first in range(0, len(uris), BATCH):
        parts.append(embed([picture(data) for data in read_all(uris[first : first + BATCH])]))
    write(uris, parts, table)


if __name__ == "__main__":
    main()
