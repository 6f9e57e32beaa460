"""Real cameras that freeze, die and come back: HTTP always, RTSP where its server is installed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice, pairwise
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from cameras import TestCamera, free_port, why_no_rtsp
from pictures import agreement
from relay import Relay

from edge.backends import open_engine
from edge.barcode import read_barcode
from edge.engine import Bundle
from edge.errors import SourceError
from edge.frame import Frame
from edge.segmenter import Segmenter
from edge.sources.capture.process import end_prespawned, prespawned
from edge.sources.capture.wire import CaptureRequest, unpacked
from edge.sources.flow import Latest
from edge.sources.open import open_source
from edge.sources.supervised import _QUIET_S, Supervised

LONG_S = 20.0  # a test that waits so long has failed
SOON_S = 5.0  # at once, on a machine that has other work too; no time limit of a camera or library is so short
FAULTS = int(os.environ.get("EDGE_FAULTS", "1"))  # of each kind; benchmarks/camera_faults.py makes 100


@pytest.fixture(params=["http", "rtsp"])
def camera(request: pytest.FixtureRequest) -> Iterator[TestCamera]:
    if request.param == "rtsp" and why_no_rtsp():
        pytest.skip(why_no_rtsp())
    with TestCamera(request.param) as camera:
        yield camera


@pytest.fixture
def http_camera() -> Iterator[TestCamera]:
    with TestCamera("http") as camera:
        yield camera


def watched(url: str) -> Supervised:
    return Supervised(url, CaptureRequest("stream", url))


def wait_for(condition: Callable[[], object], what: str) -> float:
    """How many seconds it took."""
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < LONG_S, f"waited in vain until {what}"
        time.sleep(0.002)
    return time.monotonic() - start_s


def code_of(frame: Frame) -> tuple[int, int]:
    """Number and time of the picture, by its barcode."""
    code = read_barcode(frame.image)
    assert code is not None, f"frame {frame.index} has no barcode that can be read"
    return code


def children(parent: int | str = "self") -> set[int]:
    """The processes that a process started; they are listed with the thread that did."""
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return found


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_frames_come_in_order_stamped_after_they_were_taken_and_are_what_they_say(camera: TestCamera) -> None:
    with open_source(camera.url) as source:
        assert source.live
        assert source.frame_count is None
        seen = [(frame.index, frame.captured_ns, *code_of(frame)) for frame in islice(source, 40)]
        assert source.size_wh == (320, 240)
    for earlier, later in pairwise(seen):
        assert all(a < b for a, b in zip(earlier, later, strict=True))
    ages_ms = [(captured_ns - taken_ns) / 1e6 for _, captured_ns, _, taken_ns in seen]
    # Without times of the camera's own, a frame that a loaded machine sent late may be taken for older than it is.
    assert statistics.median(ages_ms) >= 0, "stamped before it was taken"
    assert source.decode.count >= 40


def test_planes_are_handed_over_without_a_copy_and_read_only(camera: TestCamera) -> None:
    with open_source(camera.url) as source:
        frame = next(iter(source))
        assert frame.yuv is not None
        for plane, shape in ((frame.yuv.y, (240, 320)), (frame.yuv.u, (120, 160)), (frame.yuv.v, (120, 160))):
            assert plane.shape == shape
            assert not plane.flags.owndata
            assert not plane.flags.writeable


def test_a_frame_in_use_is_not_overwritten_however_many_follow(http_camera: TestCamera) -> None:
    with open_source(http_camera.url) as source:
        frames = iter(source)
        held = [next(frames) for _ in range(8)]  # more than there are slots
        was = [(code_of(frame), frame.yuv.y.copy()) for frame in held if frame.yuv is not None]
        newest = [next(frames) for _ in range(40)][-1]
    assert code_of(newest)[0] > was[-1][0][0] + 20
    for frame, (code, luma) in zip(held, was, strict=True):
        assert frame.yuv is not None
        np.testing.assert_array_equal(frame.yuv.y, luma)
        assert read_barcode(frame.image) == code


def test_frames_outlive_their_source(http_camera: TestCamera) -> None:
    with open_source(http_camera.url) as source:
        frame = next(iter(source))
        code = code_of(frame)
    assert read_barcode(np.array(frame.image)) == code
    assert frame.yuv is not None
    assert frame.yuv.y.std() > 10


def test_the_first_picture_does_not_wait_for_the_next_key_picture() -> None:
    if why_no_rtsp():
        pytest.skip(why_no_rtsp())
    with TestCamera("rtsp", "320x240x30x300") as camera, open_source(camera.url) as source:
        assert code_of(next(iter(source)))[0] < 200


def test_a_consumer_that_is_slow_gets_the_newest_frame(http_camera: TestCamera) -> None:
    with open_source(http_camera.url) as source:
        assert isinstance(source, Supervised)
        frames, ages_ms = iter(source), []
        for _ in range(6):
            time.sleep(0.25)
            frame = next(frames)
            ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        assert statistics.median(ages_ms) < 125, "older than half a pause of the consumer"
        assert source.health.totals["skipped"] > 20


def test_a_frozen_camera_is_lost_within_half_a_second_and_comes_back_with_a_picture_of_now(camera: TestCamera) -> None:
    noticed_s, back_s = [], []
    with open_source(camera.url) as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        for _ in range(FAULTS):
            assert list(islice(frames, 20))
            camera.freeze()
            frozen_ns = time.monotonic_ns()
            noticed_s.append(wait_for(lambda: source.health.state == "lost", "it is lost"))
            assert "frozen" in source.health.reason
            assert source.health.stale
            time.sleep(1.0)
            camera.thaw()
            thawed_ns = time.monotonic_ns()
            frame = next(frames)
            back_s.append((time.monotonic_ns() - thawed_ns) / 1e9)
            # What the camera had taken in hand before it froze may be sent yet, and is so by its own time.
            late_ns, frozen_for_ns = frame.captured_ns - code_of(frame)[1], thawed_ns - frozen_ns
            assert late_ns < frozen_for_ns / 2, "an old frame with a new time"
        assert source.health.totals["restarts"] == FAULTS
    assert max(noticed_s) < SOON_S, noticed_s
    assert max(back_s) < SOON_S, back_s


def test_pictures_that_the_network_held_back_are_as_old_as_they_are(
    camera: TestCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_QUIET_S, "stream", LONG_S)  # else a long pause counts as frozen
    with Relay(camera.port) as relay, open_source(f"{camera.kind}://127.0.0.1:{relay.port}/cam") as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        usual_ns = statistics.median(frame.captured_ns - code_of(frame)[1] for frame in islice(frames, 30))
        relay.open.clear()
        time.sleep(0.5)
        relay.open.set()
        behind_ns = [frame.captured_ns - code_of(frame)[1] - usual_ns for frame in islice(frames, 20)]
        assert str(source.health) == "degraded (frames come late)"
        assert source.health.totals["restarts"] == 0
    assert max(behind_ns) < 0.25e9, "an old frame with a new time"


def test_damaged_data_end_nothing_and_are_over_when_they_are(camera: TestCamera) -> None:
    with Relay(camera.port) as relay, open_source(f"{camera.kind}://127.0.0.1:{relay.port}/cam") as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        list(islice(frames, 10))
        relay.damages.set()
        time.sleep(1.5)
        relay.damages.clear()
        wait_for(lambda: str(source.health) == "ok", "it is well again")
        assert all(abs(frame.captured_ns - code_of(frame)[1]) < 0.75e9 for frame in islice(frames, 5, 15))


def test_a_camera_that_died_is_lost_at_once_and_comes_back_when_it_does(camera: TestCamera) -> None:
    with open_source(camera.url) as source:
        assert isinstance(source, Supervised)
        frames, indices = iter(source), []
        for _ in range(FAULTS):
            indices += [frame.index for frame in islice(frames, 20)]
            camera.kill()
            killed_ns = time.monotonic_ns()
            assert wait_for(lambda: source.health.state == "lost", "it is lost") < SOON_S
            time.sleep(1.0)
            assert "refuses the connection" in source.health.last_error
            away_ns = time.monotonic_ns() - killed_ns
            camera.start()
            frame = next(frames)
            indices.append(frame.index)
            assert abs(frame.captured_ns - code_of(frame)[1]) < away_ns / 2
        assert source.health.totals["restarts"] == FAULTS
        assert str(source.health) == "ok"
    assert indices == sorted(set(indices)), "an index came twice"


def test_the_first_mask_after_a_fault_is_right(colour_bundle: Bundle, camera: TestCamera) -> None:
    engine = open_engine(str(colour_bundle.folder))
    try:
        with open_source(camera.url) as source:
            assert isinstance(source, Supervised)
            segmenter, frames = Segmenter(engine), iter(source)
            for _ in range(FAULTS):
                camera.kill()
                wait_for(lambda: source.health.state == "lost", "it is lost")
                camera.start()
                frame = next(frames)
                assert agreement(segmenter.segment(frame).semantic, code_of(frame)[0]) > 0.95
    finally:
        engine.close()


def test_a_picture_of_another_size_is_handed_on_and_told(http_camera: TestCamera) -> None:
    with open_source(http_camera.url) as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        old = next(frames)
        http_camera.kill()
        wait_for(lambda: source.health.state == "lost", "it is lost")
        http_camera.shape = "416x200x30"
        http_camera.start()
        frame = next(frames)
        assert (old.size_wh, frame.size_wh, source.size_wh) == ((320, 240), (416, 200), (416, 200))
        assert code_of(frame)[0] < 30, "the camera began anew"
        assert "size changed from 320x240 to 416x200" in source.health.reason


def test_several_cameras_do_not_wait_for_one_another(http_camera: TestCamera) -> None:
    with (
        TestCamera("http", "200x160x30") as other,
        open_source(http_camera.url) as first,
        open_source(other.url) as second,
    ):
        other.freeze()
        assert len(list(islice(first, 20))) == 20
        assert isinstance(first, Supervised)
        assert isinstance(second, Supervised)
        wait_for(lambda: second.health.state == "lost", "the other one is lost")
        assert first.health.state == "ok"
        other.thaw()
        assert next(iter(second)).size_wh == (200, 160)


def test_a_capture_process_that_dies_is_replaced(http_camera: TestCamera) -> None:
    before = children()
    with open_source(http_camera.url) as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        first = list(islice(frames, 10))[-1]
        (victim,) = children() - before
        os.kill(victim, signal.SIGSEGV)
        wait_for(lambda: source.health.totals["restarts"] == 1, "it is back")
        assert "SIGSEGV" in source.health.last_error
        assert next(frames).index > first.index


def test_a_capture_process_that_hangs_is_killed_and_replaced(http_camera: TestCamera) -> None:
    before = children()
    with open_source(http_camera.url) as source:
        assert isinstance(source, Supervised)
        frames = iter(source)
        list(islice(frames, 10))
        (victim,) = children() - before
        os.kill(victim, signal.SIGSTOP)
        wait_for(lambda: source.health.totals["restarts"] == 1, "it is back")
        assert not is_alive(victim)
        assert next(frames)


def bring_into(name: str, camera: TestCamera, source: Supervised, before: set[int]) -> None:
    """Bring camera and source into a state in which it may be left."""
    if name == "unused":
        return
    wait_for(lambda: source.health.state == "ok", "it is ok")
    if name == "frozen":
        camera.freeze()
    elif name == "lost":
        camera.freeze()
        wait_for(lambda: source.health.state == "lost", "it is lost")
    elif name == "dead":
        camera.kill()
        wait_for(lambda: source.health.state == "lost", "it is lost")
    elif name == "hung":
        os.kill((children() - before).pop(), signal.SIGSTOP)


@pytest.mark.parametrize("state", ["unused", "running", "frozen", "lost", "dead", "hung"])
def test_it_is_left_within_a_second_in_every_state_and_leaves_no_process(state: str, http_camera: TestCamera) -> None:
    before = children()
    source = watched(http_camera.url)
    taken: list[Frame] = []
    reader = threading.Thread(target=lambda: taken.extend(source), daemon=True)
    with source:
        reader.start()
        bring_into(state, http_camera, source, before)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < SOON_S
    assert source.health.state == "stopped"
    reader.join(LONG_S)
    assert not reader.is_alive(), "who waits for a frame waits for ever"
    assert children() <= before


def test_a_black_hole_is_given_up_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"rtsp://127.0.0.1:{hole.getsockname()[1]}/cam"
        with watched(url) as source:
            wait_for(lambda: "cannot be opened within" in source.health.last_error, "it is given up")
            hole.settimeout(LONG_S)
            calls = [hole.accept()[0] for _ in range(2)]
            assert len(calls) == 2
            for call in calls:
                call.close()


def test_a_camera_that_takes_longer_to_open_than_one_is_given_at_first_is_opened(http_camera: TestCamera) -> None:
    with Relay(http_camera.port, delay_s=1.2) as relay, watched(f"http://127.0.0.1:{relay.port}/cam") as source:
        source.await_first(LONG_S)
        assert source.health.last_error == "cannot be opened within 1 s"


def test_a_camera_that_is_not_there_yet_is_awaited() -> None:
    port = free_port()
    with watched(f"http://127.0.0.1:{port}/cam") as source:
        wait_for(lambda: "refuses the connection" in source.health.reason, "it is refused")
        with TestCamera("http", port=port):
            assert code_of(next(iter(source)))[0] >= 0
            assert source.health.totals["restarts"] == 0


def test_one_that_gives_no_picture_is_an_error_that_says_why() -> None:
    with (
        watched(f"http://127.0.0.1:{free_port()}/cam") as source,
        pytest.raises(SourceError, match=r"no frame came in 3 s: refuses the connection.*docs/cameras.md"),
    ):
        source.await_first(3.0)


PARENT = """
import sys, time
from edge.sources.open import open_source
source = open_source(sys.argv[1])
frames = iter(source)
print(next(frames).index, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("hung", [False, True])
def test_a_parent_killed_leaves_no_process_and_no_memory(hung: bool, http_camera: TestCamera) -> None:
    before = set(Path("/dev/shm").iterdir())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, http_camera.url], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdigit()
        (capture,) = children(parent.pid)
        if hung:
            os.kill(capture, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait()
    assert parent.stdout is not None
    parent.stdout.close()
    wait_for(lambda: not is_alive(capture), "the capture process is gone")
    assert set(Path("/dev/shm").iterdir()) == before


def test_a_process_that_was_started_ahead_is_the_one_that_captures(http_camera: TestCamera) -> None:
    before = children()
    with prespawned():
        (ahead,) = children() - before
        with watched(http_camera.url) as source:
            source.await_first(LONG_S)
            assert children() - before == {ahead}
            os.kill(ahead, signal.SIGKILL)
            wait_for(lambda: source.health.state == "ok" and source.health.totals["restarts"], "another one captures")
    assert not is_alive(ahead)


def test_a_process_that_was_started_ahead_and_died_costs_one_attempt(http_camera: TestCamera) -> None:
    before = children()
    with prespawned():
        (ahead,) = children() - before
        os.kill(ahead, signal.SIGKILL)
        wait_for(lambda: not is_alive(ahead), "it is dead")
        with watched(http_camera.url) as source:
            wait_for(lambda: source.health.state == "ok", "another one captures")


def test_a_process_that_was_started_ahead_in_vain_is_ended() -> None:
    before = children()
    with prespawned():
        end_prespawned()
        assert children() == before
    with prespawned():
        pass
    assert children() == before


def test_an_interrupt_from_the_terminal_is_not_for_the_capture_process(http_camera: TestCamera) -> None:
    before = children()
    with open_source(http_camera.url) as source:
        assert isinstance(source, Supervised)
        (capture,) = children() - before
        os.kill(capture, signal.SIGINT)
        assert len(list(islice(source, 20))) == 20
        assert source.health.totals["restarts"] == 0


def test_connections_leave_no_file_and_no_thread_behind(http_camera: TestCamera) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with watched(http_camera.url) as source:
        source.await_first()
    before = held()
    for _ in range(5):
        with watched(http_camera.url) as source:
            source.await_first()
            frame = next(iter(source))
            del frame
    assert held() == before


def test_latest_takes_its_frames_and_counts_as_ever(http_camera: TestCamera) -> None:
    with Latest(open_source(http_camera.url)) as latest:
        indices = []
        for frame in islice(latest, 5):
            indices.append(frame.index)
            time.sleep(0.1)
        assert indices == sorted(set(indices))
        assert latest.dropped > 4


def test_a_fault_of_the_supervisor_itself_comes_out_where_the_frames_do(
    http_camera: TestCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("edge.sources.supervised.Backoff", fail)
    before = children()
    with watched(http_camera.url) as source:
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            next(iter(source))
        assert str(source.health) == "lost (its supervisor failed)"
        with pytest.raises(SourceError, match="on purpose"):
            source.await_first()
    assert children() <= before


def test_a_process_that_sends_something_else_is_replaced(
    http_camera: TestCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.sources.capture import process

    lies = [b"", b"\x02 too short", b"\x01" + bytes(30)]

    def lying(data: bytes) -> object:
        return unpacked(lies.pop() if len(lies) > 1 and data[0] == 2 else data)

    monkeypatch.setattr(process, "unpacked", lying)
    with watched(http_camera.url) as source:
        wait_for(lambda: source.health.state == "ok" and len(lies) == 1, "it is well after the lies")
        assert source.health.last_error


def test_a_camera_that_hovers_between_ok_and_degraded_does_not_fill_the_log(
    http_camera: TestCamera, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = cycle(["", "", "", "frames come late"])
    monkeypatch.setattr("edge.sources.capture.health.Watch._fault", lambda watch, now_ns: next(faults))
    caplog.set_level("INFO")
    with open_source(http_camera.url) as source:
        assert len(list(islice(source, 40))) == 40
    assert len(caplog.records) <= 2


@pytest.mark.parametrize("state", ["frozen", "lost", "dead"])
def test_latest_is_left_within_a_second_while_its_camera_is_away(state: str, http_camera: TestCamera) -> None:
    before, source = children(), open_source(http_camera.url)
    assert isinstance(source, Supervised)
    with Latest(source) as latest:
        list(islice(latest, 3))
        bring_into(state, http_camera, source, before)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < SOON_S
