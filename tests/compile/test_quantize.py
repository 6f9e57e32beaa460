"""INT8 graphs: their roundings, their weights, and what they compute."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge.backends.cpu import int8_saturates
from edge.engine import Bundle, find_bundle
from edge.errors import CalibrationError, ConfigError, EngineError
from edge.street.render import StreetScene

onnx = pytest.importorskip("onnx")
from small_graphs import conv, make_chain, make_graph, pointwise  # noqa: E402

from edge.compile.observe import (  # noqa: E402
    Range,
    find_ranges,
    layer_name,
    quantisable,
    skip_of,
    tensors_to_observe,
)
from edge.compile.quantize import (  # noqa: E402
    SMALLEST_HALF,
    SMALLEST_STEP,
    Form,
    as_half,
    quantise_weights,
    to_bytes,
    write_int8,
)
from edge.compile.trial import Runtime, run_in_subprocess, trial  # noqa: E402

helper, numpy_helper = onnx.helper, onnx.numpy_helper
FORMS: tuple[Form, ...] = ("openvino", "tensorrt")
RUNTIMES: dict[Form, tuple[Runtime, ...]] = {"openvino": ("onnxruntime", "openvino"), "tensorrt": ("onnxruntime",)}
ROUNDINGS = ("QuantizeLinear", "DequantizeLinear")

SATURATES = int8_saturates()


class Written:
    """A graph to ask questions of."""

    def __init__(self, model: Any) -> None:
        self.model, self.nodes = model, list(model.graph.node)
        self.stored = {constant.name: constant for constant in model.graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}

    def of(self, *kinds: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type in kinds]

    def readers(self, name: str) -> list[Any]:
        return [node for node in self.nodes if name in node.input]

    def value(self, name: str) -> NDArray:
        return numpy_helper.to_array(self.stored[name])

    def kind_before(self, name: str) -> str:
        """The operation that gives a tensor; that of a constant is ""."""
        return self.producer[name].op_type if name in self.producer else ""

    def activation_roundings(self) -> list[Any]:
        return [node for node in self.of("QuantizeLinear") if node.input[0] not in self.stored]

    def layer(self, name: str) -> Any:
        """A convolution that is still in float, by its layer's name."""
        return next(node for node in self.of("Conv", "ConvTranspose") if layer_name(node) == name)


def made_up_ranges(model: Any, low: float = -3.0, high: float = 5.0) -> dict[str, Range]:
    return {name: Range(low, high, low, high, layers) for name, layers in tensors_to_observe(model).items()}


def write(model: Any, form: Form, *keep_float: str) -> Written:
    return Written(write_int8(model, made_up_ranges(model), form, keep_float))


@pytest.fixture(scope="module")
def street(street_bundle: Bundle) -> Any:
    """The fp32 graph of a narrow DDRNet-23-slim, with most weights stored as half floats."""
    return onnx.load_from_string(street_bundle.read(street_bundle.card.graphs[0]))


@pytest.fixture
def chain() -> Any:
    return onnx.load_from_string(make_chain())


# -------------------------------------------------------------------------------------------------------------- weights


sizes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
numbers = st.one_of(st.just(0.0), st.floats(2**-20, 2**20, width=32), st.floats(-(2**20), -(2**-20), width=32))


@given(arrays.arrays(np.float32, sizes, elements=numbers), st.sampled_from([0, 1]), st.booleans())
def test_weights_round_to_within_half_a_step_and_each_channels_largest_to_127(
    weights: NDArray[np.float32], axis: int, half_scales: bool
) -> None:
    values, scales = quantise_weights(weights, axis, half_scales=half_scales)
    assert (values.dtype, values.shape) == (np.int8, weights.shape)
    assert (scales.dtype, scales.shape) == (np.float32, (weights.shape[axis],))
    for channel, scale in enumerate(scales.astype(np.float64)):
        exact, rounded = weights.take(channel, axis).astype(np.float64), values.take(channel, axis)
        assert np.abs(exact - rounded * scale).max() <= scale / 2 * (1 + 1e-4)
        assert np.abs(rounded.astype(int)).max() == (127 if exact.any() else 0)


def test_a_channel_of_zeros_or_of_almost_nothing_has_a_scale_of_one() -> None:
    values, scales = quantise_weights(np.array([[0, 0], [1e-42, -1e-42], [2, -1]], np.float32), axis=0)
    assert scales.tolist() == [1, 1, np.float32(2 / 127)]
    assert values.tolist() == [[0, 0], [0, 0], [127, -64]]


