"""What a worker does to a batch: fetch, decode, embed, score, judge, stage.

`Prepare` (fetch, decode) needs no weights, `Embed` (embed, score, judge) needs the encoder, `Stage` needs
the table. `overlapped` fetches while it computes. The engines only decide where each runs; with pixels crossing the
object store as uint8 or not at all.
"""

from clipflow.stages.embed import Embed
from clipflow.stages.overlap import BATCH_BYTES, BATCH_ROWS, batches, overlapped
from clipflow.stages.prepare import Prepare
from clipflow.stages.stage import Stage

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "Embed", "Prepare", "Stage", "batches", "overlapped"]
