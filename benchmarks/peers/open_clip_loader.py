"""open_clip behind a DataLoader, as clip-retrieval does it: one process decodes and transforms, one computes.

python -m benchmarks.peers.open_clip_loader LIST WEIGHTS TABLE

WEIGHTS is a file in open_clip's own layout, see `benchmarks.open_clip_weights`.
"""

import io
from collections.abc import Callable

import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.common import BATCH, arguments, read, write

_MODEL = "ViT-B-32-quickgelu"


class Photographs(Dataset[torch.Tensor]):
    """Addresses as transformed pictures."""

    def __init__(self, uris: list[str], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._uris, self._transform = uris, transform

    def __len__(self) -> int:
        return len(self._uris)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self._transform(Image.open(io.BytesIO(read(self._uris[at]))))


@torch.inference_mode()
def main() -> None:
    """One row per photograph."""
    uris, weights, table = arguments()
    torch.set_num_threads(1)
    model, _, transform = open_clip.create_model_and_transforms(_MODEL, pretrained=weights)
    model.eval()
    loader = DataLoader(Photographs(uris, transform), batch_size=BATCH, num_workers=1)
    write(uris, [model.encode_image(pixels, normalize=True).numpy() for pixels in loader], table)


if __name__ == "__main__":
    main()
