"""One net's graphs at several input sizes, in INT8 by the ranges that were seen at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
nets = pytest.importorskip("edge.nets")
export = pytest.importorskip("edge.compile.export")
observe = pytest.importorskip("edge.compile.observe")
quantize = pytest.importorskip("edge.compile.quantize")

WHOLE_WH, CUT_WH = (96, 64), (107, 75)  # maps that halve evenly, so that no crop cuts; and maps that do not


def graph(name: str, input_wh: tuple[int, int]) -> Any:
    torch.manual_seed(4)
    return export.plain_onnx(nets.NETS[name](5, width=8), input_wh)


def numbered(model: Any) -> dict[str, Any]:
    """A range of its own for every tensor that wants one."""
    wanted = observe.tensors_to_observe(model)
    return {name: observe.Range(0.0, place + 1, 0.0, place + 1, wanted[name]) for place, name in enumerate(wanted)}


def by_layer(ranges: Mapping[str, Any]) -> dict[str, float]:
    return {layer: found.high for found in ranges.values() for layer in found.feeds}


@pytest.mark.parametrize("name", ["segnet", "segnet_basic", "fcn8s_resnet18", "unet_resnet34"])
@pytest.mark.parametrize("seen_wh", [WHOLE_WH, CUT_WH])
def test_every_layer_has_the_same_range_at_every_size(name: str, seen_wh: tuple[int, int]) -> None:
    other_wh = CUT_WH if seen_wh == WHOLE_WH else WHOLE_WH
    seen, other = numbered(graph(name, seen_wh)), graph(name, other_wh)
    found = observe.ranges_at_size(seen, other)
    assert by_layer(found) == by_layer(seen)
    wanted = {tensor: layers for tensor, layers in observe.tensors_to_observe(other).items() if layers}
    assert {tensor: row.feeds for tensor, row in found.items() if row.feeds} == wanted
    for form in ("openvino", "tensorrt"):
        assert quantize.write_int8(other, found, form).graph.node


def test_a_skip_that_was_not_seen_stays_in_float() -> None:
    seen, other = numbered(graph("fcn8s_resnet18", CUT_WH)), graph("fcn8s_resnet18", WHOLE_WH)
    found = observe.ranges_at_size(seen, other)
    (unseen,) = set(observe.tensors_to_observe(other)) - set(found)
    assert unseen in observe.skip_of(other).values()
    written = quantize.write_int8(other, found, "tensorrt")
    assert f"{unseen}.int8" not in {output for node in written.graph.node for output in node.output}
