from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from videos import decoded, open_files, write_video

from edge.errors import SourceDamaged
from edge.frame import Frame
from edge.sources.flow import Ahead, Latest, Paced
from edge.sources.recording import Recording
from edge.timing import Durations

DOT = np.zeros((2, 2, 3), np.uint8)
LONG_S = 20.0  # a test that waits so long has failed


class Counter:
    """Frames 0, 1, 2..., each after `before` was called with its number; then, perhaps, an error."""

    live = False

    def __init__(
        self, count: int, error: BaseException | None = None, before: Callable[[int], object] = lambda index: None
    ) -> None:
        self.name, self.size_wh, self.decode = "counter", (2, 2), Durations()
        self.rate_hz: float | None = None
        self.frame_count: int | None = count
        self.given = self.closed = 0
        self.pulled_by: threading.Thread | None = None
        self._error, self._before = error, before

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1

    def __iter__(self) -> Iterator[Frame]:
        self.pulled_by = threading.current_thread()
        assert self.frame_count is not None
        for index in range(self.frame_count):
            self._before(index)
            self.given += 1
            yield Frame(index=index, captured_ns=time.monotonic_ns(), source="counter", bgr=DOT)
        if self._error is not None:
            raise self._error


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited in vain"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# --------------------------------------------------------------------------------------------------------------- Ahead


def test_ahead_gives_every_frame_in_order() -> None:
    source = Counter(200)
    with Ahead(source) as frames:
        assert [frame.index for frame in frames] == list(range(200))
        assert frames.dropped == 0
    assert source.closed == 1


def test_ahead_reads_ahead_no_further_than_its_depth() -> None:
    source = Counter(100)
    with Ahead(source, depth=3) as frames:
        each = iter(frames)
        assert next(each).index == 0
        # Three lie in the row and one waits for its place there.
        wait_until(lambda: source.given == 5)
        time.sleep(0.05)
        assert source.given == 5
        assert [frame.index for frame in each] == list(range(1, 100))


def test_ahead_decodes_a_real_recording_to_the_same_planes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", 30)
    with Ahead(Recording(str(path))) as frames:
        found = list(frames)
    for frame, (_, planes) in zip(found, decoded(path), strict=True):
        assert frame.yuv is not None
        assert np.array_equal(frame.yuv.y, planes[0])
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("flow", [Ahead, Latest])
def test_a_flow_says_of_itself_what_its_source_says(flow: type[Ahead | Latest]) -> None:
    source = Counter(5)
    source.rate_hz = 12.5
    frames = flow(source)
    assert (frames.name, frames.size_wh, frames.rate_hz, frames.frame_count) == ("counter", (2, 2), 12.5, 5)
    assert frames.decode is source.decode
    assert frames.live is (flow is Latest)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_the_source_raises_comes_out_behind_its_last_frame(count: int) -> None:
    source = Counter(count, SourceDamaged("broke off"))
    seen: list[Frame] = []
    with pytest.raises(SourceDamaged, match="broke off"), Ahead(source) as frames:
        seen.extend(frames)
    assert [frame.index for frame in seen] == list(range(count))
    assert source.closed == 1


def test_the_newest_frame_comes_before_the_error_that_followed_it() -> None:
    source = Counter(9, SourceDamaged("broke off"))
    with Latest(source) as frames:
        each = iter(frames)
        first = next(each)
        wait_until(lambda: source.given == 9)
        rest: list[Frame] = []
        with pytest.raises(SourceDamaged):
            rest.extend(each)
    assert [first.index, *(frame.index for frame in rest)][-1] == 8


def test_a_bug_in_the_source_comes_out_as_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), Ahead(Counter(3, before=lambda index: 1 / (2 - index))) as frames:
        list(frames)


# ------------------------------------------------------------------------------------------------------------- leaving


@pytest.mark.parametrize("flow", [Ahead, Latest])
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_leaving_early_ends_the_thread_and_closes_the_source_once(flow: type[Ahead | Latest], taken: int) -> None:
    source = Counter(10**6, before=lambda index: time.sleep(0.0005))
    with flow(source) as frames:
        for _, _frame in zip(range(taken), frames, strict=False):
            pass
    assert source.closed == 1
    given = source.given
    time.sleep(0.01)
    assert source.given == given


@pytest.mark.parametrize("flow", [Ahead, Latest])
def test_an_error_in_the_loop_ends_the_thread_and_closes_the_source_once(flow: type[Ahead | Latest]) -> None:
    source = Counter(10**6, before=lambda index: time.sleep(0.0005))
    with pytest.raises(ZeroDivisionError), flow(source) as frames:
        sum(1 / 0 for _ in frames)  # at the first frame that comes, which of Latest need not be frame 0
    assert source.closed == 1


def test_a_second_ctrl_c_while_the_thread_is_waited_for_leaves_neither_thread_nor_open_source() -> None:
    main = threading.main_thread().ident
    assert main is not None

    def before(index: int) -> None:
        if index == 1:
            time.sleep(0.1)  # by now the loop is left and has nothing to do but to wait for this thread
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.1)

    source = Counter(10, before=before)

    def loop() -> None:
        with Ahead(source) as frames:
            next(iter(frames))

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert source.closed == 1


