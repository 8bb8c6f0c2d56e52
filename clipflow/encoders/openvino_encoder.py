"""An encoder whose image side is computed by OpenVINO; texts stay with torch."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from clipflow.encoders.base import Encoder, Pixels, Preprocess, Vectors, normalised
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.openvino_check import TORCH
from clipflow.encoders.openvino_export import Exported, find_or_export
from clipflow.encoders.openvino_quietly import openvino
from clipflow.encoders.precision import choose_precision
from clipflow.errors import EncoderError, first_line

LEAST_COSINE = {"fp32": 0.9999, "bf16": 0.999}
"""Of OpenVINO's vectors to torch's in fp32, by precision."""
_TYPES = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


class OpenVINOEncoder(Encoder):
    """A described encoder.

    Args:
        info: What `describe` said of it.
        preprocess: Of its pictures.
        load: Loads it with torch, in fp32 on the CPU, with or without the text side.
        precision: auto, fp32 or bf16.
        texts: Whether texts will be encoded.
        lanes: Threads that encode at the same time, each computing on one core.

    Raises:
        EncoderError: OpenVINO cannot take the model, the machine lacks the precision, or vectors are not torch's.
    """

    def __init__(
        self,
        info: EncoderInfo,
        preprocess: Preprocess,
        load: Callable[[bool], Encoder],
        precision: str,
        *,
        texts: bool,
        lanes: int,
    ) -> None:
        self.info = info
        self.preprocess = preprocess
        self.precision = choose_precision(precision, torch.device("cpu"))
        self._torch = load(True) if texts and info.has_text else None
        exported = find_or_export(info, lambda: self._torch or load(False))
        self._model = self._compile(exported, lanes)
        self._requests = threading.local()
        self._check(exported)

    def _compile(self, exported: Exported, lanes: int) -> openvino.CompiledModel:
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": _TYPES[self.precision],
            # A stream serves one request at a time.
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": lanes,
            # Pinned, workers that know nothing of each other would share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(core.read_model(exported.model), "CPU", settings)
            taken = compiled.get_property("INFERENCE_PRECISION_HINT")
        except RuntimeError as error:
            raise EncoderError(
                f"OpenVINO cannot compile {exported.model}: {first_line(error)}",
                f"Remove {exported.model.parent} to make it anew, or set compute.backend: torch.",
            ) from error
        if taken != _TYPES[self.precision]:
            raise EncoderError(
                f"OpenVINO computes no {self.precision} on this CPU.", "Set encoder.precision: auto, or fp32."
            )
        return compiled

    def _check(self, exported: Exported) -> None:
        """Compare with torch in fp32, as one batch and one by one."""
        try:
            ours = self.encode_pixels(exported.pixels)
            singly = np.concatenate([self.encode_pixels(one[None]) for one in exported.pixels])
        except RuntimeError as error:
            raise self._stuck() from error
        if not ours.shape == singly.shape == exported.vectors.shape:
            raise self._stuck()
        cosine = min(float((made.astype(np.float64) * exported.vectors).sum(1).min()) for made in (ours, singly))
        if not cosine >= LEAST_COSINE[self.precision]:
            mend = TORCH if self.precision == "fp32" else f"Set encoder.precision: fp32. {TORCH}"
            raise EncoderError(
                f"{self.info.model} by OpenVINO in {self.precision} has a cosine of {cosine:.5f} to itself by torch in "
                f"fp32, where {LEAST_COSINE[self.precision]} is wanted.",
                mend,
            )

    def _stuck(self) -> EncoderError:
        return EncoderError(
            f"OpenVINO cannot take {self.info.model}: its code keeps the number of pictures it was traced with.", TORCH
        )

    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        """N pictures uint8 [height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        batch = pixels if isinstance(pixels, np.ndarray) else np.stack(pixels)
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        made = self._requests.own.infer([np.ascontiguousarray(batch)])
        return normalised(made[0])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim], by torch in fp32."""
        if self._torch is None:
            lack = "has no text side" if not self.info.has_text else "was loaded without its text side"
            raise EncoderError(f"{self.info.model} {lack}.", "Choose a model that reads texts, loaded with texts=True.")
        return self._torch.encode_texts(texts)
