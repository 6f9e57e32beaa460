"""Ranges of activations: by hand on small graphs, on a drive, and in their file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from videos import picture

from edge.card import Card
from edge.config import parse_tree
from edge.engine import Bundle, find_bundle
from edge.errors import CalibrationError, ConfigError, EngineError
from edge.street.render import StreetScene
from edge.train.recipe import Calibration

onnx = pytest.importorskip("onnx")
from small_graphs import INPUT_WH, conv, make_chain, make_graph, pointwise  # noqa: E402

from edge.compile.calibration import CalibrationSet, choose, find_candidates, make_set  # noqa: E402
from edge.compile.observe import (  # noqa: E402
    Range,
    Scales,
    check_fresh,
    find_ranges,
    layer_name,
    observe,
    quantisable,
    range_rows,
    read_scales,
    skip_of,
    tensors_to_observe,
    trained_scales,
)

helper = onnx.helper
BLUE = 0


@pytest.fixture(scope="module")
def chain() -> bytes:
    return make_chain()


def range_of(values: NDArray[np.floating], method: str, percentile: float | None = None) -> Range:
    """The range of a tensor that takes these values, by a graph that multiplies a picture of ones by them."""
    width = -(-values.size // 3)
    grid = np.resize(values.astype(np.float32), (1, 3, 1, width))
    model = make_graph(
        [helper.make_node("Mul", ["planes", "values"], ["t"]), helper.make_node("Identity", ["t"], ["out"])],
        {"values": grid},
        (width, 1),
    )
    ones = [("frame 0", np.ones((1, width, 3), np.uint8))]
    return find_ranges(model, {"t": ("layer",)}, lambda: ones, method, percentile)["t"]  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- the three methods


def test_max_covers_the_extremes_of_all_pictures_and_always_zero(chain: bytes) -> None:
    dim, bright = np.full((4, 6, 3), 40, np.uint8), np.full((4, 6, 3), 90, np.uint8)
    dim[1, 2] = (30, 10, 25)  # BGR: red - green is 15
    bright[3, 5] = (200, 120, 110)  # -10, which the ReLU removes; blue / 2 is 100
    found = find_ranges(
        chain, tensors_to_observe(onnx.load_from_string(chain)), lambda: [("1", dim), ("2", bright)], "max", None
    )
    assert found == {
        "planes": Range(0, 200, 0, 200, ("first",)),
        "relu": Range(0, 100, 0, 100, ("second",)),
    }


def test_ranges_of_negative_values_reach_down_from_zero() -> None:
    assert range_of(np.array([-7.5, -2, -3]), "max") == Range(-7.5, 0, -7.5, 0, ("layer",))


def test_a_tensor_of_zeros_has_an_empty_range() -> None:
    for method, percentile in (("max", None), ("percentile", 99.0), ("entropy", None)):
        found = range_of(np.zeros(6), method, percentile)
        assert (found.low, found.high) == (0, 0)


def test_a_percentile_leaves_out_that_part_of_a_one_sided_tensor_above() -> None:
    found = range_of(np.arange(1, 3001) / 3000, "percentile", 90)
    assert found.low == 0
    assert found.high == pytest.approx(0.9, abs=1e-3)  # a bin is a 2048th
    assert found.seen_high == 1


def test_a_percentile_is_shared_by_both_tails_of_a_signed_tensor() -> None:
    values = np.concatenate([np.arange(1, 3001) / 1000, -np.arange(1, 3001) / 3000])
    found = range_of(values, "percentile", 90)  # a tenth of 6000 is outside, 300 on either side
    assert found.high == pytest.approx(2.7, abs=3e-3)
    assert found.low == pytest.approx(-0.9, abs=3e-3)


def test_the_hundredth_percentile_is_the_maximum() -> None:
    values = np.random.default_rng(1).normal(size=3000)
    hundredth, largest = (range_of(values, *by) for by in (("percentile", 100.0), ("max", None)))
    assert hundredth.low == pytest.approx(largest.low, abs=5e-3)
    assert hundredth.high == pytest.approx(largest.high, abs=5e-3)


def test_entropy_clips_a_lone_outlier() -> None:
    values = np.abs(np.random.default_rng(2).normal(size=30_000))
    values[17] = 60
    found = range_of(values, "entropy")
    assert found.seen_high == 60
    assert 2 < found.high < 12


def test_entropy_keeps_an_even_distribution_whole() -> None:
    found = range_of(np.random.default_rng(3).uniform(0, 5, 30_000), "entropy")
    assert found.high > 0.97 * found.seen_high


def test_entropy_is_not_led_by_the_zeros_of_a_relu() -> None:
    values = np.abs(np.random.default_rng(4).normal(size=30_000))
    dense, sparse = (range_of(v, "entropy") for v in (values, np.concatenate([values, np.zeros(270_000)])))
    assert sparse.high == pytest.approx(dense.high, rel=0.1)


@pytest.mark.slow
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30),
    st.sampled_from([("max", None), ("percentile", 99.0), ("percentile", 60.0), ("entropy", None)]),
)
def test_a_range_holds_zero_and_lies_within_what_was_seen(values: list[float], by: tuple[str, float | None]) -> None:
    found = range_of(np.array(values, np.float32), *by)
    assert found.seen_low <= found.low <= 0 <= found.high <= found.seen_high


def test_only_the_method_percentile_takes_a_percentile(chain: bytes) -> None:
    for method, percentile in (("percentile", None), ("max", 99.0), ("entropy", 99.0)):
        with pytest.raises(ConfigError, match="a percentile belongs to that method alone"):
            find_ranges(chain, {}, list, method, percentile)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_activations_that_are_not_numbers_are_refused_with_frame_and_tensor(bad: float) -> None:
    with pytest.raises(CalibrationError, match="frame 0: tensor t is not finite there; the weights are broken"):
        range_of(np.array([1, 2, bad]), "max")


def test_two_equal_pictures_are_refused_by_name(chain: bytes) -> None:
    image = np.full((4, 6, 3), 40, np.uint8)
    looks = [("frame 3 of a", image), ("frame 8 of a", image + 1), ("frame 9 of b", image.copy())]
    with pytest.raises(CalibrationError, match="frame 9 of b: is the same image as frame 3 of a; each must add"):
        find_ranges(chain, {"relu": ()}, lambda: looks, "max", None)


def test_a_graph_that_openvino_cannot_read_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="OpenVINO cannot run the fp32 graph"):
        find_ranges(b"no graph", {"t": ()}, list, "max", None)


# ----------------------------------------------------------------------------------------------------------- on a drive


@pytest.fixture
def card(chain: bytes, make_card: Any) -> Card:
    return dataclasses.replace(make_card(chain, input_wh=INPUT_WH), resize="stretch")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Four pictures of the net's own size, the third the brightest."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for index, level in enumerate((50, 80, 210, 120)):
        image = picture(index, INPUT_WH) // 3
        image[1, 1:4, BLUE] = level
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def set_of(drive: Path, *indices: int) -> CalibrationSet:
    """The set of those frames of a drive."""
    found = [candidate for candidate in find_candidates([str(drive)], 1) if candidate.index in indices]
    return make_set("cal", found, *choose(found, len(found)))


def test_observing_a_drive_gives_ranges_and_says_what_they_are_of(chain: bytes, card: Card, drive: Path) -> None:
    chosen = set_of(drive, 0, 2, 3)
    seen: list[None] = []
    scales = observe(chain, card, chosen, "max", on_frame=lambda: seen.append(None))
    assert scales == Scales(
        calibration="cal",
        set_sha256=chosen.sha256,
        weights_sha256=card.weights_sha256,
        input_wh=INPUT_WH,
        resize="stretch",
        method="max",
        percentile=None,
        frames=3,
        tensors=scales.tensors,
    )
    assert scales.tensors["planes"].high == 210
    assert len(seen) == 3


@pytest.mark.slow
def test_changing_one_frame_of_the_set_moves_a_scale(chain: bytes, card: Card, drive: Path) -> None:
    for method, percentile in (("max", None), ("percentile", 99.0), ("entropy", None)):
        one = observe(chain, card, set_of(drive, 0, 1, 2), method, percentile)  # type: ignore[arg-type]
        other = observe(chain, card, set_of(drive, 0, 1, 3), method, percentile)  # type: ignore[arg-type]
        assert one.tensors["planes"].high > other.tensors["planes"].high + 20
        assert one.sha256 != other.sha256


def test_every_frame_counts_not_only_the_last(chain: bytes, card: Card, drive: Path) -> None:
    whole = observe(chain, card, set_of(drive, 0, 1, 2, 3), "max")
    apart = [observe(chain, card, set_of(drive, index), "max").tensors["planes"].high for index in range(4)]
    assert len(set(apart)) == 4
    assert whole.tensors["planes"].high == max(apart) == apart[2]


def test_histograms_take_a_second_run_over_the_frames(chain: bytes, card: Card, drive: Path) -> None:
    seen: list[None] = []
    observe(chain, card, set_of(drive, 0, 2), "entropy", on_frame=lambda: seen.append(None))
    assert len(seen) == 4


def test_frames_that_differ_only_beyond_the_nets_resolution_are_refused(
    chain: bytes, card: Card, tmp_path: Path
) -> None:
    for index in range(2):
        image = np.full((8, 12, 3), 100, np.uint8)
        image[0, 0] += index  # a quarter of a level after halving
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    with pytest.raises(CalibrationError, match=f"frame 1 of {tmp_path}: is the same image as frame 0 of {tmp_path}"):
        observe(chain, card, set_of(tmp_path, 0, 1), "max")


def test_a_changed_frame_gives_no_scales(chain: bytes, card: Card, drive: Path) -> None:
    chosen = set_of(drive, 0, 2)
    cv2.imwrite(str(drive / "2.png"), picture(9, INPUT_WH))
    with pytest.raises(CalibrationError, match=r"frame 2 of .*: is not the one"):
        observe(chain, card, chosen, "max")


# ------------------------------------------------------------------------------------------------------------- the file


finite = st.floats(allow_nan=False, allow_infinity=False)
up, down = st.floats(0, 1e30), st.floats(-1e30, 0)
ranges = st.builds(
    Range, low=down, high=up, seen_low=finite, seen_high=finite, feeds=st.lists(st.text(), max_size=2).map(tuple)
)
files = st.builds(
    Scales,
    calibration=st.text(),
    set_sha256=st.text(),
    weights_sha256=st.text(),
    input_wh=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    resize=st.sampled_from(["letterbox", "stretch"]),
    method=st.sampled_from(["max", "percentile", "entropy"]),
    percentile=st.one_of(st.none(), st.floats(50, 100)),
    frames=st.integers(1, 10**6),
    tensors=st.dictionaries(st.text(), ranges, max_size=4),
)


@pytest.mark.slow
@given(scales=files)
def test_scales_survive_their_file(scales: Scales, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "a.scales.json"
    path.write_text(scales.to_json(), encoding="utf-8")
    found = read_scales(path)
    assert found == scales
    assert found.sha256 == scales.sha256


def made(tensors: dict[str, Range]) -> Scales:
    return Scales("cal", "5" * 64, "2" * 64, INPUT_WH, "stretch", "max", None, 3, tensors)


def test_the_file_has_a_line_per_tensor_and_a_new_range_changes_only_that() -> None:
    old = made({"a": Range(0, 1, 0, 1, ("x",)), "b": Range(-1, 2, -1, 2, ("y", "z"))})
    new = made({**old.tensors, "b": Range(-1, 3, -1, 3, ("y", "z"))})
    pairs = list(zip(old.to_json().splitlines(), new.to_json().splitlines(), strict=True))
    assert [pair for pair in pairs if pair[0] != pair[1]] == [
        (
            '  "b": {"low": -1, "high": 2, "seen_low": -1, "seen_high": 2, "feeds": ["y", "z"]}',
            '  "b": {"low": -1, "high": 3, "seen_low": -1, "seen_high": 3, "feeds": ["y", "z"]}',
        )
    ]


@pytest.mark.slow
def test_the_file_of_the_net_that_comes_with_edge_is_small_and_names_its_layers(tmp_path: Path) -> None:
    bundle, scene = find_bundle("road"), StreetScene(7, (480, 360))
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), scene.render(90 * index).image)
    chosen = set_of(tmp_path, 0, 1)
    scales = observe(bundle.read(bundle.graph("f32", "openvino")), bundle.card, chosen, "max")
    assert len(scales.tensors) == 70
    assert len(scales.to_json()) < 10_000
    fed = [layer for row in scales.tensors.values() for layer in row.feeds]
    assert len(fed) == len(set(fed)) == 70
    assert {
        "encoder.stem.0",
        "encoder.blocks.15.depthwise.0",
        "context.scales.0.1",
        "head.0.0",
        "heads.markings.join.0",
    } <= set(fed)
    assert all(row.low < row.high for row in scales.tensors.values())


def damaged(**changes: Any) -> str:
    tree = json.loads(made({"a": Range(0.0, 1.0, 0.0, 1.0, ("x",))}).to_json())
    tree["tensors"]["a"].update(changes.pop("a", {}))
    return json.dumps({**tree, **changes})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a file of scales: Expecting value"),
        ("[" * 100_000, "is not a file of scales"),
        ("[1, 2]", "its format is None, expected 1"),
        ('{"weights": 3}', "its format is None, expected 1"),
        (damaged(format=2), "its format is 2, expected 1"),
        (damaged(a={"low": float("nan")}), r"tensors\.a\.low: Input should be a finite number"),
        (damaged(a={"seen_high": float("inf")}), r"tensors\.a\.seen_high: Input should be a finite number"),
        (damaged(a={"high": "1.0"}), r"tensors\.a\.high: Input should be a valid number"),
        (damaged(a={"feeds": "x"}), r"tensors\.a\.feeds: Input should be a valid (array|tuple)"),
        (damaged(a={"low": 0.5}), r"tensor a has the range 0\.5\.\.1, which must hold 0"),
        (damaged(a={"low": 3.0, "high": -3.0}), r"tensor a has the range 3\.\.-3, which must hold 0"),
        (damaged(method="best"), "method: Input should be 'max', 'percentile', 'entropy' or 'trained'"),
        (damaged(extra=1), "extra: Unexpected keyword argument"),
        (damaged(tensors=[]), "tensors: Input should be"),
    ],
)
def test_what_is_no_file_of_scales_is_refused_with_words(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.scales.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError, match=rf"a\.scales\.json: .*{said}.*Make it again: edge calibrate run"):
        read_scales(path)


def test_a_half_written_file_is_refused(tmp_path: Path) -> None:
    text = made({"a": Range(0, 1, 0, 1, ("x",))}).to_json()
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "a.json").write_text(text[: round(len(text) * share)], encoding="utf-8")
        with pytest.raises(CalibrationError, match="is not a file of scales"):
            read_scales(tmp_path / "a.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="is not a file of scales"):
        read_scales(tmp_path / "a.json")


def test_missing_scales_are_answered_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"there are no scales yet\. Make them: edge calibrate run"):
        read_scales(tmp_path / "a.json")
    with pytest.raises(CalibrationError, match="cannot be read: Is a directory"):
        read_scales(tmp_path)


def test_the_table_shows_what_is_covered_beside_what_was_seen() -> None:
    assert range_rows(made({"a": Range(-0.5, 1.25, -123456, 2, ())})) == [("a", "-0.5", "1.25", "-1.235e+05", "2")]


# ------------------------------------------------------------------------------------------------------------ freshness


def test_fresh_scales_pass(chain: bytes, card: Card, drive: Path) -> None:
    chosen = set_of(drive, 0, 1)
    check_fresh(observe(chain, card, chosen, "percentile", 99.0), chosen, wish("percentile", 99.0), card)


def wish(method: str = "max", percentile: float | None = None) -> Calibration:
    tree = {"set": "calibration/cal.yaml", "method": method, "percentile": percentile}
    return parse_tree(tree, Calibration, "here")


def test_stale_scales_are_refused_naming_all_that_changed(chain: bytes, card: Card, drive: Path) -> None:
    chosen, other_set = set_of(drive, 0, 1), set_of(drive, 0, 2)
    scales = observe(chain, card, chosen, "max")
    retrained, larger = dataclasses.replace(card, weights_sha256="9" * 64), dataclasses.replace(card, input_wh=(12, 8))
    for said, now in {
        "the net's weights changed": (chosen, wish(), retrained),
        "the frames of calibration set cal changed": (other_set, wish(), card),
        "the input size changed": (chosen, wish(), larger),
        "the resize policy changed": (chosen, wish(), dataclasses.replace(card, resize="letterbox")),
        "the method changed": (chosen, wish("entropy"), card),
        "the net's weights and the frames of calibration set cal changed": (other_set, wish(), retrained),
    }.items():
        with pytest.raises(
            CalibrationError,
            match=rf"calibration/cal\.scales\.json: is stale, {said} since\. Make it again: edge calibrate run RECIPE",
        ):
            check_fresh(scales, *now)


# ----------------------------------------------------------------------------------------------- layers and their skips


@pytest.fixture(scope="module")
def street(street_bundle: Bundle) -> Any:
    """The graph of a narrow DDRNet-23-slim."""
    return onnx.load_from_string(street_bundle.read(street_bundle.card.graphs[0]))


@pytest.mark.slow
def test_layers_are_called_as_in_the_net_and_all_but_the_last_may_be_int8(street: Any, street_net: Any) -> None:
    import torch

    convolutions = [
        name
        for name, module in street_net.named_modules()
        if isinstance(module, torch.nn.Conv2d) and not name.startswith("auxiliary")
    ]
    assert len(convolutions) == 55
    assert {layer_name(node) for node in quantisable(street)} == set(convolutions) - {"head.1.2"}
    assert len(quantisable(street)) == 54


def test_every_last_convolution_of_a_net_with_two_ends_stays_float() -> None:
    model = onnx.load_from_string(
        make_graph(
            [
                conv("first", "planes", "a"),
                conv("left", "a", "b"),
                conv("right", "a", "c"),
                helper.make_node("Add", ["b", "c"], ["out"], name="sum"),
            ],
            {f"net.{name}.weight": pointwise((1, 1, 1)) for name in ("first", "left", "right")},
        )
    )
    assert [layer_name(node) for node in quantisable(model)] == ["first"]


def test_a_layer_with_weights_of_another_name_is_called_by_its_node_or_its_result() -> None:
    assert layer_name(helper.make_node("Conv", ["x", "w"], ["y"], name="Conv_7")) == "Conv_7"
    assert layer_name(helper.make_node("Conv", ["x", "w"], ["y"])) == "y"


def test_skips_are_those_of_ddrnets_residual_blocks_and_sums_and_no_upsampled_ones(street: Any) -> None:
    producer = {name: node for node in street.graph.node for name in node.output}
    skips = skip_of(street)
    kinds = [producer[skip].op_type for skip in skips.values()]
    # By edge/nets/ddrnet.py: 12 basic blocks and 2 bottlenecks, of which 5 have a convolution on their shortcut; the
    # low branch gets the high one's features twice; and the context adds its shortcut.
    assert len(skips) == 12 + 2 + 2 + 1
    assert (kinds.count("Relu"), kinds.count("Conv"), kinds.count("Add")) == (9, 5 + 1, 2)
    assert all(producer[result].op_type == "Add" for result in skips)
    upsampled = [
        node.output[0]
        for node in street.graph.node
        if node.op_type == "Add" and any(n in producer and producer[n].op_type == "Resize" for n in node.input)
    ]
    assert len(upsampled) == 4 + 2 + 1  # the context's scales, the high branch twice, the head
    assert not set(upsampled) & set(skips)


def test_a_skip_is_the_blocks_own_input(street: Any) -> None:
    producer = {name: node for node in street.graph.node for name in node.output}
    for result, skip in skip_of(street).items():
        (block,) = (name for name in producer[result].input if name != skip)
        if producer[skip].op_type != "Relu":
            continue
        second = producer[block]  # its convolutions: second, ReLU, first
        first = producer[producer[second.input[0]].input[0]]
        assert first.input[0] == skip


def test_skips_of_a_graph_without_names_are_told_apart_and_a_doubled_sum_has_none() -> None:
    nodes = [helper.make_node("Relu", ["planes"], ["x0"])]
    for index in range(2):
        nodes.append(conv(str(index), f"x{index}", f"y{index}"))
        nodes.append(helper.make_node("Add", [f"x{index}", f"y{index}"], [f"x{index + 1}"]))
    nodes += [
        conv("2", "x2", "y2"),
        helper.make_node("Add", ["y2", "y2"], ["x3"]),
        conv("3", "x3", "out"),
    ]
    square = pointwise((1, 0, 0), (0, 1, 0), (0, 0, 1))
    model = onnx.load_from_string(make_graph(nodes, {f"net.{index}.weight": square for index in range(4)}))
    assert skip_of(model) == {"x1": "x0", "x2": "x1"}


def test_a_tensor_that_feeds_several_layers_is_observed_once(street: Any) -> None:
    feeds = tensors_to_observe(street)
    fed = [layers for layers in feeds.values() if len(layers) > 1]
    assert ("conv3.0.body.0.0", "conv3.0.shortcut.0") in fed
    assert sum(map(len, feeds.values())) == 54
    assert set(skip_of(street).values()) <= set(feeds)


# ------------------------------------------------------------------------------------------------------- trained ranges


def test_ranges_that_were_learnt_with_the_weights_reach_the_tensors_their_layers_read(
    street_bundle: Bundle, street: Any
) -> None:
    layers = [layer_name(node) for node in quantisable(street)]
    inputs = {layer: (0.0, 1.0 + place) for place, layer in enumerate(layers)}
    model = street_bundle.read(street_bundle.card.graphs[0])
    scales = trained_scales(model, street_bundle.card, inputs, dict.fromkeys(layers, (-2.0, 0.5)))
    assert scales.method == "trained"
    assert set(scales.tensors) == set(tensors_to_observe(street))
    for name, found in scales.tensors.items():
        if found.feeds:  # the widest of all that read it
            assert found.high == max(inputs[layer][1] for layer in found.feeds)
        if name in skip_of(street).values():
            assert found.low == -2.0
        assert found.low <= 0 <= found.high


def test_a_layer_that_was_not_trained_with_rounding_is_named(street_bundle: Bundle) -> None:
    model = street_bundle.read(street_bundle.card.graphs[0])
    with pytest.raises(CalibrationError, match=r"layer stem\.0\.0: the training learnt no range"):
        trained_scales(model, street_bundle.card, {}, {})
