"""Pictures on their way to the device that computes: bytes, and on a GPU from pinned memory in batches of one shape.

What concerns GPUs is not measured here, as these machines have none; its logic is tested on the CPU.
"""

import threading
from collections.abc import Callable

import numpy as np
import torch

from clipflow.encoders.base import Pixels

COMPILER = "inductor"
"""Of `compute.compile`, by torch's name."""

Compute = Callable[[torch.Tensor], torch.Tensor]


class Feed:
    """Feeds uint8 pictures to a device.

    On a GPU one batch is copied while the one before it is computed: out of two pinned buffers, on a stream of its
    own. Nothing waits for the GPU but the end. Threads may share one, and take turns.

    Args:
        device: That computes.
        size: Pictures of every batch, the last one filled up; None takes what comes as one batch.
    """

    def __init__(self, device: torch.device, size: int | None = None) -> None:
        self._device = device
        self._size = size
        self._slots: list[_Slot] = []
        self._lock = threading.Lock()
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, pixels: Pixels, compute: Compute) -> torch.Tensor:
        """What `compute` makes of uint8 [N, height, width, channels], [N, ...] on the CPU; N is at least 1."""
        given = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        if self._size is None:
            return compute(given.to(self._device)).cpu()
        with self._lock:
            return torch.cat(self._in_batches(given, self._size, compute)).cpu()

    def _in_batches(self, given: torch.Tensor, size: int, compute: Compute) -> list[torch.Tensor]:
        shape = (size, *given.shape[1:])
        if not self._slots or self._slots[0].buffer.shape != shape:
            self._slots = [_Slot(shape, self._device) for _ in range(2)]
        made = []
        for turn, part in enumerate(torch.split(given, size)):
            raw = self._slots[turn % 2].fill(part, self._copies)
            made.append(compute(raw)[: len(part)])
        return made


class _Slot:
    """One buffer of host memory, pinned for a GPU, and whether its last copy is done."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.buffer = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._device = device
        self._copied = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def fill(self, part: torch.Tensor, copies: torch.cuda.Stream | None) -> torch.Tensor:
        """The part on the device, with black pictures behind it up to the buffer's size."""
        if self._copied is not None:
            self._copied.synchronize()
        self.buffer[: len(part)] = part
        self.buffer[len(part) :] = 0
        if copies is None or self._copied is None:
            return self.buffer
        with torch.cuda.stream(copies):
            raw = self.buffer.to(self._device, non_blocking=True)
            self._copied.record(copies)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(copies)
        # Else the memory could be given to the next copy while it is still read.
        raw.record_stream(computing)
        return raw


def has_many_convolutions(model: torch.nn.Module) -> bool:
    """Whether a model is a convolutional one: a vision transformer has a single convolution, which cuts patches."""
    return sum(isinstance(one, torch.nn.Conv2d) for one in model.modules()) > 1
