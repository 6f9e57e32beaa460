"""edge.backends.cuda over pycuda and the fake driver; run by tests/backends/test_cuda.py."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge.backends import cuda
from edge.errors import EngineError

FAKE = ctypes.CDLL("libcuda.so.1")
KINDS = ("contexts", "pushed", "streams", "events", "device buffers", "host buffers", "graphs", "executables")


def alive() -> dict[str, int]:
    counts = {kind: FAKE.fake_live(index) for index, kind in enumerate(KINDS)}
    return {kind: count for kind, count in counts.items() if count}


def fail(call: str, code: int, after: int = 0) -> None:
    FAKE.fake_fail(call.encode(), code, after)


@pytest.fixture(autouse=True)
def sound_driver() -> Iterator[None]:
    yield
    FAKE.fake_fail(b"", 0, 0)
    FAKE.fake_set_devices(1)
    FAKE.fake_set_integrated(0)
    assert not alive()


def test_what_is_uploaded_comes_back_when_it_is_waited_for_and_not_before() -> None:
    with cuda.Device() as device:
        stream, buffer = device.stream(), device.buffer((2, 3))
        buffer.host[:] = [[1, 2, 3], [4, 5, 6]]
        buffer.upload(stream)
        stream.wait()
        buffer.host[:] = 0
        buffer.download(stream)
        assert not buffer.host.any()
        stream.wait()
        np.testing.assert_array_equal(buffer.host, [[1, 2, 3], [4, 5, 6]])


def test_a_recording_does_nothing_until_it_is_launched_and_then_does_it_every_time() -> None:
    with cuda.Device() as device:
        stream, buffer = device.stream(), device.buffer((3,))

        def round_trip() -> None:
            buffer.upload(stream)
            buffer.download(stream)

        recording = device.record(stream, round_trip)
        stream.wait()
        assert buffer.host.tolist() == [0, 0, 0]
        for value in (5, 9):
            buffer.host[:] = value
            recording.launch()
            stream.wait()
            assert buffer.host.tolist() == [value] * 3


def test_streams_wait_for_their_own_work_alone() -> None:
    with cuda.Device() as device:
        streams, buffers = [device.stream(), device.stream()], [device.buffer((1,)), device.buffer((1,))]
        for stream, buffer in zip(streams, buffers, strict=True):
            buffer.upload(stream)
            buffer.host[:] = 7  # what the upload finds, as it is done when it is waited for
            buffer.download(stream)
        streams[1].wait()
        buffers[0].host[:] = 3
        streams[0].wait()
        assert [int(buffer.host[0]) for buffer in buffers] == [3, 7]


def test_an_integrated_gpu_shares_the_hosts_memory_and_nothing_is_copied() -> None:
    FAKE.fake_set_integrated(1)
    assert cuda.describe().integrated
    with cuda.Device() as device:
        stream, buffer = device.stream(), device.buffer((4,))
        assert buffer.address == buffer.host.ctypes.data
        assert alive() == {"contexts": 1, "pushed": 1, "streams": 1, "events": 1, "host buffers": 1}
        fail("cuMemcpyHtoDAsync_v2", 1)
        buffer.upload(stream)
        buffer.download(stream)


def test_a_thousand_devices_leave_nothing_behind() -> None:
    for _ in range(1000):
        with cuda.Device() as device:
            stream, buffer = device.stream(), device.buffer((5,))
            device.record(stream, lambda s=stream, b=buffer: b.upload(s)).launch()
            stream.wait()
    assert not alive()


def test_closing_twice_is_closing_once() -> None:
    device = cuda.Device()
    buffer = device.buffer((5,))
    device.close()
    device.close()
    buffer.close()
    assert not alive()
    assert buffer.host.tolist() == [0] * 5  # not the freed memory


def test_devices_in_two_threads_do_not_free_each_others_memory() -> None:
    with cuda.Device() as device:
        buffer = device.buffer((2,))
        thread = threading.Thread(target=lambda: cuda.Device().close())
        thread.start()
        thread.join()
        stream = device.stream()
        buffer.upload(stream)
        stream.wait()


def test_a_thread_that_opened_a_device_ends_in_peace() -> None:
    def work() -> None:
        with cuda.Device() as device:
            device.buffer((1,))

    for _ in range(20):  # pycuda aborts the process when a thread ends with a context on its stack
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not alive()


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_recording_that_fails_leaves_the_stream_in_order(call: str) -> None:
    with cuda.Device() as device:
        stream, buffer = device.stream(), device.buffer((1,))
        fail(call, 900)
        with pytest.raises(EngineError, match=call):
            device.record(stream, lambda: buffer.upload(stream))
        FAKE.fake_fail(b"", 0, 0)
        buffer.upload(stream)
        stream.wait()
        assert "graphs" not in alive()


def test_what_goes_wrong_while_recording_ends_the_capture() -> None:
    def refuse() -> None:
        raise EngineError("not today")

    with cuda.Device() as device:
        stream = device.stream()
        with pytest.raises(EngineError, match="not today"):
            device.record(stream, refuse)
        stream.wait()  # an error while the stream is in capture
        assert "graphs" not in alive()


@pytest.mark.parametrize("call", ["cuMemHostAlloc", "cuMemAlloc_v2"])
def test_memory_that_runs_out_is_an_error_that_says_how_much_and_leaves_nothing(call: str) -> None:
    with cuda.Device() as device:
        fail(call, 2)
        with pytest.raises(EngineError, match=r"allocating 1000 bytes: .*OUT_OF_MEMORY"):
            device.buffer((10, 100))
        assert alive() == {"contexts": 1, "pushed": 1}


def test_a_failed_kernel_is_an_error_of_whoever_waits() -> None:
    with cuda.Device() as device:
        stream = device.stream()
        fail("cuEventSynchronize", 700)
        with pytest.raises(EngineError, match=r"waiting for the GPU: .*ILLEGAL_ADDRESS"):
            stream.wait()
        FAKE.fake_fail(b"", 0, 0)
        stream.wait()


def test_a_driver_that_does_not_start_is_named() -> None:
    fail("cuInit", 999)
    assert cuda.unavailable_reason() == (
        "the NVIDIA driver does not start (cuInit: CUDA_ERROR_UNKNOWN); look at: nvidia-smi, dmesg"
    )
    with pytest.raises(EngineError, match="CUDA cannot be used: the NVIDIA driver does not start"):
        cuda.Device()


def test_a_driver_without_a_gpu_is_named() -> None:
    FAKE.fake_set_devices(0)
    assert cuda.unavailable_reason() == "the NVIDIA driver sees no GPU; if CUDA_VISIBLE_DEVICES is set, it may hide it"
    fail("cuDeviceGetCount", 100)
    assert "cuDeviceGetCount: CUDA_ERROR_NO_DEVICE" in str(cuda.unavailable_reason())


def test_a_missing_pycuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda.unavailable_reason() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cuda.unavailable_reason() == "pycuda is not installed: pip install pycuda"


def test_a_pycuda_of_another_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda.import_pycuda.cache_clear()
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EngineError, match=r"pycuda cannot be imported \(.*\)\. Build it anew: pip install"):
        cuda.Device()
    cuda.import_pycuda.cache_clear()


def test_a_device_is_described_without_being_opened() -> None:
    found = cuda.describe()
    assert (found.name, found.uuid, found.compute, found.integrated) == ("Fake GPU 0", "11" * 16, (8, 7), False)
    assert found.driver.startswith("CUDA 12.6")
    assert not alive()
