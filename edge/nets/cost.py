"""What a net costs: numbers to learn and store, and multiplications for a frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def parameter_count(net: nn.Module) -> int:
    """Learned numbers; a batch norm's running means and variances do not count."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def count_macs(net: nn.Module, input_wh: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolutions in evaluation, for one frame; what lies at borders counts in full.

    A net made on `torch.device("meta")` is counted without memory or arithmetic.
    """
    macs = 0

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        driver = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output  # each of its cells meets the kernel
        macs += driver[0, 0].numel() * layer.weight.numel()

    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        net.eval()(torch.zeros(1, 3, *input_wh[::-1], device=next(net.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return macs
