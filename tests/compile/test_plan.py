from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.backends import cuda, plans
from edge.backends.cuda import Description
from edge.card import Card
from edge.cli import make_app
from edge.compile import graphs, plan
from edge.engine import MODEL_FILE, Bundle, find_bundle, write_bundle
from edge.errors import BundleTampered, EngineError, OutputError

ORIN = Description("Orin", "ab" * 16, (8, 7), True, "CUDA 12.6")


# ------------------------------------------------------------------------- TensorRT for RTX, which builds without a GPU


@pytest.fixture(scope="module")
def rtx() -> Any:
    """TensorRT for RTX, whose builder has TensorRT 11's interface and builds without a GPU; it runs nothing here."""
    module = pytest.importorskip("tensorrt_rtx")

    class Trt:
        __version__ = "11.4.0"

        def __getattr__(self, name: str) -> Any:
            return getattr(module, name)

    return Trt()


@pytest.fixture(scope="module")
def rtx_logger(rtx: Any) -> Any:
    class Logger(rtx.ILogger):
        def __init__(self) -> None:
            rtx.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            pass

    return Logger()


def road_graph(precision: str) -> bytes:
    bundle = find_bundle("road")
    try:
        graph = bundle.graph(precision, "tensorrt")
    except EngineError as error:
        pytest.skip(str(error))
    return graphs.for_tensorrt(bundle.read(graph), precision, (11, 4, 0))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "fp16", "int8"])
def test_the_road_graph_is_built_strongly_typed(precision: str, rtx: Any, rtx_logger: Any) -> None:
    builder = rtx.Builder(rtx_logger)
    network = plan.make_network(rtx, builder)
    plan.parse_graph(rtx, network, road_graph(precision), rtx_logger, "road")
    config = plan.make_config(rtx, builder, precision)
    assert config.get_flag(rtx.BuilderFlag.TF32) == (precision != "f32")
    steps: list[tuple[str, int, int]] = []
    monitor = plan.watch_progress(rtx, config, lambda *step: steps.append(step), threading.Event())
    built = builder.build_serialized_network(network, config)
    assert monitor is not None
    assert built.nbytes > 1e6
    assert steps
    assert all(0 <= done <= total for _, done, total in steps)
    assert (network.get_input(0).dtype, network.get_output(0).dtype) == (rtx.uint8, rtx.uint8)


def test_a_build_that_is_told_to_stop_stops(rtx: Any, rtx_logger: Any) -> None:
    builder, stop = rtx.Builder(rtx_logger), threading.Event()
    network = plan.make_network(rtx, builder)
    plan.parse_graph(rtx, network, road_graph("f32"), rtx_logger, "road")
    config = plan.make_config(rtx, builder, "f32")
    monitor = plan.watch_progress(rtx, config, lambda *_: stop.set(), stop)
    assert builder.build_serialized_network(network, config) is None
    assert monitor is not None


def test_progress_that_cannot_be_shown_does_not_take_the_builder_down(
    rtx: Any, rtx_logger: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("the terminal is gone")

    monitor = plan.watch_progress(rtx, SimpleNamespace(), fail, threading.Event())
    monitor.phase_start("tactics", None, 1)
    assert monitor.step_complete("tactics", 0) is True
    assert "cannot be shown: ValueError('the terminal is gone')" in caplog.text


def test_all_that_tensorrt_objects_to_is_listed_with_its_node(rtx: Any, rtx_logger: Any) -> None:
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3]) for n in "xy"]
    node = onnx.helper.make_node("Sharpen", ["x"], ["y"], name="sharpen7", domain="of.nobody")
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("of.nobody", 1)]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    network = plan.make_network(rtx, rtx.Builder(rtx_logger))
    with pytest.raises(EngineError, match=r"(?s)b/model\.onnx: TensorRT 11\.4\.0 does not take the graph.*sharpen7"):
        plan.parse_graph(rtx, network, model, rtx_logger, "b/model.onnx")


def test_what_is_no_graph_is_an_engine_error(rtx: Any, rtx_logger: Any) -> None:
    network = plan.make_network(rtx, rtx.Builder(rtx_logger))
    with pytest.raises(EngineError, match="does not take the graph"):
        plan.parse_graph(rtx, network, b"no graph", rtx_logger, "b/model.onnx")


# -------------------------------------------------------------------------------------- the steps, over a stand-in