def test_channels_have_steps_of_their_own() -> None:
    values, scales = quantise_weights(np.array([[1270, -635], [0.0127, 0.0001]], np.float32), axis=0)
    assert values.tolist() == [[127, -64], [127, 1]]
    assert scales == pytest.approx([10, 0.0001])


# ------------------------------------------------------------------------------------------------- steps of activations


@given(st.floats(-1e6, 0), st.floats(0, 1e6))
def test_openvinos_steps_cover_the_range_and_hold_zero_exactly(low: float, high: float) -> None:
    scale, zero = step_of("openvino", low, high)
    assert zero.dtype == np.uint8
    lowest, highest = -float(zero) * scale, (255 - float(zero)) * scale
    slack = 0.5001 * scale  # by the rounding of the zero point
    assert lowest <= low + slack
    assert highest >= high - slack
    assert scale <= max((high - low) / 255 * 1.0001, SMALLEST_STEP)


@given(st.floats(-1e6, 0), st.floats(0, 1e6))
def test_tensorrts_steps_are_symmetric_cover_the_range_and_are_half_floats(low: float, high: float) -> None:
    scale, zero = step_of("tensorrt", low, high)
    assert (zero.dtype, int(zero)) == (np.int8, 0)
    wanted = np.float32(max(max(-low, high) / 127, SMALLEST_STEP))
    assert wanted <= scale <= wanted * (1 + 2**-10)
    assert scale < SMALLEST_HALF or float(np.float16(scale)) == scale


@given(arrays.arrays(np.float32, 5, elements=st.floats(0, 2.0**20, width=32)))
def test_a_scale_as_half_float_is_exact_never_smaller_and_hardly_larger(scales: NDArray[np.float32]) -> None:
    halves = as_half(scales)
    assert halves.dtype == np.float32
    within = (scales >= SMALLEST_HALF) & (scales <= 65504)
    assert (halves[within].astype(np.float16) == halves[within]).all()
    assert (halves[within] >= scales[within]).all()
    assert (halves[within] <= scales[within] * (1 + 2**-10)).all()
    assert (halves[~within] == scales[~within]).all()


def step_of(form: Form, low: float, high: float) -> tuple[float, NDArray]:
    """Scale and zero point that a tensor of that range is rounded with."""
    model = onnx.load_from_string(make_chain())
    written = Written(write_int8(model, made_up_ranges(model, low, high), form))
    (first, *_) = written.activation_roundings()
    return float(written.value(first.input[1])), written.value(first.input[2])


# ------------------------------------------------------------------------------------------------------ OpenVINO's form


@pytest.mark.slow
def test_openvinos_form_rounds_inputs_of_convolutions_and_nothing_else(street: Any) -> None:
    written = write(street, "openvino")
    for node in written.activation_roundings():
        assert written.value(node.input[2]).dtype == np.uint8
        (back,) = written.readers(node.output[0])
        assert back.op_type == "DequantizeLinear"
        assert {reader.op_type for reader in written.readers(back.output[0])} == {"Conv"}
    assert len(written.activation_roundings()) == len({node.input[0] for node in quantisable(street)})


