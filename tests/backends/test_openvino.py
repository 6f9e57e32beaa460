from __future__ import annotations

import dataclasses
import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import SENTENCES

from edge.backends import open_engine
from edge.backends import openvino as backend
from edge.backends.openvino import OpenVinoEngine
from edge.cache import seal_of
from edge.engine import MODEL_FILE, Bundle, find_bundle, load_bundle, write_bundle
from edge.errors import BundleTampered, EngineError
from edge.frame import Image


def blobs(cache_home: Path) -> list[Path]:
    return sorted((cache_home / "edge" / "openvino").glob("*"))


@pytest.fixture
def engine(colour_bundle: Bundle) -> Any:
    with OpenVinoEngine(colour_bundle, threads=1) as opened:
        yield opened


# ----------------------------------------------------------------------------------------------------------- inference


@pytest.mark.slow
def test_colours_are_read_as_bgr_and_every_pixel_keeps_its_place(
    engine: OpenVinoEngine, flag: Image, flag_classes: Image, lying_flag: Image, lying_flag_classes: Image
) -> None:
    np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    np.testing.assert_array_equal(engine.infer(lying_flag)["semantic"], lying_flag_classes)


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.__name__)
def test_an_engine_of_openvino_does_what_every_engine_does(
    sentence: Any, engine: OpenVinoEngine, flag: Image, flag_classes: Image
) -> None:
    sentence(engine, flag, flag_classes)


@pytest.mark.slow
def test_frames_side_by_side_get_the_classes_that_they_get_one_by_one(street_bundle: Bundle) -> None:
    width, height = street_bundle.card.input_wh
    frames = [np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8) for i in range(6)]
    with OpenVinoEngine(street_bundle) as engine:
        assert engine.streams == 1
        expected = [engine.infer(frame)["semantic"] for frame in frames]
    with OpenVinoEngine(street_bundle, side_by_side=True) as engine, ThreadPoolExecutor(4) as pool:
        assert engine.streams == engine.threads
        for outputs, classes in zip(pool.map(engine.infer, frames), expected, strict=True):
            np.testing.assert_array_equal(outputs["semantic"], classes)


CLOSED_THEN_INTERRUPTED = """
import os, signal, sys, threading
from edge.backends import open_engine

engines = [open_engine(sys.argv[1]), open_engine(sys.argv[1])]
for _ in range(2):
    engines.pop(0).close()  # in the order of opening, as one closes files
engine = [open_engine(sys.argv[1])]
other = threading.Thread(target=engine.clear)
other.start()
other.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("still there")
"""


@pytest.mark.slow
def test_ctrl_c_after_engines_are_closed_in_any_order_and_thread_reaches_python(colour_bundle: Bundle) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED_THEN_INTERRUPTED, str(colour_bundle.folder)], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "still there"), ended.stderr


@pytest.mark.slow
def test_f32_gives_the_same_classes_from_every_compilation(street_bundle: Bundle, cache_home: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (91, 150, 3), dtype=np.uint8)
    fresh = open_engine(street_bundle.folder).infer(image)["semantic"]
    (cached,) = blobs(cache_home)
    loaded = open_engine(street_bundle.folder).infer(image)["semantic"]
    cached.unlink()
    again = open_engine(street_bundle.folder).infer(image)["semantic"]
    np.testing.assert_array_equal(fresh, loaded)
    np.testing.assert_array_equal(fresh, again)
    assert len(np.unique(fresh)) > 1


def test_bf16_runs_where_the_cpu_has_it_and_is_refused_where_not(
    colour_bundle: Bundle, flag: Image, flag_classes: Image
) -> None:
    core = backend.get_core()
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with OpenVinoEngine(colour_bundle, precision="bf16", threads=1) as engine:
            assert engine.precision == "bf16"
            np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    else:
        with pytest.raises(EngineError, match="no bf16"):
            OpenVinoEngine(colour_bundle, precision="bf16")


