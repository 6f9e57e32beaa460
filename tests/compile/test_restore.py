"""A bundle's graph back into the net that it was exported from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import card_of

torch = pytest.importorskip("torch", reason="nets need torch")
pytest.importorskip("onnx")

from edge.card import Graph  # noqa: E402
from edge.classes import CAMVID  # noqa: E402
from edge.compile.export import export_onnx  # noqa: E402
from edge.compile.restore import restore  # noqa: E402
from edge.engine import MODEL_FILE, Bundle, find_bundle, write_bundle  # noqa: E402
from edge.errors import ConfigError  # noqa: E402
from edge.nets import make_net  # noqa: E402

WH = (96, 64)


def bundle_of(net: Any, name: str, folder: Path) -> Bundle:
    model = export_onnx(net, WH, halve=False)
    graph = Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(model).hexdigest())
    return write_bundle(folder, {MODEL_FILE: model}, replace(card_of(graph, table=CAMVID, input_wh=WH), net=name))


def lived_in(name: str) -> Any:
    """A net whose batch norms have statistics, scales and shifts of their own; its biases are as they begin, 0."""
    torch.manual_seed(3)
    net = make_net(name, len(CAMVID)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                assert values is not None
                values.uniform_(low, high)
    return net


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddrnet23_slim", "efficientnet_lite0_fine", "unet"])
def test_a_net_comes_back_with_its_logits(name: str, tmp_path: Path) -> None:
    net = lived_in(name)
    again = restore(bundle_of(net, name, tmp_path / "bundle"))
    image = torch.rand(1, 3, WH[1], WH[0], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(again(image), net(image), rtol=1e-3, atol=1e-3)
    assert torch.equal(again(image).argmax(1), net(image).argmax(1))


@pytest.mark.slow
def test_the_bundled_engine_comes_back_without_its_heads() -> None:
    net = restore(find_bundle("road"))  # which compares graph and net
    assert not any(name.startswith("heads") for name in net.state_dict())


def test_a_net_of_others_is_refused(colour_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="is of the net 'none', which edge cannot train; expected one of: ddrnet23"):
        restore(colour_bundle)


@pytest.mark.slow
def test_a_graph_that_holds_another_net_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(lived_in("edge_small"), "ddrnet23_slim", tmp_path / "bundle")
    with pytest.raises(ConfigError, match=r"expected \S+ of shape \(.*\) in its graph, got"):
        restore(bundle)
