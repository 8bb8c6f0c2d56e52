"""`compute.backend: openvino`: what can be said before anything is loaded; imports neither torch nor OpenVINO."""

from importlib.util import find_spec

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import EncoderError, MissingEngine
from clipflow.spec import ComputeSpec

TORCH = "Set compute.backend: torch."


def check_backend(compute: ComputeSpec, info: EncoderInfo) -> None:
    """Raises EncoderError or MissingEngine when the encoder cannot be computed by the backend that the job names."""
    if compute.backend != "openvino":
        return
    if compute.gpus_per_encoder:
        raise EncoderError(
            "compute.backend: openvino computes on CPUs, and compute.gpus_per_encoder asks for GPUs.",
            f"{TORCH[:-1]}, or leave out gpus_per_encoder.",
        )
    if compute.compile:
        raise EncoderError("compute.compile is for compute.backend: torch.", "Leave it out.")
    if not info.preprocess:
        raise EncoderError(f"The loader {info.loader!r} has no torch model that OpenVINO could take.", TORCH)
    if "patches" in info.preprocess:
        raise EncoderError(
            f"{info.model} takes pictures of different sizes (NaFlex), which OpenVINO is not given.", TORCH
        )
    if find_spec("openvino") is None:
        raise MissingEngine(
            "openvino is not installed, and compute.backend: openvino needs it.",
            'Run: pip install "clipflow[engine,openvino]" on every node, or set compute.backend: torch.',
        )