def test_f32_is_not_quietly_bf16(street_bundle: Bundle) -> None:
    image = np.random.default_rng(3).integers(0, 256, (91, 150, 3), dtype=np.uint8)
    try:
        rough = open_engine(street_bundle.folder, precision="bf16").infer(image)["semantic"]
    except EngineError:
        pytest.skip("this CPU has no bf16")
    agreement = np.mean(rough == open_engine(street_bundle.folder).infer(image)["semantic"])
    assert 0.8 < agreement < 1


class OtherCore:
    """Of a CPU with these capabilities."""

    def __init__(self, *capabilities: str) -> None:
        self._capabilities = capabilities

    def get_property(self, device: str, name: str) -> Any:
        return {"OPTIMIZATION_CAPABILITIES": self._capabilities, "FULL_DEVICE_NAME": "Old CPU"}[name]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_is_refused_on_a_cpu_without_it(precision: str) -> None:
    backend._check_cpu(OtherCore("FP32", "INT8"), "f32")
    backend._check_cpu(OtherCore("FP32", precision.upper()), precision)
    with pytest.raises(EngineError, match=rf"this CPU \(Old CPU\) has no {precision} arithmetic; use f32"):
        backend._check_cpu(OtherCore("FP32", "INT8"), precision)


@pytest.mark.parametrize(
    ("machine", "capabilities", "card_precision", "expected"),
    [
        ("aarch64", ("FP16", "FP32", "INT8"), "int8", "fp16"),
        ("aarch64", ("FP32", "INT8"), "int8", None),
        ("aarch64", ("FP16", "FP32", "INT8"), "fp32", None),
        ("x86_64", ("FP16", "FP32", "INT8"), "int8", None),
    ],
)
def test_on_arm_fp16_takes_the_place_of_int8_where_the_cpu_has_it(
    machine: str,
    capabilities: tuple[str, ...],
    card_precision: str,
    expected: str | None,
    colour_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend.platform, "machine", lambda: machine)
    monkeypatch.setattr(backend, "get_core", lambda: OtherCore(*capabilities))
    card = dataclasses.replace(colour_bundle.card, precision=card_precision)
    assert backend._arm_precision(card) == expected


def test_an_unknown_precision_is_answered_with_those_there_are(colour_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="expected a precision of OpenVINO: f32, bf16, fp16, int8; got 'f16'"):
        OpenVinoEngine(colour_bundle, precision="f16")


@pytest.mark.parametrize("threads", [0, -1, 10_000])
def test_threads_that_cannot_be_had_are_refused(colour_bundle: Bundle, threads: int) -> None:
    with pytest.raises(EngineError, match=rf"expected 1 to \d+ threads, which this process may use, got {threads}"):
        OpenVinoEngine(colour_bundle, threads=threads)


def test_without_a_wish_all_allowed_cpus_are_used(colour_bundle: Bundle) -> None:
    with OpenVinoEngine(colour_bundle) as engine:
        assert engine.threads == len(os.sched_getaffinity(0))


# ------------------------------------------------------------------------------------------------- what is not its card


@pytest.mark.slow
def test_layers_are_counted_in_the_precision_that_they_run_in() -> None:
    with OpenVinoEngine(find_bundle("road"), precision="f32") as engine:
        exact = backend.layer_precisions(engine)
    assert set(exact) == {"f32"}
    with OpenVinoEngine(find_bundle("road"), precision="int8") as engine:
        counts = backend.layer_precisions(engine)
        again = backend.layer_precisions(engine)
    assert abs(sum(counts.values()) - sum(exact.values())) <= 2  # AVX2 alone: a pair is fused in f32
    assert counts["int8"] > 0.9 * sum(counts.values())
    assert again == counts
    with pytest.raises(EngineError, match="is closed"):
        backend.layer_precisions(engine)


