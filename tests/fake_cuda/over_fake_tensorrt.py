"""edge.backends.tensorrt over pycuda, the fake driver and a stand-in for TensorRT; run by
tests/backends/test_tensorrt.py.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import backends.contract as contract
import numpy as np
import pytest
import tensorrt as stand_in

from edge.backends import cuda, plans
from edge.backends import tensorrt as backend
from edge.backends.tensorrt import TensorRtEngine
from edge.card import Card
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import BundleTampered, EngineError
from edge.frame import Image

FAKE = ctypes.CDLL("libcuda.so.1")
PLAN = json.dumps({"wh": [64, 48]}).encode()
MakeCard = Callable[..., Card]


@pytest.fixture(autouse=True)
def sound_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stand_in, "refuse", set())
    monkeypatch.setattr(stand_in, "before_run", stand_in.before_run)
    yield
    FAKE.fake_fail(b"", 0, 0)
    FAKE.fake_set_integrated(0)
    gc.collect()
    assert [FAKE.fake_live(kind) for kind in range(8)] == [0] * 8
    assert not stand_in.alive


@pytest.fixture
def bundle(make_card: MakeCard, tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "colours", {MODEL_FILE: b"graph"}, make_card(b"graph"))


def opened(bundle: Bundle, plan: bytes = PLAN, **options: Any) -> TensorRtEngine:
    return TensorRtEngine(bundle, plan=plan, **options)


@pytest.mark.parametrize("integrated", [0, 1])
@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("sentence", contract.SENTENCES)
def test_it_keeps_the_contract_of_engines(
    sentence: Any, side_by_side: bool, integrated: int, bundle: Bundle, flag: Image, flag_classes: Image
) -> None:
    FAKE.fake_set_integrated(integrated)
    with opened(bundle, side_by_side=side_by_side) as engine:
        assert (engine.threads, engine.streams, engine.precision) == (1, 3 if side_by_side else 1, "f32")
        sentence(engine, flag, flag_classes)


def test_a_thousand_engines_leave_nothing_behind(bundle: Bundle, flag: Image) -> None:
    threads = threading.active_count()
    for _ in range(1000):
        with opened(bundle) as engine:
            engine.infer(flag)
    assert threading.active_count() == threads


def test_one_thread_makes_all_calls_and_it_is_not_the_callers(bundle: Bundle, flag: Image) -> None:
    stand_in.calling.clear()
    with opened(bundle, side_by_side=True) as engine, ThreadPoolExecutor(3) as pool:
        list(pool.map(engine.infer, [flag] * 20))
    assert len(stand_in.calling) == 1
    assert threading.get_ident() not in stand_in.calling


def test_contexts_are_freed_before_the_engine_and_the_engine_before_the_runtime(bundle: Bundle) -> None:
    with opened(bundle, side_by_side=True):
        stand_in.freed.clear()
    assert stand_in.freed == ["Context", "Context", "Context", "Engine", "Runtime"]


def test_while_a_frame_runs_the_next_are_launched_and_they_end_in_order(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, entered = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []  # value of the frame, launches before it ran

    def look(image: np.ndarray) -> None:
        entered.set()
        assert gate.wait(10)
        seen.append((int(image.max()), FAKE.fake_launches()))

    frames = [np.full((48, 64, 3), value, np.uint8) for value in (1, 2, 3)]
    with opened(bundle, side_by_side=True) as engine, ThreadPoolExecutor(3) as pool:
        monkeypatch.setattr(stand_in, "before_run", look)
        before = FAKE.fake_launches()
        jobs = [pool.submit(engine.infer, frames[0])]
        assert entered.wait(10)
        for frame in frames[1:]:
            jobs.append(pool.submit(engine.infer, frame))
            while engine._posted.qsize() < len(jobs) - 1:
                pass
        gate.set()
        for job in jobs:
            job.result(10)
    assert [value for value, _ in seen] == [1, 2, 3]
    assert [launches - before for _, launches in seen] == [1, 3, 3]


def test_frames_are_launched_as_one_recording_each(bundle: Bundle, flag: Image) -> None:
    with opened(bundle) as engine:
        before = FAKE.fake_launches()
        for _ in range(5):
            engine.infer(flag)
        assert FAKE.fake_launches() - before == 5


def test_where_recording_fails_frames_are_launched_step_by_step_and_one_line_says_so(
    bundle: Bundle, flag: Image, flag_classes: Image, caplog: pytest.LogCaptureFixture
) -> None:
    FAKE.fake_fail(b"cuStreamEndCapture", 901, 0)
    with opened(bundle, side_by_side=True) as engine, ThreadPoolExecutor(3) as pool:
        before = FAKE.fake_launches()
        for outputs in pool.map(engine.infer, [flag] * 10):
            np.testing.assert_array_equal(outputs["semantic"], flag_classes)
        assert FAKE.fake_launches() == before
    (record,) = caplog.records
    assert "no CUDA graph could be recorded, frames are launched step by step: cuStreamEndCapture" in record.message


def test_a_run_that_tensorrt_refuses_names_engine_slot_and_reason_for_this_and_all_later_frames(
    bundle: Bundle, flag: Image
) -> None:
    FAKE.fake_fail(b"cuStreamBeginCapture_v2", 900, 0)  # a recording would not ask TensorRT again
    with opened(bundle) as engine:
        engine.infer(flag)
        stand_in.refuse.add("execute_async_v3")
        with pytest.raises(EngineError, match=r"engine colours, slot 0: TensorRT did not run .* illegal memory access"):
            engine.infer(flag)
        stand_in.refuse.clear()
        with pytest.raises(EngineError, match="gives no more masks: open it again"):
            engine.infer(flag)


@pytest.mark.parametrize("call", ["cuGraphLaunch", "cuEventSynchronize", "cuEventRecord"])
def test_a_cuda_error_reaches_every_caller_and_the_engine_still_closes(call: str, bundle: Bundle, flag: Image) -> None:
    with opened(bundle, side_by_side=True) as engine, ThreadPoolExecutor(3) as pool:
        FAKE.fake_fail(call.encode(), 700, 0)
        for job in [pool.submit(engine.infer, flag) for _ in range(9)]:
            with pytest.raises(EngineError, match=r"engine colours, slot \d: .*ILLEGAL_ADDRESS"):
                job.result(10)


def test_a_gpu_that_hangs_is_an_error_and_not_a_hang(
    bundle: Bundle, flag: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    with opened(bundle) as engine:
        monkeypatch.setattr(backend, "PATIENCE_S", 0.2)
        monkeypatch.setattr(stand_in, "before_run", lambda image: gate.wait(10))
        with pytest.raises(EngineError, match="slot 0: the GPU has not answered for 0 s"):
            engine.infer(flag)
        with pytest.raises(EngineError, match="has not answered"):
            engine.infer(flag)
        gate.set()
        monkeypatch.setattr(backend, "PATIENCE_S", 10)


def test_after_ctrl_c_the_next_frame_gets_its_own_classes(
    bundle: Bundle, flag: Image, flag_classes: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def interrupt(image: np.ndarray) -> None:
        if not gate.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            assert gate.wait(10)

    with opened(bundle) as engine:
        monkeypatch.setattr(stand_in, "before_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.infer(np.zeros_like(flag))
        gate.set()
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


def test_closing_after_ctrl_c_waits_for_the_frame_that_still_runs(
    bundle: Bundle, flag: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = threading.Event()

    def interrupt(image: np.ndarray) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        ran.set()

    with opened(bundle) as engine:
        monkeypatch.setattr(stand_in, "before_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.infer(flag)
    assert ran.is_set()


def test_a_plan_that_tensorrt_refuses_is_an_error_with_its_reason(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="colours: TensorRT refuses the plan: the magic number"):
        opened(bundle, b"no plan")


def test_a_plan_of_another_size_than_the_card_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError) as caught:
        opened(bundle, json.dumps({"wh": [48, 64]}).encode())
    assert "got uint8 [1,64,48,3] -> uint8 [1,64,48] semantic" in str(caught.value)


def test_a_plan_that_takes_floats_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"got float32 \[1,48,64,3\] -> uint8 \[1,48,64\] semantic"):
        opened(bundle, json.dumps({"wh": [64, 48], "takes": "FLOAT"}).encode())


@pytest.mark.parametrize("call", ["cuMemAlloc_v2", "cuStreamCreate", "cuDevicePrimaryCtxRetain"])
def test_what_cannot_be_opened_is_an_error_and_leaves_nothing(call: str, bundle: Bundle) -> None:
    FAKE.fake_fail(call.encode(), 2, 0)
    with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
        opened(bundle)


def test_device_memory_that_does_not_suffice_for_all_slots_is_an_error(bundle: Bundle) -> None:
    stand_in.refuse.add("create_execution_context")
    with pytest.raises(EngineError, match="TensorRT gives no execution context: out of device memory"):
        opened(bundle, side_by_side=True)


def test_tensorrts_messages_go_to_logging_a_warning_once_and_its_chatter_to_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    severity = stand_in.ILogger.Severity
    with caplog.at_level(logging.DEBUG, "edge"):
        for level in (*severity, severity.WARNING):
            backend.logger().log(level, level.name)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "TensorRT: INTERNAL_ERROR"),
        ("ERROR", "TensorRT: ERROR"),
        ("WARNING", "TensorRT: WARNING"),
        ("DEBUG", "TensorRT: INFO"),
    ]


def test_a_plan_is_taken_from_this_devices_cache(bundle: Bundle, flag: Image, flag_classes: Image) -> None:
    with pytest.raises(EngineError, match=r"no f32 plan was built yet with TensorRT 10\.3\.0 .* edge plan .*colours"):
        TensorRtEngine(bundle)
    sha256 = hashlib.sha256(b"graph").hexdigest()
    plans.write(plans.plan_path(sha256, "f32", "10.3.0", cuda.describe()), PLAN)
    with TensorRtEngine(bundle, precision="f32") as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    with pytest.raises(EngineError, match="no fp16 plan"):
        TensorRtEngine(bundle, precision="fp16")
    (bundle.folder / MODEL_FILE).write_bytes(b"another graph")
    with pytest.raises(BundleTampered):
        TensorRtEngine(bundle, precision="f32")


def test_an_unknown_precision_is_answered_with_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="expected a precision of TensorRT: f32, fp16, int8; got 'bf16'"):
        opened(bundle, precision="bf16")


def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "__version__", "8.5.2.2")
    backend.import_library.cache_clear()
    with pytest.raises(EngineError, match=r"TensorRT 8\.5\.2\.2 is too old, expected 8\.6 or newer"):
        backend.import_library()
