from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
cost = pytest.importorskip("edge.nets.cost")
nets = pytest.importorskip("edge.nets")
edge_small = pytest.importorskip("edge.nets.edge_small")


def test_what_is_far_away_counts() -> None:
    torch.manual_seed(4)
    net, image = edge_small.EdgeSmall(5, width=8).eval(), torch.rand(1, 3, 256, 1024)
    changed = image.clone()
    changed[..., -32:] = 0
    with torch.no_grad():
        assert not torch.equal(net(image)[..., :4], net(changed)[..., :4])


def test_context_keeps_the_size_it_is_given() -> None:
    context = edge_small.PooledContext(6).eval()
    with torch.no_grad():
        for size_hw in ((1, 1), (2, 3), (6, 8), (12, 15)):
            assert context(torch.rand(1, 6, *size_hw)).shape == (1, 6, *size_hw)


def test_it_takes_a_quarter_of_the_default_nets_arithmetic() -> None:
    with torch.device("meta"):
        small, default = (nets.make_net(name, 11) for name in ("edge_small", "ddrnet23_slim"))
    assert cost.count_macs(small, (480, 360)) < 0.25 * cost.count_macs(default, (480, 360))


def test_only_the_classifier_and_the_context_are_not_3x3() -> None:
    net = edge_small.EdgeSmall(5, width=8)
    others = [n for n, m in net.named_modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size != (3, 3)]
    assert others == ["context.scales.0.1", "context.scales.1.1", "context.scales.2.1", "up16.0", "head.1"]
