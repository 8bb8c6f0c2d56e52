"""Ray Data as its documentation does batch inference on images: read_images, then actors with a processor and a model.

    python -m benchmarks.peers.ray_data LIST CHECKPOINT TABLE

Kinder than the recipe in one thing: the actor lets go of the pixels instead of sending them on. The recipe's own
`write_lance` does not work with this release of Lance, so rows are streamed to the driver, which writes them.
"""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import ray
import ray.data
from PIL import Image

from benchmarks.peers.common import BATCH, arguments, rows, unit

_CPUS = 2
_DIM = 512


class EmbedImages:
    """The recipe's actor."""

    def __init__(self, checkpoint: str) -> None:
        import torch

        from benchmarks.peers.hugging_face import loaded

        self._embed = loaded(checkpoint, torch.float32)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Pixels in, vectors out."""
        return {"path": batch["path"], "vector": self._embed([Image.fromarray(one) for one in batch["image"]])}


def main() -> None:
    """One row per photograph."""
    uris, checkpoint, table = arguments()
    root = str(Path(__file__).resolve().parents[2])
    # Two CPUs, so that something is left to read with while the actor computes.
    ray.init(
        num_cpus=_CPUS, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": root}}
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    made = ray.data.read_images(uris, mode="RGB", include_paths=True).map_batches(
        EmbedImages,
        fn_constructor_args=(checkpoint,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )

    def batches() -> Any:
        for batch in made.iter_batches(batch_size=BATCH, batch_format="numpy"):
            vectors = np.stack(list(batch["vector"])).astype(np.float32)
            yield from rows(list(batch["path"]), unit(vectors)).to_batches()

    schema = pa.schema({"source_uri": pa.string(), "vector": pa.list_(pa.float16(), _DIM)})
    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), table)
    ray.shutdown()


if __name__ == "__main__":
    main()
