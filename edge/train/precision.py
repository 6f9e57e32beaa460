"""The precision that a net computes in while it trains; its weights are fp32 always."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext

import torch

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """For the forward pass: in `precision` ("bf16", "fp16" or "fp32"), or in fp32 where that would be `emulated`."""
    half = _HALF.get(precision)
    if half is None or emulated(device, precision):
        return nullcontext()
    return torch.autocast(device.type, half)


def emulated(device: torch.device, precision: str) -> bool:
    """Whether `precision` is not to be had on `device` but by emulation: bf16 on an x86 CPU without AVX-512.

    A step of EfficientNet-Lite0 takes ten times as long there as in fp32 (AMD EPYC with AVX2 only: 7.5 s to 0.75 s).
    """
    if precision != "bf16" or device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not torch.backends.cpu.get_cpu_capability().startswith("AVX512")
