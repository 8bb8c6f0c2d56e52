"""sentence-transformers: its `encode` on addresses, which it reads itself, in batches of 32.

python -m benchmarks.peers.sentence LIST CHECKPOINT TABLE
"""

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.peers.common import BATCH, arguments, write


def main() -> None:
    """One row per photograph."""
    uris, checkpoint, table = arguments()
    torch.set_num_threads(1)
    model = SentenceTransformer(checkpoint, device="cpu", processor_kwargs={"backend": "pil"})
    vectors = model.encode(uris, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    write(uris, [vectors], table)


if __name__ == "__main__":
    main()
