"""Choice of device and dtype by what this machine supports."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from transformers.utils import logging as transformers_logging

DType = Literal["auto", "float32", "bfloat16", "float16"]


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Device to run on; "auto" is the GPU where torch finds one, else the CPU.

    Raises:
        RuntimeError: CUDA is requested and torch finds no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {device!r} was requested, but this torch ({torch.__version__}) sees no GPU")
    return chosen


def resolve_dtype(dtype: DType | torch.dtype, device: torch.device) -> torch.dtype:
    """Dtype of the weights; "auto" is bfloat16 where the device multiplies it in hardware, else float32.

    Raises:
        ValueError: the model does not run in this dtype.
    """
    if dtype == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    chosen = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if chosen not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, not {dtype!r}")
    return chosen


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: a CPU with AMX or AVX512-BF16, or a GPU since Ampere.

    Other CPUs emulate it and are slower than in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Context without transformers' progress bars: a run starts dozens of workers that each load the model."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
