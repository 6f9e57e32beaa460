from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
cost = pytest.importorskip("edge.nets.cost")
unet = pytest.importorskip("edge.nets.unet")
upsample = pytest.importorskip("edge.nets.upsample")

KINDS = ("transposed", "bilinear", "pixel_shuffle")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("make", [unet.UNet, unet.UNetResNet34])
def test_every_way_up_ends_at_the_size_of_the_image(make: Any, kind: str) -> None:
    with torch.no_grad():
        assert make(3, width=8, up=kind).eval()(torch.rand(1, 3, 37, 51)).shape == (1, 3, 37, 51)


@every_kind
def test_a_map_doubles(kind: str) -> None:
    with torch.no_grad():
        assert upsample.upsample(kind, 6, 4)(torch.rand(2, 6, 3, 5)).shape == (2, 4, 6, 10)


def test_bilinear_stretching_has_half_pixel_centres() -> None:
    up = upsample.upsample("bilinear", 1, 1)
    torch.nn.init.ones_(up[0].weight)
    torch.nn.init.zeros_(up[0].bias)
    with torch.no_grad():
        assert up(torch.tensor([[[[0.0, 8.0]]]]))[0, 0, 0].tolist() == [0.0, 2.0, 6.0, 8.0]


def sub_pixels(net: Any) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, upsample.SubPixel)]


def test_sub_pixel_convolutions_start_as_nearest_neighbours() -> None:
    net = unet.UNetResNet34(3, width=8)
    assert len(sub_pixels(net)) == 5
    for up in sub_pixels(net):
        x = torch.rand(1, up.conv.in_channels, 4, 5)
        with torch.no_grad():
            shuffled = up.shuffle(up.conv(x))
        blocks = shuffled[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
        torch.testing.assert_close(shuffled, blocks)
        assert shuffled.std() > 0


def test_the_blur_takes_a_checkerboard_away_and_leaves_what_is_flat() -> None:
    blur = upsample.SubPixel(1, 1).blur
    board = (torch.arange(6)[:, None] + torch.arange(8)) % 2 * 1.0
    assert (blur(board[None, None])[..., 1:, 1:] == 0.5).all()
    assert torch.equal(blur(torch.full((1, 1, 4, 6), 3.0)), torch.full((1, 1, 4, 6), 3.0))


def test_detail_passes_by_the_encoder() -> None:
    torch.manual_seed(1)
    net, image = unet.UNetResNet34(3, width=8).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        deaf = {name: torch.zeros_like(p) for name, p in net.encoder.state_dict().items()}
        net.encoder.load_state_dict(deaf)
        changed = image.clone()
        changed[..., 30, 30] = 1 - changed[..., 30, 30]
        touched = (net(image) != net(changed)).any(1)[0].nonzero()
    assert touched.min() == 28  # two 3x3 convolutions around the pixel
    assert touched.max() == 32


def test_the_published_net_has_23_convolutions_of_which_4_are_transposed() -> None:
    with torch.device("meta"):
        net = unet.UNet(2)
    kinds = [type(m) for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    assert (len(kinds), kinds.count(torch.nn.ConvTranspose2d)) == (23, 4)  # section 2


def test_dropout_works_in_training_only() -> None:
    torch.manual_seed(1)
    net, image = unet.UNet(3, width=8), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(net.train()(image), net(image))
        assert torch.equal(net.eval()(image), net(image))
