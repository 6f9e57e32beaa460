from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
cost = pytest.importorskip("edge.nets.cost")
nets = pytest.importorskip("edge.nets")
nn = torch.nn


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 4 * 5 * 8 * 3 * 9),
        (nn.Conv2d(3, 6, 1, groups=3), 8 * 10 * 6),
        (nn.ConvTranspose2d(3, 4, 2, stride=2), 8 * 10 * 3 * 4 * 4),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 5, 1)), 80 * (3 * 2 + 2 * 5)),
    ],
)
def test_a_layer_counts_as_by_hand(layer: nn.Module, macs: int) -> None:
    assert cost.count_macs(layer, (10, 8)) == macs


@pytest.mark.slow
def test_a_net_is_counted_without_running_it() -> None:
    with torch.device("meta"):
        net = nets.make_net("ddrnet23_slim", 19)
    assert round(cost.count_macs(net, (2048, 1024)) / 1e9, 1) == 36.3  # table IV of the paper


def test_counting_leaves_nothing_behind() -> None:
    layer = nn.Conv2d(3, 2, 1)
    assert cost.count_macs(layer, (4, 4)) == cost.count_macs(layer, (4, 4))
    assert not layer._forward_hooks
