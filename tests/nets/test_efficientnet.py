"""EfficientNet-Lite0: its encoder takes the published file, whose names and shapes are written down here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
efficientnet = pytest.importorskip("edge.nets.efficientnet")
nets = pytest.importorskip("edge.nets")
pretrained = pytest.importorskip("edge.nets.pretrained")

# Kernel and bias-free shapes of efficientnet-lite0-57934424.pth, a few of each kind.
PUBLISHED = {
    "_conv_stem.weight": (32, 3, 3, 3),
    "_bn0.running_var": (32,),
    "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
    "_blocks.0._project_conv.weight": (16, 32, 1, 1),
    "_blocks.1._expand_conv.weight": (96, 16, 1, 1),
    "_blocks.3._depthwise_conv.weight": (144, 1, 5, 5),
    "_blocks.5._depthwise_conv.weight": (240, 1, 3, 3),
    "_blocks.8._project_conv.weight": (112, 480, 1, 1),
    "_blocks.14._bn2.weight": (192,),
    "_blocks.15._depthwise_conv.weight": (1152, 1, 3, 3),
    "_blocks.15._project_conv.weight": (320, 1152, 1, 1),
}


def published_state() -> dict[str, Any]:
    """A file as it is published: the encoder's names, and the classifier that a segmentation net does not take."""
    encoder = efficientnet.EfficientNetLite()
    state = {
        theirs: torch.rand_like(encoder.state_dict()[ours].float())
        for ours, theirs in encoder.torchvision_names().items()
    }
    return {**state, "_conv_head.weight": torch.rand(1280, 320, 1, 1), "_fc.weight": torch.rand(1000, 1280)}


def test_names_and_shapes_are_the_published_ones() -> None:
    state = published_state()
    assert {name: tuple(state[name].shape) for name in PUBLISHED} == PUBLISHED


def test_a_published_file_fills_the_encoder_and_its_first_kernels_take_bgr(tmp_path: Path) -> None:
    state = published_state()
    torch.save(state, tmp_path / "lite0.pth")
    net = nets.make_net("efficientnet_lite0", 5)
    loaded = pretrained.load_encoder(net, "efficientnet_lite0", tmp_path / "lite0.pth")
    assert loaded.missing == ()
    assert loaded.left_over == ("_conv_head.weight", "_fc.weight")
    assert torch.equal(net.encoder.stem[0].weight, state["_conv_stem.weight"].flip(1))
    assert torch.equal(net.encoder.blocks[15].project[0].weight, state["_blocks.15._project_conv.weight"])


def test_maps_are_at_a_half_to_a_thirty_second() -> None:
    encoder = efficientnet.EfficientNetLite(width=8).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 >> depth, 96 >> depth) for depth, channels in enumerate(encoder.channels, start=1)
    ]