class StandIn:
    """What `edge.compile.plan` asks of TensorRT, written down: it shows the steps of a build, nothing of TensorRT."""

    NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(FP16="FP16", INT8="INT8", TF32="TF32")
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    LayerInformationFormat = SimpleNamespace(JSON="json")

    def __init__(self, version: str) -> None:
        self.__version__ = version
        self.network_flags: list[int] = []
        self.config = Config()
        self.builds, self.ended = 0, False
        self.plan: bytes | None = b"built"
        self.while_building = lambda: None
        self.loads = True

    def Builder(self, logger: Any) -> Any:  # noqa: N802  # TensorRT's names, here and below
        return SimpleNamespace(
            create_network=lambda flags: self.network_flags.append(flags),
            create_builder_config=lambda: self.config,
            build_serialized_network=self._build,
        )

    def _build(self, network: Any, config: Any) -> bytes | None:
        self.builds += 1
        self.while_building()
        self.ended = True
        return self.plan

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(parse=lambda model: model.startswith(b"graph"))

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        inspector = SimpleNamespace(get_engine_information=lambda kind: '{"Layers": []}')
        engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if self.loads else None)


class Config:
    def __init__(self) -> None:
        self.flags = {"TF32"}
        self.given_timings: list[bytes] = []
        self.set_flag, self.clear_flag = self.flags.add, self.flags.discard

    def create_timing_cache(self, content: bytes) -> Any:
        self.given_timings.append(content)
        return SimpleNamespace(serialize=lambda: b"timings")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> None:
        assert not ignore_mismatch
        self.cache = cache

    def get_timing_cache(self) -> Any:
        return self.cache


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return stand_in(monkeypatch, "10.3.0")


def stand_in(monkeypatch: pytest.MonkeyPatch, version: str) -> StandIn:
    trt = StandIn(version)
    monkeypatch.setattr(plan, "unavailable_reason", lambda: None)
    monkeypatch.setattr(plan, "import_library", lambda: trt)
    monkeypatch.setattr(plan, "logger", lambda: SimpleNamespace(last_error="out of memory"))
    monkeypatch.setattr(plan, "checked_tensors", lambda *_: None)  # its own tests: over_fake_tensorrt.py
    monkeypatch.setattr(cuda, "describe", lambda: ORIN)
    monkeypatch.setattr(graphs, "for_tensorrt", lambda model, precision, version, outputs: model)
    return trt


@pytest.fixture
def bundle(make_card: Any, tmp_path: Path) -> Bundle:
    card: Card = make_card(b"graph")
    return write_bundle(tmp_path / "colours", {MODEL_FILE: b"graph"}, card)


