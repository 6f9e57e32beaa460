from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
fcn = pytest.importorskip("edge.nets.fcn")

IMAGE = (1, 3, 128, 160)


def net_of(stride: int) -> Any:
    torch.manual_seed(stride)
    return fcn.fcn_resnet18(4, width=8, stride=stride).eval()


def test_a_deconvolution_starts_as_bilinear_interpolation() -> None:
    up = net_of(16).ups[0]
    x = torch.rand(1, 4, 5, 7)
    with torch.no_grad():
        inner = up(x)[..., 1:-1, 1:-1]  # around it, zeros are interpolated with
    wanted = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, wanted)


def test_a_finer_net_starts_with_the_predictions_of_the_coarser_one() -> None:
    coarse = net_of(32)
    for stride in (16, 8):
        fine = net_of(stride)
        unknown = fine.load_state_dict(coarse.state_dict(), strict=False).unexpected_keys
        assert unknown == []
        with torch.no_grad():
            image = torch.rand(*IMAGE)
            up = fine.ups[-1](coarse(image))
            torch.testing.assert_close(fine(image), up)
        torch.nn.init.normal_(fine.skip_scores[-1].weight)  # as if it had learned
        coarse = fine


def test_a_finer_map_adds_its_own_scores() -> None:
    net, image = net_of(8), torch.rand(*IMAGE)
    with torch.no_grad():
        before = net(image)
        torch.nn.init.normal_(net.skip_scores[1].weight)
        added = net.skip_scores[1](net.encoder(net.scale(image))[2])
        torch.testing.assert_close(net(image), before + added)


def test_vgg16_keeps_its_fully_connected_layers_as_convolutions() -> None:
    with torch.device("meta"):
        net = fcn.fcn_vgg16(21, stride=32)
    shapes = [tuple(m.weight.shape) for m in net.fc.modules() if isinstance(m, torch.nn.Conv2d)]
    assert shapes == [(4096, 512, 7, 7), (4096, 4096, 1, 1)]
