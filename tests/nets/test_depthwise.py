"""Convolutions of single channels, trained on a CPU in bf16."""

from __future__ import annotations

import pytest
import torch

from edge.nets.blocks import Depthwise


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_in_bf16_are_those_in_float32(stride: int, kernel: int) -> None:
    torch.manual_seed(0)
    layer = Depthwise(16, kernel, stride)
    x = torch.randn(2, 16, 23, 31, requires_grad=True)
    exact = layer(x)
    upstream = torch.randn_like(exact)
    expected = torch.autograd.grad(exact, (x, layer.weight), upstream)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    found = torch.autograd.grad(rounded, (x, layer.weight), upstream.bfloat16())
    torch.testing.assert_close(rounded.float(), exact, atol=0.03, rtol=0.02)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).norm() / theirs.norm()) < 0.01