@pytest.mark.parametrize("flow", [Ahead, Latest])
def test_a_flow_that_was_never_asked_for_a_frame_starts_no_thread(flow: type[Ahead | Latest]) -> None:
    source = Counter(5)
    with flow(source):
        pass
    assert (source.given, source.closed, source.pulled_by) == (0, 1, None)


def test_a_source_is_not_closed_under_a_read_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.flow._LEAVE_S", 0.05)
    hangs = threading.Event()
    source = Counter(2, before=lambda index: index == 0 or hangs.wait(LONG_S))
    with Ahead(source) as frames:
        next(iter(frames))
    assert source.closed == 0
    hangs.set()
    assert source.pulled_by is not None
    source.pulled_by.join(LONG_S)


# -------------------------------------------------------------------------------------------------------------- Latest


def test_latest_gives_the_newest_frame_and_counts_every_other_as_dropped() -> None:
    go_on = threading.Semaphore(1)
    source = Counter(30, before=lambda index: go_on.acquire(timeout=LONG_S))
    with Latest(source) as frames:
        each = iter(frames)
        assert next(each).index == 0
        for _ in range(10):
            go_on.release()
        wait_until(lambda: source.given == 11 and frames.dropped == 9)
        assert next(each).index == 10
        go_on.release()
        assert next(each).index == 11
        assert frames.dropped == 9
        go_on.release(18)
        wait_until(lambda: source.given == 30)
        rest = [frame.index for frame in each]
    assert rest[-1] == 29
    assert 3 + len(rest) + frames.dropped == 30


def test_frames_in_are_frames_out_and_dropped_whatever_the_speeds() -> None:
    for pause_in_s, pause_out_s in ((0.0, 0.002), (0.002, 0.0), (0.001, 0.001)):
        source = Counter(60, before=lambda index, pause=pause_in_s: time.sleep(pause))
        with Latest(source) as frames:
            seen = []
            for frame in frames:
                seen.append(frame.index)
                time.sleep(pause_out_s)
        assert seen == sorted(set(seen))
        assert seen[-1] == 59
        assert len(seen) + frames.dropped == 60


# --------------------------------------------------------------------------------------------------------------- Paced


class Clock:
    """Time that passes only while somebody sleeps, or works."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("edge.sources.flow.time", clock)
    return clock


def test_a_paced_recording_comes_at_its_own_rate(clock: Clock) -> None:
    source = Counter(4)
    source.rate_hz = 25.0
    arrivals_ms = [(clock.now_ns - 5_000_000_000) / 1e6 for _ in Paced(source)]
    assert arrivals_ms == pytest.approx([0, 40, 80, 120])


def test_a_paced_recording_catches_up_with_its_times_after_a_pause_of_the_reader(clock: Clock) -> None:
    source, arrivals_ms = Counter(5), []
    source.rate_hz = 100.0
    for frame in Paced(source):
        arrivals_ms.append((clock.now_ns - 5_000_000_000) / 1e6)
        if frame.index == 0:
            clock.sleep(0.025)
    assert arrivals_ms == pytest.approx([0, 25, 25, 30, 40])


def test_a_paced_recording_really_waits(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", 10, rate=50)
    with Paced(Recording(str(path))) as frames:
        assert frames.live
        assert frames.rate_hz == 50
        before_ns = time.monotonic_ns()
        stamps = [frame.captured_ns for frame in frames]
    assert len(stamps) == 10
    assert stamps[-1] - before_ns >= 9 * 20_000_000
    assert open_files(tmp_path) == []


def test_a_recording_without_a_rate_is_paced_at_ten_frames_a_second() -> None:
    assert Paced(Counter(1)).rate_hz == 10


def test_a_paced_source_is_closed_once_by_the_flow_around_it() -> None:
    source = Counter(10**6)
    source.rate_hz = 1000.0
    with Latest(Paced(source)) as frames:
        next(iter(frames))
    assert source.closed == 1


@pytest.mark.parametrize("flow", [Ahead, Latest])
def test_a_stopped_loop_does_not_wait_for_the_frame_that_is_being_made(flow: type[Ahead | Latest]) -> None:
    """Under load a rendered street takes seconds for one; its thread closes the source behind it."""
    go_on, at_two = threading.Event(), threading.Event()

    def before(index: int) -> None:
        if index == 2:
            at_two.set()
            go_on.wait(LONG_S)

    source = Counter(5, before=before)
    with flow(source) as frames:
        taken = iter(frames)
        next(taken)
        assert at_two.wait(LONG_S)
        stopper = threading.Timer(0.1, frames.stop)
        stopper.start()
        assert all(frame.index < 2 for frame in taken)  # and no third, for which it waited
        stopper.join()
    assert source.closed == 0
    go_on.set()
    wait_until(lambda: source.closed == 1)
    assert source.pulled_by is not None
    source.pulled_by.join(LONG_S)
    assert source.given == 3
