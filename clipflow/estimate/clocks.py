"""From the clocks of runs to rates: the same for runs that were, and for a probe."""

from collections.abc import Mapping

from clipflow.estimate.rates import Rate

_PREPARE = ("fetch", "decode")
_ENCODE = ("embed", "score")


def rates_of(images: int, seconds: Mapping[str, float], source: str, *, gpus: bool) -> dict[str, Rate]:
    """What one worker did in a second.

    Args:
        images: That were worked on.
        seconds: Busy seconds by step, summed over workers.
        source: Where the numbers come from.
        gpus: The encoders were on GPUs.
    """
    prepare, encode = (sum(seconds.get(step, 0.0) for step in steps) for steps in (_PREPARE, _ENCODE))
    busy = {
        "prepared_per_second_per_cpu": prepare,
        "images_per_second_per_gpu_encoder": encode if gpus else 0.0,
        "images_per_second_per_worker": 0.0 if gpus else prepare + encode + seconds.get("stage", 0.0),
        "committed_per_second": seconds.get("commit", 0.0),
    }
    return {name: Rate(images / spent, source) for name, spent in busy.items() if spent > 0 and images}
