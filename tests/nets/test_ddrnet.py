from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.backends import open_engine
from edge.engine import Bundle
from edge.errors import ConfigError

torch = pytest.importorskip("torch")
nets = pytest.importorskip("edge.nets")
blocks = pytest.importorskip("edge.nets.blocks")
cost = pytest.importorskip("edge.nets.cost")
ddrnet = pytest.importorskip("edge.nets.ddrnet")


@pytest.fixture
def net() -> Any:
    torch.manual_seed(4)
    return ddrnet.DDRNet23Slim(classes=5, width=8, context_width=16, head_width=16)


def test_it_has_the_papers_5_7_million_parameters() -> None:
    net = nets.make_net("ddrnet23_slim", 19)
    assert isinstance(net, ddrnet.DDRNet23Slim)
    assert round((cost.parameter_count(net) - cost.parameter_count(net.auxiliary_head)) / 1e6, 2) == 5.70  # table IV


@pytest.mark.parametrize(
    ("size_hw", "logits_hw"), [((64, 128), (8, 16)), ((72, 96), (9, 12)), ((91, 150), (12, 19)), ((33, 17), (5, 3))]
)
def test_logits_are_an_eighth_of_any_size_rounded_up(
    net: Any, size_hw: tuple[int, int], logits_hw: tuple[int, int]
) -> None:
    with torch.no_grad():
        assert net.eval()(torch.rand(2, 3, *size_hw)).shape == (2, 5, *logits_hw)


def test_in_training_the_auxiliary_head_answers_too(net: Any) -> None:
    main, auxiliary = net.train()(torch.rand(2, 3, 64, 96))
    assert main.shape == auxiliary.shape == (2, 5, 8, 12)
    assert not torch.equal(main, auxiliary)


def test_every_parameter_learns(net: Any) -> None:
    main, auxiliary = net.train()(torch.rand(2, 3, 96, 128))
    (main.square().mean() + auxiliary.square().mean()).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []


@pytest.mark.slow
def test_a_step_down_the_gradient_lowers_the_loss(net: Any) -> None:
    images, target = torch.rand(2, 3, 64, 96), torch.randint(0, 5, (2, 8, 12))
    optimiser = torch.optim.SGD(net.train().parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(net(images)[0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_in_evaluation_a_picture_does_not_depend_on_its_batch(net: Any) -> None:
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        together, alone = net.eval()(images), net(images[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=1e-3)


def test_what_is_far_away_counts(net: Any) -> None:
    image = torch.rand(1, 3, 256, 512)
    changed = image.clone()
    changed[..., -32:] = 0
    with torch.no_grad():
        left, left_changed = net.eval()(image)[..., :4], net(changed)[..., :4]
    assert not torch.equal(left, left_changed)  # the pyramid's global pool sees the whole picture


def test_the_pyramid_keeps_the_size_it_is_given() -> None:
    pyramid = ddrnet.Dappm(inputs=12, width=6, outputs=10).eval()
    with torch.no_grad():
        for size_hw in ((1, 1), (2, 3), (6, 8), (16, 32)):
            assert pyramid(torch.rand(1, 12, *size_hw)).shape == (1, 10, *size_hw)


def test_resizing_is_bilinear_with_half_pixel_centres() -> None:
    row = torch.tensor([[[[0.0, 8.0]]]])
    assert blocks.resize_to(row, torch.zeros(1, 1, 1, 4)).tolist() == [[[[0.0, 2.0, 6.0, 8.0]]]]


def test_the_exported_graph_sees_what_the_net_sees(street_net: Any, street_bundle: Bundle) -> None:
    image = np.random.default_rng(8).integers(0, 256, (91, 150, 3), dtype=np.uint8)
    with torch.no_grad():
        logits = street_net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        logits = torch.nn.functional.interpolate(logits, size=(91, 150), mode="bilinear", align_corners=False)
    with open_engine(street_bundle.folder) as engine:
        assert np.mean(engine.infer(image)["semantic"] == logits.argmax(1)[0].numpy()) > 0.9999


def test_an_unknown_net_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no net is called 'resnet'; there are: ddrnet23_slim"):
        nets.make_net("resnet", 11)