def test_a_plan_is_built_once_and_kept_with_its_layers_and_timings(
    bundle: Bundle, trt: StandIn, cache_home: Path
) -> None:
    assert plan.ensure_plan(bundle) == b"built"
    assert plan.ensure_plan(bundle) == b"built"
    assert trt.builds == 1
    path = plan.build_plan(bundle)
    assert trt.builds == 2  # asked for, so built
    assert plans.read(path) == b"built"
    assert json.loads(plans.layers_path(path).read_text()) == {"Layers": []}
    assert trt.config.given_timings == [b"", b"timings"]
    assert len(list(path.parent.iterdir())) == 3
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.usefixtures("trt")
def test_the_command_writes_its_figures_as_json(bundle: Bundle, cache_home: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(make_app(), ["plan", str(bundle.folder), "--json", str(tmp_path / "plan.json")])
    assert result.exception is None, result.output
    found = json.loads((tmp_path / "plan.json").read_text())
    assert Path(found["plan"]).is_file()
    assert (found["layers"], found["slow_layers"]) == ({}, [])


def test_precisions_have_plans_of_their_own(bundle: Bundle, trt: StandIn) -> None:
    assert plan.build_plan(bundle, "fp16") != plan.build_plan(bundle, "f32") == plan.build_plan(bundle)


@pytest.mark.parametrize(
    ("version", "precision", "network_flags", "flags"),
    [
        ("8.6.1", "f32", 1, set()),
        ("8.6.1", "fp16", 1, {"TF32", "FP16"}),
        ("10.3.0", "f32", 2, set()),
        ("10.3.0", "fp16", 2, {"TF32"}),
    ],
)
def test_precision_is_in_flags_before_tensorrt_10_and_in_the_graph_since(
    version: str,
    precision: str,
    network_flags: int,
    flags: set[str],
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trt = stand_in(monkeypatch, version)
    plan.build_plan(bundle, precision)
    assert trt.network_flags == [network_flags]
    assert trt.config.flags == flags


def test_int8_before_tensorrt_10_has_fp16_beside_it() -> None:
    trt = StandIn("8.6.1")
    config = plan.make_config(trt, trt.Builder(None), "int8")
    assert config.flags == {"TF32", "INT8", "FP16"}


def test_a_graph_that_cannot_be_built_is_an_error_with_tensorrts_reason(bundle: Bundle, trt: StandIn) -> None:
    trt.plan = None
    with pytest.raises(EngineError, match=r"model\.onnx at f32: TensorRT cannot build it: out of memory"):
        plan.build_plan(bundle)


def test_a_plan_that_does_not_load_is_not_kept(bundle: Bundle, trt: StandIn) -> None:
    trt.loads = False
    with pytest.raises(EngineError, match="cannot load the plan that it built"):
        plan.ensure_plan(bundle)
    trt.loads = True
    plan.ensure_plan(bundle)
    assert trt.builds == 2


def test_a_tampered_graph_is_not_built(bundle: Bundle, trt: StandIn) -> None:
    (bundle.folder / MODEL_FILE).write_bytes(b"graph with something else in it")
    with pytest.raises(BundleTampered):
        plan.build_plan(bundle)
    assert trt.builds == 0


def test_a_tampered_bundle_gets_no_plan_even_if_the_true_ones_is_kept(bundle: Bundle, trt: StandIn) -> None:
    plan.build_plan(bundle)
    (bundle.folder / MODEL_FILE).write_bytes(b"graph with something else in it")
    with pytest.raises(BundleTampered):
        plan.ensure_plan(bundle)


def test_without_a_gpu_nothing_is_built_and_the_reason_is_given(
    bundle: Bundle, trt: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "unavailable_reason", lambda: "no NVIDIA driver is installed")
    with pytest.raises(EngineError, match="TensorRT cannot run here: no NVIDIA driver is installed"):
        plan.ensure_plan(bundle)


def test_an_unwritable_cache_is_noticed_before_a_build_that_is_to_be_kept(
    bundle: Bundle, trt: StandIn, cache_home: Path
) -> None:
    cache_home.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"edge/tensorrt: the plan cannot be kept there: Not a directory"):
        plan.build_plan(bundle)
    assert trt.builds == 0


def test_an_unwritable_cache_only_costs_time(
    bundle: Bundle, trt: StandIn, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_home.write_text("a file where the folder should be")
    assert plan.ensure_plan(bundle) == b"built"
    assert "cannot be kept, the next start builds it again: Not a directory" in caplog.text


def test_ctrl_c_stops_the_build_and_nothing_is_kept(bundle: Bundle, trt: StandIn, cache_home: Path) -> None:
    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)  # a step of the builder, at whose end it asks whether to go on

    trt.while_building, trt.plan = interrupted, None
    with pytest.raises(KeyboardInterrupt):
        plan.ensure_plan(bundle)
    assert not list(cache_home.rglob("*.plan"))
    assert trt.ended


# ------------------------------------------------------------------------------------------------------ table of layers


def layer(name: str, *formats: str) -> dict[str, Any]:
    return {"Name": name, "Inputs": [{"Name": "x", "Format/Datatype": text} for text in formats], "Outputs": []}


def test_layers_are_counted_by_what_they_read_and_those_in_float32_are_named() -> None:
    table = [
        layer("conv 8.6", "Thirty-two wide channel vectorized row major Int8 format"),
        layer("conv 10", "Int8", "Half"),
        layer("add 8.6", "Row major linear FP16 format"),
        layer("add 10", "Half"),
        layer("argmax", "Float"),
        layer("resize 8.6", "Row major linear FP32"),
        layer("cast", "UInt8"),
        layer("constant"),
    ]
    found = plan.summarize_layers(json.dumps({"Layers": table, "Bindings": []}))
    assert found.by_precision == {"int8": 2, "half": 2, "float": 2, "uint8": 1, "other": 1}
    assert found.slow == ("argmax", "resize 8.6")


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": ["conv", "add"]}', '{"Layers": [{}]}'])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="not a table of layers"):
        plan.summarize_layers(text)
