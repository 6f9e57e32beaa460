"""The precision that a net computes in while it trains; its weights are fp32 always."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from edge.backends.cpu import has_bf16

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """For the forward pass: in `precision` ("bf16", "fp16" or "fp32"), or in fp32 where that would be `emulated`."""
    half = _HALF.get(precision)
    if half is None or emulated(device, precision):
        return nullcontext()
    return torch.autocast(device.type, half)


def emulated(device: torch.device, precision: str) -> bool:
    """Whether `precision` can only be emulated on `device`: bf16 on an x86 CPU without instructions for it.

    A step of EfficientNet-Lite0 takes ten times as long there as in fp32 with AVX2 alone (an EPYC: 7.5 s to 0.75 s),
    and twice as long with an AVX-512 that has no bf16 (a Xeon of 2.8 GHz with VNNI, beside other work: 2.3 s to 1.2 s).
    """
    if precision != "bf16" or device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not has_bf16()