@pytest.mark.parametrize("form", FORMS)
def test_every_convolution_but_the_last_reads_rounded_values_and_weights(street: Any, form: Form) -> None:
    written = write(street, form)
    *inner, last = written.of("Conv")
    assert len(inner) == 54
    for node in inner:
        assert [written.kind_before(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
    assert layer_name(last) == "head.1.2"
    assert not {written.kind_before(name) for name in last.input} & set(ROUNDINGS)


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_stored_as_int8_with_a_step_per_output_channel_and_biases_stay_float(
    street: Any, form: Form
) -> None:
    written = write(street, form)
    for node in written.of("Conv")[:-1]:
        dequantise = written.producer[node.input[1]]
        values, scales, zeros = (written.value(name) for name in dequantise.input)
        assert (values.dtype, scales.dtype, zeros.dtype) == (np.int8, np.float32, np.int8)
        assert scales.shape == zeros.shape == values.shape[:1]
        assert [(a.name, a.i) for a in dequantise.attribute] == [("axis", 0)]
        assert np.abs(values.astype(int)).max() == 127
        assert not zeros.any()
        assert all(written.value(name).dtype == np.float32 for name in node.input[2:])


# ------------------------------------------------------------------------------------------------------ TensorRT's form


def test_tensorrts_form_is_symmetric_signed_and_of_the_old_opset(street: Any) -> None:
    written = write(street, "tensorrt")
    assert [(o.domain, o.version) for o in written.model.opset_import] == [("", 17)]
    assert written.model.ir_version == street.ir_version == 8
    for node in written.of(*ROUNDINGS):
        scale, zero = (written.value(name) for name in node.input[1:])
        assert (scale.dtype, zero.dtype) == (np.float32, np.int8)
        assert (scale > 0).all()
        assert not zero.any()


def test_nothing_stands_between_a_convolution_and_its_relu(street: Any) -> None:
    before = Written(street)
    fused = [n.output[0] for n in before.of("Conv") if "Relu" in {r.op_type for r in before.readers(n.output[0])}]
    assert len(fused) > 15
    for form in FORMS:
        written = write(street, form)
        assert all([reader.op_type for reader in written.readers(name)] == ["Relu"] for name in fused)


def test_stretched_and_joined_tensors_are_not_rounded(street: Any) -> None:
    for form in FORMS:
        written = write(street, form)
        assert not {written.kind_before(n.input[0]) for n in written.activation_roundings()} & {"Resize", "Concat"}


def test_a_joined_tensor_is_rounded_where_a_convolution_reads_it_and_once() -> None:
    model = onnx.load_from_string(
        make_graph(
            [
                conv("left", "planes", "a"),
                conv("right", "planes", "b"),
                helper.make_node("Concat", ["a", "b"], ["joined"], axis=1),
                conv("one", "joined", "c"),
                conv("two", "joined", "d"),
                helper.make_node("Add", ["c", "d"], ["e"]),
                conv("last", "e", "out"),
            ],
            {
                **{f"net.{name}.weight": pointwise((1, 1, 1)) for name in ("left", "right")},
                **{f"net.{name}.weight": pointwise((1, 1)) for name in ("one", "two")},
                "net.last.weight": pointwise((1,)),
            },
        )
    )
    written = write(model, "openvino")
    assert sorted(node.input[0] for node in written.activation_roundings()) == ["joined", "planes"]


def test_a_residual_skip_is_rounded_once_and_shared_with_the_layers_that_read_it(street: Any) -> None:
    written, before = write(street, "tensorrt"), Written(street)
    skips = skip_of(street)
    for result, skip in skips.items():
        place = list(before.producer[result].input).index(skip)
        sides = [written.kind_before(name) for name in written.producer[result].input]
        assert sides[place] == "DequantizeLinear"
        assert sides[1 - place] == "Conv"  # straight from the block, to be fused
        assert written.producer[written.producer[written.producer[result].input[place]].input[0]].input[0] == skip
    rounded = [node.input[0] for node in written.activation_roundings()]
    assert len(rounded) == len(set(rounded))
    assert set(rounded) == set(tensors_to_observe(street))
    assert {written.kind_before(name) for name in rounded if not before.kind_before(name).endswith("Relu")} >= {"Add"}


def test_openvinos_form_leaves_skips_alone(street: Any) -> None:
    written, before = write(street, "openvino"), Written(street)
    for result in skip_of(street):
        assert written.producer[result].input == before.producer[result].input


def test_a_skip_is_not_rounded_where_its_block_ends_in_float(street: Any) -> None:
    (result, *_), before = skip_of(street), Written(street)
    block = next(n for n in before.producer[result].input if before.kind_before(n) == "Conv")
    written = write(street, "tensorrt", layer_name(before.producer[block]))
    assert written.producer[result].input == before.producer[result].input


# ------------------------------------------------------------------------------------------------- layers kept in float


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_kept_in_float_keeps_its_half_stored_weights_and_reads_what_it_read(street: Any, form: Form) -> None:
    written, before = write(street, form, "conv5_low.0.body.0.0"), Written(street)
    kept, old = (graph.layer("conv5_low.0.body.0.0") for graph in (written, before))
    assert kept == old
    assert written.kind_before(kept.input[1]) == "Cast"
    stored = written.producer[kept.input[1]].input[0]
    assert written.stored[stored] == before.stored[stored]
    halves = [c.name for c in written.model.graph.initializer if c.data_type == onnx.TensorProto.FLOAT16]
    assert halves == [stored]
    other = [n for n in written.of("Conv") if n.input[0] == f"{old.input[0]}.rounded"]
    assert len(other) == 1  # the shortcut, which reads the same tensor, is still INT8


@pytest.mark.parametrize("form", FORMS)
def test_with_all_layers_in_float_the_graph_is_what_it_was(street: Any, form: Form) -> None:
    kept = [layer_name(node) for node in quantisable(street)]
    assert to_bytes(write_int8(street, {}, form, kept)) == to_bytes(street)


def test_the_last_layer_may_be_named_too(chain: Any) -> None:
    assert len(write(chain, "openvino", "last").activation_roundings()) == 2


def test_an_unknown_layer_to_keep_is_refused_with_those_there_are(chain: Any) -> None:
    with pytest.raises(ConfigError, match=r"layer 'frist' cannot be kept in float: .* there are: first, second, last"):
        write(chain, "openvino", "second", "frist")


def test_the_model_that_is_given_stays_as_it_was(street: Any) -> None:
    before = copy.deepcopy(street)
    for form in FORMS:
        write(street, form)
    assert street == before


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_gives_the_same_bytes(street: Any, form: Form) -> None:
    assert to_bytes(write(street, form).model) == to_bytes(write(copy.deepcopy(street), form).model)


def test_nothing_is_left_that_nobody_reads(street: Any) -> None:
    for form in FORMS:
        written = write(street, form)
        read = {name for node in written.nodes for name in node.input} | {o.name for o in written.model.graph.output}
        assert set(written.stored) <= read
        assert all(set(node.output) & read for node in written.nodes)


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_tensor_without_a_range_is_refused_by_name(chain: Any) -> None:
    ranges = made_up_ranges(chain)
    del ranges["relu"]
    with pytest.raises(CalibrationError, match=r"tensor relu has no range\. Calibrate again"):
        write_int8(chain, ranges, "tensorrt")


def test_weights_that_are_no_numbers_are_refused_by_layer(chain: Any) -> None:
    for bad in (np.nan, np.inf):
        (weights,) = (c for c in chain.graph.initializer if c.name == "net.second.weight")
        weights.CopyFrom(numpy_helper.from_array(pointwise((1, bad), (0, 1)), weights.name))
        with pytest.raises(EngineError, match="layer second: holds weights that are not finite"):
            write(chain, "openvino")


def test_weights_that_are_computed_are_refused_by_layer(chain: Any) -> None:
    double = helper.make_node("Add", ["net.second.weight", "net.second.weight"], ["doubled"])
    chain.graph.node.insert(0, double)
    next(node for node in chain.graph.node if node.name == "node_second").input[1] = "doubled"
    with pytest.raises(EngineError, match="layer node_second: its weights are computed, not constant; keep it float"):
        write(chain, "openvino")


# --------------------------------------------------------------------------------------------------- other convolutions


def with_transposed(group: int) -> Any:
    weights = np.arange(3 * 4 * 2 * 2, dtype=np.float32).reshape(3, 4, 2, 2) + 1
    return onnx.load_from_string(
        make_graph(
            [
                conv("up", "planes", "a", "ConvTranspose", strides=[2, 2], group=group),
                conv("last", "a", "out"),
            ],
            {"net.up.weight": weights, "net.last.weight": pointwise((1, 2, 3, 4) if group == 1 else (1,) * 12)},
        )
    )


def test_a_transposed_convolutions_channels_are_along_the_second_axis() -> None:
    model = with_transposed(group=1)
    written = write(model, "tensorrt")
    (up,) = written.of("ConvTranspose")
    dequantise = written.producer[up.input[1]]
    values, scales, _ = (written.value(name) for name in dequantise.input)
    assert scales.shape == (4,)
    assert [(a.name, a.i) for a in dequantise.attribute] == [("axis", 1)]
    exact = Written(model).value("net.up.weight")
    assert np.abs(values * scales[None, :, None, None] - exact).max() <= scales.max() / 2
    assert np.abs(values.astype(int)).max(axis=(0, 2, 3)).tolist() == [127] * 4


def test_a_transposed_convolution_in_groups_is_refused_by_layer() -> None:
    with pytest.raises(EngineError, match="layer up: is transposed and in groups, which cannot be INT8; keep it float"):
        write(with_transposed(group=3), "tensorrt")
    assert not write(with_transposed(group=3), "tensorrt", "up").of(*ROUNDINGS)


def test_weights_that_two_layers_share_are_stored_once() -> None:
    nodes = [conv("same", "planes", "a"), conv("same", "a", "b"), conv("last", "b", "out")]
    square = pointwise((1, 0, 0), (0, 1, 0), (0, 0, 1))
    model = onnx.load_from_string(make_graph(nodes, {"net.same.weight": square, "net.last.weight": square}))
    written = write(model, "tensorrt")
    assert len([c for c in written.model.graph.initializer if c.data_type == onnx.TensorProto.INT8 and c.dims]) == 2
    assert len({node.input[1] for node in written.of("Conv")}) == 2


# ---------------------------------------------------------------------------------------------------- what they compute


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_graph_computes_what_its_roundings_say(form: Form) -> None:
    chance = np.random.default_rng(1)
    weights = chance.normal(size=(4, 3, 1, 1)).astype(np.float32)
    identity = np.eye(4, dtype=np.float32)[..., None, None]
    model = onnx.load_from_string(
        make_graph(
            [conv("first", "planes", "a"), conv("last", "a", "out")],
            {"net.first.weight": weights, "net.last.weight": identity},
        )
    )
    image = chance.integers(0, 256, (4, 6, 3), np.uint8)
    written = Written(write_int8(model, {"planes": Range(0, 200, 0, 255, ())}, form))
    step, zero = written.value("planes.scale"), written.value("planes.zero")
    assert float(step) == pytest.approx(200 / {"openvino": 255, "tensorrt": 127}[form], rel=1e-3)
    limits = np.iinfo(zero.dtype)
    pixels = ((np.rint(image / step) + zero).clip(limits.min, limits.max) - zero) * step
    steps = written.value("net.first.weight.scale")[:, None]
    wanted = np.einsum("hwc,oc->ohw", pixels, written.value("net.first.weight.int8")[..., 0, 0] * steps)
    for runtime in RUNTIMES[form]:
        if runtime == "openvino" and SATURATES:
            continue
        found = run_in_subprocess(to_bytes(written.model), image[None], runtime=runtime, precision="int8")
        np.testing.assert_allclose(found[0, 0], wanted, rtol=1e-4, atol=1e-2)
    assert pixels.max() == pytest.approx(200, rel=1e-3)  # brighter ones are clipped
    assert np.abs(wanted - np.einsum("hwc,oc->ohw", image, weights[..., 0, 0])).max() > 1


@pytest.fixture(scope="module")
def road() -> Any:
    """The trained net's fp32 graph."""
    bundle = find_bundle("road")
    return onnx.load_from_string(bundle.read(bundle.graph("f32", "openvino")))


@pytest.fixture(scope="module")
def seen(road: Any) -> tuple[dict[str, Range], NDArray[np.uint8], NDArray[np.uint8]]:
    """Its ranges of three rendered frames, two others, and what fp32 sees in these."""
    data, scene = to_bytes(road), StreetScene(7, (480, 360))
    images = [scene.render(90 * index).image for index in range(5)]
    looks = [(str(index), image) for index, image in enumerate(images[:3])]
    ranges = find_ranges(data, tensors_to_observe(road), lambda: looks, "max", None)
    return ranges, np.stack(images[3:]), trial(data, images[3:])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_trained_net_sees_the_same_in_int8(form: Form, road: Any, seen: Any) -> None:
    ranges, images, wanted = seen
    written = to_bytes(write_int8(road, ranges, form))
    by_onnxruntime = run_in_subprocess(written, images, runtime="onnxruntime")[:, 0]
    assert 0.99 < np.mean(by_onnxruntime == wanted) < 1
    if form == "openvino":
        by_openvino = trial(written, list(images), precision="int8")
        assert np.mean(by_openvino == wanted) > (0.98 if SATURATES else 0.99)
        assert np.mean(by_openvino == by_onnxruntime) > (0.98 if SATURATES else 0.995)


@pytest.mark.parametrize("form", FORMS)
def test_the_file_is_half_of_the_fp32_one_whose_weights_are_halves(form: Form, road: Any) -> None:
    # Above a half: each channel has a scale, and depthwise weights are few for each.
    assert 0.5 < len(to_bytes(write_int8(road, made_up_ranges(road), form))) / len(to_bytes(road)) < 0.56
