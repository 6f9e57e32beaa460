"""The pieces several nets share."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch norm and, with `relu`, ReLU; "same" padding."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def conv_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution with bias and ReLU, of nets older than batch norm; "same" padding."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def bn_relu_conv(inputs: int, outputs: int, kernel: int, bias: bool = False) -> nn.Sequential:
    """Pre-activated convolution: batch norm, ReLU, convolution with "same" padding."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias),
    )


class Depthwise(nn.Conv2d):
    """A convolution of each channel by itself, with "same" padding and no bias; the parameter is nn.Conv2d's `weight`.

    Trained on a CPU in bf16 it takes oneDNN's gradients in float32 where those in bf16 are slow: 19 instead of 116 ms
    for the 5x5 kernels of (8, 240, 45, 60), 28 instead of 165 ms for the input of a strided one (a Xeon with AMX, two
    cores, torch 2.13).
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, channels, ceil(H/stride), ceil(W/stride))."""
        if self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            out: Tensor = _DepthwiseBf16.apply(x, self.weight, self.stride[0], self.padding[0])
            return out
        return super().forward(x)


class _DepthwiseBf16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        x = x.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = [stride, stride], [padding, padding]
        return F.conv2d(x, weight.bfloat16(), None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by input and weight; what else `forward` was given has none."""
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)

        def gradients_in(dtype: torch.dtype, of_input: bool, of_weight: bool) -> tuple[Tensor, Tensor, Tensor]:
            given = (tensor.to(dtype) for tensor in (gradient, x, weight))
            layout = (None, ctx.stride, ctx.padding, [1, 1], False, [0, 0], len(weight), [of_input, of_weight, False])
            return torch.ops.aten.convolution_backward(*given, *layout)

        if ctx.stride[0] > 1:
            to_x, to_weight, _ = gradients_in(torch.float32, True, True)
        else:
            to_x = gradients_in(torch.bfloat16, True, False)[0]
            to_weight = gradients_in(torch.float32, False, True)[1]
        return to_x.bfloat16(), to_weight, None, None


class ImageNetScale(nn.Module):
    """BGR in 0..1 to the scale of encoders that were trained on ImageNet: (x - mean) / standard deviation."""

    BGR_MEAN = (0.406, 0.456, 0.485)
    BGR_STD = (0.225, 0.224, 0.229)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(self.BGR_MEAN)[None, :, None, None], persistent=False)
        self.register_buffer("factor", 1 / torch.tensor(self.BGR_STD)[None, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to the same."""
        return (x - self.mean) * self.factor


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions (He et al. 2015, arXiv 1512.03385, fig. 5 left).

    The final ReLU is left out where the next part starts with its own (`relu=False`).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, 3, relu=False))
        plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if plain else conv_bn(inputs, outputs, 1, stride, relu=False)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H/stride), ceil(W/stride))."""
        y = self.body(x) + self.shortcut(x)
        return F.relu(y) if self.relu else y


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1 that doubles the channels (`expansion` 2 as in DDRNet), without final ReLU."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = 2 * width
        self.body = nn.Sequential(
            conv_bn(inputs, width, 1), conv_bn(width, width, 3, stride), conv_bn(width, outputs, 1, relu=False)
        )
        plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if plain else conv_bn(inputs, outputs, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 2 * width, ceil(H/stride), ceil(W/stride))."""
        return self.body(x) + self.shortcut(x)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of `like` (half-pixel centres)."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    """Cut at bottom and right, to the height and width of `like`."""
    return x[..., : like.shape[-2], : like.shape[-1]]


def init_weights(net: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He initialisation for convolutions, identity for batch norms."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
