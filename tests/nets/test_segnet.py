from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
segnet = pytest.importorskip("edge.nets.segnet")

sizes = st.integers(1, 9)


@st.composite
def maps(draw: st.DrawFn) -> Any:
    """(N, C, H, W) of any size; of few different values, so that most windows hold ties."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(sizes), draw(sizes))
    values = draw(st.sampled_from([(0.0, 1.0), (-2.0, -1.0, 0.0), (-1e30, 0.0, 1e-30, 3.5)]))
    picked = torch.randint(len(values), shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 2**31))))
    return torch.tensor(values)[picked]


def there_and_back(pool: Any, unpool: Any, x: Any) -> Any:
    pooled, places = pool(x)
    return pooled, unpool(pooled * 2 + 1, places, x.shape[-2:])


@given(maps())
def test_the_plain_operators_do_what_torchs_indices_do(x: Any) -> None:
    pooled, sparse = there_and_back(segnet.pool_plain, segnet.unpool_plain, x)
    wanted_pooled, wanted_sparse = there_and_back(segnet.pool_indexed, segnet.unpool_indexed, x)
    assert torch.equal(pooled, wanted_pooled)
    assert torch.equal(sparse, wanted_sparse)


def test_of_equal_values_the_first_keeps_the_place() -> None:
    for x, wanted in (
        ([[5, 5], [5, 5]], [[5, 0], [0, 0]]),
        ([[1, 5], [5, 5]], [[0, 5], [0, 0]]),
        ([[1, 2], [5, 5]], [[0, 0], [5, 0]]),
        ([[1, 2], [3, 5]], [[0, 0], [0, 5]]),
    ):
        pooled, places = segnet.pool_plain(torch.tensor([[x]], dtype=torch.float32))
        assert segnet.unpool_plain(pooled, places, (2, 2))[0, 0].tolist() == wanted


def test_a_place_takes_two_bits() -> None:
    _, places = segnet.pool_plain(torch.rand(1, 4, 8, 6))
    assert [(place.dtype, tuple(place.shape)) for place in places] == [(torch.bool, (1, 4, 4, 3))] * 2


@pytest.mark.parametrize("make", [segnet.SegNet, segnet.SegNetBasic])
def test_training_and_evaluation_see_the_same(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    net, image = make(3, width=8).eval(), torch.rand(1, 3, 45, 60)
    with torch.no_grad():
        plain = net(image)
        monkeypatch.setattr(net, "training", True)  # the batch norms stay as they are
        assert torch.equal(net(image), plain)


def test_the_decoder_mirrors_the_encoders_13_convolutions() -> None:
    with torch.device("meta"):
        net = segnet.SegNet(11)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    down = [(c.in_channels, c.out_channels) for c in convolutions[:13]]
    up = [(c.in_channels, c.out_channels) for c in convolutions[13:]]
    assert down[0] == (3, 64)
    assert up == [*((o, i) for i, o in down[:0:-1]), (64, 11)]


def test_the_basic_nets_kernels_are_7x7_and_its_decoder_is_linear() -> None:
    net = segnet.SegNetBasic(11, width=8)
    assert [c.kernel_size for c in net.modules() if isinstance(c, torch.nn.Conv2d)] == [(7, 7)] * 8 + [(1, 1)]
    assert not any(isinstance(m, torch.nn.ReLU) for m in net.decoder.modules())