def test_a_tampered_graph_is_not_compiled_even_if_the_true_one_is_cached(colour_bundle: Bundle) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    content = bytearray((colour_bundle.folder / MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (colour_bundle.folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(BundleTampered):
        OpenVinoEngine(colour_bundle, threads=1)


def test_what_is_no_graph_is_an_engine_error(make_card: Any, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: b"no graph"}, make_card(b"no graph"))
    with pytest.raises(EngineError, match=r"model\.onnx: OpenVINO cannot compile it"):
        OpenVinoEngine(bundle, threads=1)


def test_a_graph_of_another_size_than_its_card_is_refused(colour_bundle: Bundle) -> None:
    card = dataclasses.replace(colour_bundle.card, input_wh=(48, 64))
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(Bundle(colour_bundle.folder, card), threads=1)
    assert (
        "expected a graph of uint8 [1,64,48,3] -> uint8 [1,64,48] semantic, as its card says, got uint8 [1,48,64,3]"
        in str(caught.value)
    )


def test_a_graph_that_takes_floats_is_refused(make_card: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3, None, 64]) for n in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: model.SerializeToString()}, make_card(model.SerializeToString()))
    with pytest.raises(EngineError, match=r"got float32 \[1,3,\?,64\] -> float32 \[1,3,\?,64\] y"):
        OpenVinoEngine(bundle, threads=1)


# ----------------------------------------------------------------------------------------------------------- the cache


