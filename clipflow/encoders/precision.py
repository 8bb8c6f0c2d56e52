"""Which numbers the image side computes in, and where."""

import torch

from clipflow.errors import EncoderError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU.

    Raises:
        EncoderError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise EncoderError(f"There is no device {device!r}.", "Choose auto, cpu or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError("This machine has no CUDA device that torch can use.", "Choose auto or cpu.")
    return chosen


def choose_precision(precision: str, device: torch.device) -> str:
    """`auto` is the fastest that keeps cosines within 1e-3: bf16 where the hardware has it, fp16 on older GPUs.

    Raises:
        EncoderError: fp16 on a CPU, where it is slower than fp32 and less exact than it.
    """
    if precision == "fp16" and device.type == "cpu":
        raise EncoderError("fp16 is computed on GPUs only.", "On a CPU choose auto, bf16 or fp32.")
    if precision != "auto":
        return precision
    if device.type == "cuda":  # not measured here: these machines have no GPU
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if device.type == "cpu":
        capable = torch.cpu.get_capabilities()
        return "bf16" if capable.get("avx512_bf16") or capable.get("amx_bf16") else "fp32"
    return "fp32"
