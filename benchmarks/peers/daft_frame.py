"""Daft: download, decode, a batch UDF, write; with the documentation's encoder, or with clipflow's in its place.

    python -m benchmarks.peers.daft_frame LIST CHECKPOINT TABLE processor|clipflow

`processor` decodes by Daft and embeds by Hugging Face in fp32. `clipflow` hands the bytes to clipflow's decode,
preprocessing and encoder: what is then left between the two is the engine.
"""

import sys

import daft
import numpy as np
from daft import DataType, Series, col
from daft.functions import decode_image, download
from PIL import Image

from benchmarks.peers.common import BATCH, arguments, unit

_DIM = 512
_VECTOR = DataType.fixed_size_list(DataType.float32(), _DIM)
_PIXELS = 100_000_000


# In this process: weights are loaded once, and no picture is copied to another.
@daft.cls(use_process=False, max_concurrency=1)
class Processor:
    """Hugging Face's processor and model."""

    def __init__(self, checkpoint: str) -> None:
        import torch

        from benchmarks.peers.hugging_face import loaded

        self._embed = loaded(checkpoint, torch.float32)

    @daft.method.batch(return_dtype=_VECTOR, batch_size=BATCH)
    def embed(self, pictures: Series) -> np.ndarray:
        """Decoded pictures to vectors."""
        return unit(self._embed([Image.fromarray(np.asarray(one)) for one in pictures.to_pylist()]))


@daft.cls(use_process=False, max_concurrency=1)
class Clipflow:
    """clipflow's encoder."""

    def __init__(self, checkpoint: str) -> None:
        import torch

        from clipflow.encoders import load_encoder
        from clipflow.spec import EncoderSpec

        torch.set_num_threads(1)
        self._encoder = load_encoder(EncoderSpec(model=checkpoint), texts=False)

    @daft.method.batch(return_dtype=_VECTOR, batch_size=BATCH)
    def embed(self, files: Series) -> np.ndarray:
        """Bytes to vectors."""
        from clipflow.decode import decode

        made = [self._encoder.preprocess(decode(data, _PIXELS).rgb) for data in files.to_pylist()]
        return self._encoder.encode_pixels(np.stack(made))


def main() -> None:
    """One row per photograph."""
    uris, checkpoint, table = arguments()
    files = daft.from_pydict({"source_uri": uris}).with_column("file", download(col("source_uri")))
    if sys.argv[4] == "clipflow":
        made = Clipflow(checkpoint).embed(col("file"))
    else:
        made = Processor(checkpoint).embed(decode_image(col("file"), mode="RGB"))
    files.with_column("vector", made).select("source_uri", "vector").write_lance(table)


if __name__ == "__main__":
    main()