def test_what_was_compiled_is_kept_for_the_owner_alone(colour_bundle: Bundle, cache_home: Path) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    (blob,) = blobs(cache_home)
    assert stat.S_IMODE(blob.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(blob.stat().st_mode) == 0o600


def test_a_second_start_does_not_compile(
    colour_bundle: Bundle, flag: Image, flag_classes: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()

    def refuse(*_: Any) -> None:
        raise AssertionError("compiled a second time")

    monkeypatch.setattr(backend.import_library().Core, "compile_model", refuse)
    with OpenVinoEngine(colour_bundle, threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


@pytest.mark.slow
def test_another_graph_or_setting_is_compiled_for_itself(
    colour_bundle: Bundle, street_bundle: Bundle, cache_home: Path
) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    OpenVinoEngine(street_bundle, threads=1).close()
    assert len(blobs(cache_home)) == 2
    if len(os.sched_getaffinity(0)) > 1:
        OpenVinoEngine(colour_bundle, threads=2).close()
        assert len(blobs(cache_home)) == 3


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign", "of another key", "a folder"])
def test_a_damaged_cache_file_is_replaced_and_logged(
    damage: str,
    colour_bundle: Bundle,
    street_bundle: Bundle,
    cache_home: Path,
    flag: Image,
    flag_classes: Image,
    caplog: pytest.LogCaptureFixture,
) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    (blob,) = blobs(cache_home)
    sound = blob.read_bytes()
    if damage == "truncated":
        blob.write_bytes(sound[: len(sound) // 2])
    elif damage == "empty":
        blob.write_bytes(b"")
    elif damage == "flipped":
        blob.write_bytes(bytes([*sound[:99], sound[99] ^ 1, *sound[100:]]))
    elif damage == "foreign":
        blob.write_bytes(b"\x7fELF" * 1000)
    elif damage == "of another key":
        OpenVinoEngine(street_bundle, threads=1).close()
        (other,) = set(blobs(cache_home)) - {blob}
        other.replace(blob)
    else:
        blob.unlink()
        blob.mkdir()
    with caplog.at_level(logging.INFO, "edge"), OpenVinoEngine(colour_bundle, threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    assert blob.name in caplog.text
    if damage != "a folder":
        assert "is damaged, compiling anew" in caplog.text
        caplog.clear()
        with caplog.at_level(logging.INFO, "edge"):
            OpenVinoEngine(colour_bundle, threads=1).close()
        assert not caplog.records  # in order again
    assert not list(blob.parent.glob("*.part"))


def test_a_blob_that_openvino_refuses_is_compiled_anew(
    colour_bundle: Bundle, cache_home: Path, flag: Image, flag_classes: Image, caplog: pytest.LogCaptureFixture
) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    (blob,) = blobs(cache_home)
    blob.write_bytes(b"sealed, but not a model" + seal_of(blob, b"sealed, but not a model"))
    with caplog.at_level(logging.INFO, "edge"), OpenVinoEngine(colour_bundle, threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    assert "OpenVINO refuses it, compiling anew" in caplog.text


def test_an_unwritable_cache_only_costs_time(
    colour_bundle: Bundle, cache_home: Path, flag: Image, flag_classes: Image, caplog: pytest.LogCaptureFixture
) -> None:
    cache_home.write_text("a file where the folder should be")  # refuses root too, which a mode would not
    with caplog.at_level(logging.INFO, "edge"), OpenVinoEngine(colour_bundle, threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    assert "cannot be written, the next start compiles again" in caplog.text


def test_a_cache_that_others_may_write_is_not_trusted(
    colour_bundle: Bundle, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    OpenVinoEngine(colour_bundle, threads=1).close()
    (blob,) = blobs(cache_home)
    blob.parent.chmod(0o777)
    OpenVinoEngine(colour_bundle, threads=1).close()
    assert "others may write to it, so it is not used" in caplog.text


def test_the_cache_forgets_what_was_not_used_for_longest(
    colour_bundle: Bundle, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "CACHED_MODELS", 2)
    folder = cache_home / "edge" / "openvino"
    folder.mkdir(parents=True, mode=0o700)
    for age_s, name in enumerate(("young.blob", "old.blob")):
        (folder / name).touch()
        os.utime(folder / name, (1e9 - age_s, 1e9 - age_s))
    OpenVinoEngine(colour_bundle, threads=1).close()
    assert {path.name for path in blobs(cache_home)} > {"young.blob"}
    assert "old.blob" not in {path.name for path in blobs(cache_home)}
    assert len(blobs(cache_home)) == 2


def test_the_cache_is_in_the_home_directory_unless_xdg_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/void")
    assert backend._cached_path(["key"]).parent == Path("/home/someone/.cache/edge/openvino")
    assert backend._cached_path(["key"]) != backend._cached_path(["other"])


# ------------------------------------------------------------------------------------------------------------- privacy

QUIETLY = """
import socket, sys, urllib.request
def refuse(*args, **kwargs):
    print("SENT", args, flush=True)
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.sendto = socket.getaddrinfo = socket.create_connection = refuse
urllib.request.urlopen = refuse
import numpy as np
from edge.backends import open_engine
with open_engine(sys.argv[1]) as engine:
    engine.infer(np.zeros((48, 64, 3), np.uint8))
import multiprocessing
print("children", len(multiprocessing.active_children()))
print("telemetry", sorted(m for m in sys.modules if "telemetry" in m and sys.modules[m]))
import openvino.tools.ovc  # whoever wants the converter still gets it, and it keeps to itself as well
print("stub", sorted(m for m in sys.modules if "telemetry" in m and sys.modules[m] and "ovc" not in m))
"""


@pytest.mark.slow
def test_an_engine_sends_nothing_and_leaves_no_id_behind(colour_bundle: Bundle, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "BUILD_ID", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", QUIETLY, str(colour_bundle.folder)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["children 0", "telemetry []", "stub []"]
    assert not list(home.iterdir())  # ~/intel would hold the id


def test_a_missing_openvino_is_an_engine_error(colour_bundle: Bundle) -> None:
    code = (
        "import sys\nsys.modules['openvino'] = None\n"
        "from edge.backends import open_engine\n"
        "from edge.errors import EngineError\n"
        "try: open_engine(sys.argv[1], backend='openvino')\n"
        "except EngineError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(colour_bundle.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "OpenVINO cannot run here: OpenVINO is not installed: pip install openvino"


def test_a_bundle_loaded_by_path_runs_too(colour_bundle: Bundle, flag: Image, flag_classes: Image) -> None:
    with OpenVinoEngine(load_bundle(colour_bundle.folder), threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
