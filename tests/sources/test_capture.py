"""The parts of capture that need no camera: messages, shared memory, clocks, health."""

from __future__ import annotations

import fcntl
import gc
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sources.capture.backoff import FIRST_S, LONGEST_S, Backoff
from edge.sources.capture.clock import CameraClock, CameraPace
from edge.sources.capture.health import RECENT_NS, STUCK_NS, Watch
from edge.sources.capture.network import _planar, _write
from edge.sources.capture.ring import LEASES, SLOTS, RingReader, RingWriter
from edge.sources.capture.wire import (
    CaptureRequest,
    Failed,
    Format,
    FrameReady,
    Message,
    Opened,
    Opening,
    Unusable,
    WireError,
    packed,
    unpacked,
)
from edge.sources.planes import planes

MS = 1_000_000
BYTES = 64

u8, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 32, 64))
words = st.text(max_size=60).filter(str.isprintable)
seconds = st.floats(0, 1e6)
formats = st.builds(
    Format,
    st.integers(1, 7680),
    st.integers(1, 4320),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1000),
    words.filter(str.isascii),
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Opening),
    st.builds(Opened, u8, st.integers(1, 64), formats),
    st.builds(FrameReady, u8, u8, u64, u64, u64, u64, u8, u8, u32),
    st.builds(Unusable, u64, st.booleans()),
    st.builds(Failed, st.booleans(), seconds, words),
)


@given(message=messages)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert unpacked(packed(message)) == message


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_and_no_crash(data: bytes) -> None:
    try:
        message = unpacked(data)
    except WireError:
        return
    if isinstance(message, Opened):
        assert 0 < message.format.slot_bytes <= 3 * 7680 * 4320
        assert 0 < message.slots <= 64


def test_a_picture_without_a_pixel_and_one_too_large_to_map_are_refused() -> None:
    for size_wh in ((0, 48), (64, 0), (16385, 48), (7680, 4321)):
        with pytest.raises(WireError, match=f"{size_wh[0]}x{size_wh[1]}"):
            unpacked(packed(Opened(0, SLOTS, Format(*size_wh, bgr=False))))


def test_what_a_camera_says_cannot_write_a_second_line_into_the_log() -> None:
    told = unpacked(packed(Failed(False, 0.5, "no\n2026 ok\x1b[2J\u202e")))
    assert isinstance(told, Failed)
    assert told.why == "no 2026 ok [2J "


@given(
    order=st.builds(
        CaptureRequest, st.just("v4l2"), words, st.none() | st.tuples(u32, u32), st.none() | seconds, st.none()
    )
)
def test_an_order_arrives_as_it_was_given(order: CaptureRequest) -> None:
    assert CaptureRequest.unpack(order.pack()) == order


def test_a_long_failure_is_cut_and_not_lost() -> None:
    told = unpacked(packed(Failed(False, 0.5, "é" * 5000)))
    assert isinstance(told, Failed)
    assert set(told.why) == {"é"}
    assert 500 <= len(told.why) <= 5000


@pytest.fixture
def ring() -> Iterator[tuple[RingWriter, RingReader]]:
    writer = RingWriter(0, BYTES)
    yield writer, RingReader(writer.fd, 0, SLOTS, BYTES)
    writer.close()


def test_a_leased_slot_is_a_read_only_view_of_what_was_written(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    slot = writer.take()
    assert slot is not None
    writer.view(slot)[:] = bytes(range(BYTES))
    data = reader.lease(slot)
    np.testing.assert_array_equal(data, np.arange(BYTES))
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1
    writer.view(slot)[0] = 77
    assert data[0] == 77, "a copy, not a view"


def test_a_slot_comes_back_when_the_last_view_of_it_is_gone_and_not_before(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    slot = writer.take()
    assert slot is not None
    corner = reader.lease(slot).reshape(8, 8)[2:4, 2:4].T
    gc.collect()
    assert reader.returned() == []
    del corner
    assert reader.returned() == [slot]
    assert reader.returned() == []


def test_who_keeps_many_pictures_gets_copies_and_the_writer_keeps_slots(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    kept = []
    for value in range(10 * SLOTS):
        slot = writer.take()
        assert slot is not None, "the writer ran out of slots"
        writer.view(slot)[:] = bytes([value]) * BYTES
        kept.append(reader.lease(slot))
        for free in reader.returned():
            writer.give_back(free)
    assert [set(picture.tolist()) for picture in kept] == [{value} for value in range(10 * SLOTS)]
    kept.clear()
    assert len(reader.returned()) == LEASES


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), steps=st.integers(20, 200))
def test_no_picture_in_use_is_ever_overwritten_whoever_comes_first(seed: int, steps: int) -> None:
    chance, writer = random.Random(seed), RingWriter(3, BYTES)
    reader = RingReader(writer.fd, 3, SLOTS, BYTES)
    on_the_way: list[tuple[int, int]] = []
    held: list[tuple[int, np.ndarray]] = []
    for number in range(steps):
        what = chance.choice(["write", "take", "skip", "drop", "return"])
        if what == "write" and (slot := writer.take()) is not None:
            writer.view(slot)[:] = bytes([number]) * BYTES
            on_the_way.append((number, slot))
        elif what == "take" and on_the_way:
            wrote, slot = on_the_way.pop(0)
            held.append((wrote, reader.lease(slot)))
        elif what == "skip" and on_the_way:
            reader.skip(on_the_way.pop(0)[1])
        elif what == "drop" and held:
            held.pop(chance.randrange(len(held)))
        elif what == "return":
            for slot in reader.returned():
                writer.give_back(slot)
        assert all((picture == wrote).all() for wrote, picture in held)
    writer.close()


def test_memory_that_could_shrink_under_its_reader_is_refused() -> None:
    fd = os.memfd_create("edge-test", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, SLOTS * BYTES)
        with pytest.raises(WireError, match="sealed: False"):
            RingReader(fd, 0, SLOTS, BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        with pytest.raises(WireError, match=f"expected {2 * SLOTS * BYTES}"):
            RingReader(fd, 0, 2 * SLOTS, BYTES)
    finally:
        os.close(fd)


def test_something_that_is_no_memory_is_refused() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(WireError, match="is not a memory file"):
            RingReader(read, 0, SLOTS, BYTES)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("size_wh", [(64, 48), (70, 578), (33, 47)])
@pytest.mark.parametrize("name", ["yuv420p", "yuvj420p", "yuvj422p", "yuyv422", "yuv444p", "gray", "bgr24"])
def test_planes_and_colours_are_those_that_a_recording_has(name: str, size_wh: tuple[int, int]) -> None:
    if name == "yuyv422":  # libswscale leaves the last row of chroma of an odd height as it found it
        size_wh = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
    width, height = size_wh
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)

    def decoded(space: int, colour_range: int) -> av.VideoFrame:
        picture = av.VideoFrame.from_ndarray(noise, format="bgr24").reformat(format=name)
        picture.colorspace, picture.color_range = space, colour_range
        return picture

    for tags in ((1, 1), (2, 0), (5, 2), (9, 2)):
        wanted = planes(decoded(*tags))
        planar, bt709, full_range = _planar(decoded(*tags))  # another one: a picture keeps what it was converted with
        assert (bt709, full_range) == (wanted.matrix == "bt709", wanted.full_range)
        slot = bytearray(Format(width, height, bgr=False).slot_bytes)
        _write(planar, memoryview(slot))
        assert slot == b"".join(plane.tobytes() for plane in (wanted.y, wanted.u, wanted.v)), tags


def test_pictures_that_come_at_their_own_pace_are_not_late() -> None:
    clock = CameraClock()
    assert [clock.late_ns(1000 * MS + n * 33 * MS, n * 33 * MS) for n in range(50)] == [0] * 50


def test_a_burst_after_a_pause_is_as_old_as_the_camera_says() -> None:
    clock = CameraClock()
    for number in range(30):
        clock.late_ns(number * 33 * MS, number * 33 * MS)
    lates = [clock.late_ns(29 * 33 * MS + 400 * MS + n, (30 + n) * 33 * MS) / MS for n in range(12)]
    assert lates == pytest.approx([367 - 33 * n for n in range(12)], abs=5)


def test_a_clock_that_runs_a_little_slow_is_not_taken_for_a_backlog() -> None:
    clock = CameraClock()
    assert max(clock.late_ns(round(n * 33 * MS * 1.0005), n * 33 * MS) for n in range(30 * 600)) < 1 * MS


@pytest.mark.parametrize("slower", [1.0005, 1.02, 1.1, 0.98])
def test_a_camera_whose_clock_runs_at_another_rate_has_the_right_age(slower: float) -> None:
    """Frames come every 33 ms of the camera's clock, and each takes up to 8 ms on its way."""
    clock, delays_ms = CameraClock(), [n * 5 % 9 for n in range(30 * 120)]
    lates_ms = [
        clock.late_ns(round(n * 33 * MS * slower) + delay_ms * MS, n * 33 * MS) / MS
        for n, delay_ms in enumerate(delays_ms)
    ]
    settled = zip(lates_ms[150:], delays_ms[150:], strict=True)
    assert max(abs(late_ms - delay_ms) for late_ms, delay_ms in settled) < 15


def test_a_reader_that_falls_behind_is_not_taken_for_a_slow_clock() -> None:
    clock = CameraClock()
    lates = [clock.late_ns(round(n * 33 * MS * 1.1), n * 33 * MS, kept_up=n < 60) for n in range(60 + 300)]
    assert lates[-1] > 300 * MS


@pytest.mark.parametrize("jump_ns", [-5000 * MS, -(2**33) * MS // 90, 3_600_000 * MS])
def test_a_jump_of_the_cameras_clock_makes_no_picture_late(jump_ns: int) -> None:
    clock = CameraClock()
    times = [n * 33 * MS + (jump_ns if n >= 20 else 0) for n in range(40)]
    assert max(clock.late_ns(n * 33 * MS, time_ns) for n, time_ns in enumerate(times)) == 0


def lates_ms(arrivals_ms: list[int]) -> list[int]:
    pace = CameraPace()
    return [round(pace.late_ns(at_ms * MS, 0) / MS) for at_ms in arrivals_ms]


def test_without_times_an_even_pace_and_a_little_unrest_are_on_time() -> None:
    assert set(lates_ms([n * 33 + (n * 7) % 15 for n in range(60)])) == {0}


def test_without_times_a_burst_after_a_pause_is_as_old_as_the_pace_says() -> None:
    before = [n * 33 for n in range(30)]
    burst = [29 * 33 + 330 + n for n in range(10)]  # ten came at once, taken one after another since the last
    after = [29 * 33 + 330 + 33 * n for n in range(1, 10)]
    lates = lates_ms([*before, *burst, *after])
    assert lates[30:40] == pytest.approx([297 - 32 * n for n in range(10)], abs=2)
    assert set(lates[41:]) == {0}


def test_without_times_a_burst_is_old_also_where_a_busy_machine_read_frames_in_bursts_before() -> None:
    before = [n // 3 * 99 + n % 3 for n in range(60)]  # three at once
    burst = [before[-1] + 400 + n for n in range(10)]
    assert min(lates_ms([*before, *burst])[60:66]) > 100


def test_without_times_a_camera_that_slows_down_for_good_is_on_time_again() -> None:
    assert set(lates_ms([*(n * 33 for n in range(30)), *(990 + n * 100 for n in range(30))])[-15:]) == {0}


@given(steps=st.lists(st.tuples(st.integers(0, 10**10), st.integers(-(10**10), 10**10)), max_size=60))
def test_no_times_whatsoever_make_a_picture_early(steps: list[tuple[int, int]]) -> None:
    clock, pace, arrived_ns, media_ns = CameraClock(), CameraPace(), 0, 0
    for elapsed_ns, step_ns in steps:
        arrived_ns, media_ns = arrived_ns + elapsed_ns, media_ns + step_ns
        assert clock.late_ns(arrived_ns, media_ns) >= 0
        assert pace.late_ns(arrived_ns, media_ns) >= 0


def test_a_capture_process_that_needs_more_memory_than_it_may_fails_alone() -> None:
    code = (
        "from edge.sources.capture.child import limit_memory; limit_memory(); small = bytearray(50 << 20);"
        "\ntry: bytearray(400 << 20)\nexcept MemoryError: print('refused')"
    )
    environment = {**os.environ, "EDGE_CAPTURE_MEMORY_MB": "300"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


def test_waits_double_up_to_a_limit_and_no_two_cameras_try_in_step() -> None:
    backoff = Backoff()
    waits = [backoff.next_s() for _ in range(12)]
    assert FIRST_S / 2 <= waits[0] <= FIRST_S
    assert all(LONGEST_S / 2 <= wait <= LONGEST_S for wait in waits[6:])
    assert len(set(waits)) == len(waits)
    backoff.reset()
    assert backoff.next_s() <= FIRST_S


FORMAT = Format(640, 360, bgr=False, rate_hz=30.0)


class Camera:
    """Feeds a Watch with pictures at an even rate."""

    def __init__(self, rate_hz: float = 30.0) -> None:
        self.now_ns, self.number, self._step_ns = 5 * 10**9, 0, round(1e9 / rate_hz)
        self.watch = Watch(self.now_ns)
        self.watch.opened(FORMAT, self.now_ns)

    def give(self, count: int, *, late_ns: int = 0, brightness: int = 90, spread: int = 80, same: bool = False) -> str:
        for _ in range(count):
            self.now_ns += self._step_ns
            self.number += 1
            digest = 7 if same else self.number
            seen = FrameReady(0, 0, self.number, self.now_ns - late_ns, late_ns, MS, brightness, spread, digest)
            self.watch.frame(seen, self.now_ns)
        return str(self.watch.look(self.now_ns))


def test_a_camera_is_lost_until_its_first_picture_and_ok_with_it() -> None:
    camera = Camera()
    assert str(camera.watch.look(camera.now_ns)) == "lost (starting)"
    assert camera.give(1) == "ok"
    health = camera.watch.look(camera.now_ns)
    assert (health.totals["restarts"], health.totals["frames"], health.size_wh) == (0, 1, (640, 360))


def test_health_says_since_when_and_counts_restarts() -> None:
    camera = Camera()
    camera.give(60)
    lost_ns = camera.now_ns + 400 * MS
    camera.watch.lost("frozen", lost_ns, "frozen")
    camera.watch.lost("frozen", lost_ns + 300 * MS)
    health = camera.watch.look(lost_ns + 500 * MS)
    assert (str(health), health.since_ns, health.last_error) == ("lost (frozen)", lost_ns, "frozen")
    assert health.stale
    camera.now_ns = lost_ns + 800 * MS
    assert camera.give(1) == "ok"
    health = camera.watch.look(camera.now_ns)
    assert (health.totals["restarts"], health.since_ns, health.last_error) == (1, camera.now_ns, "frozen")
    assert not health.stale


def test_pictures_are_stale_after_three_periods_of_the_cameras_own_rate() -> None:
    for rate_hz in (5.0, 30.0):
        camera = Camera(rate_hz)
        camera.give(40)
        period_ns = round(1e9 / rate_hz)
        assert not camera.watch.look(camera.now_ns + 29 * period_ns // 10).stale
        assert camera.watch.look(camera.now_ns + 31 * period_ns // 10).stale


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"brightness": 16, "spread": 3}, "black images"),
        ({"brightness": 240, "spread": 3}, "white images"),
        ({"brightness": 128, "spread": 3}, "blank images"),
        ({"same": True}, "the same image again and again"),
    ],
)
def test_pictures_that_show_nothing_new_are_told_within_two_seconds(fault: dict, name: str) -> None:
    camera = Camera()
    assert camera.give(90) == "ok"
    assert camera.give(30 * STUCK_NS // 10**9 - 3, **fault) == "ok"
    assert camera.give(15, **fault) == f"degraded ({name})"
    assert camera.give(1) == "ok"


def test_a_camera_that_gives_half_of_its_pictures_is_told_with_its_true_rate() -> None:
    camera = Camera(15.0)
    assert camera.give(90) == "degraded (fewer frames than it should give)"
    assert camera.watch.look(camera.now_ns).rate_hz == pytest.approx(15.0, rel=0.05)


def test_a_camera_whose_frames_are_read_in_bursts_has_its_own_rate() -> None:
    camera = Camera(30.0)
    for number in range(120):
        taken_ns = 5 * 10**9 + number * 33_333_333
        camera.now_ns = 5 * 10**9 + -(-number // 12) * 400 * MS + MS  # twelve at once
        camera.watch.frame(FrameReady(0, 0, number, min(taken_ns, camera.now_ns), 0, MS, 90, 80, number), camera.now_ns)
    health = camera.watch.look(camera.now_ns)
    assert str(health) == "ok"
    assert health.rate_hz == pytest.approx(30.0, rel=0.1)


def test_frames_that_waited_while_this_process_was_stopped_have_their_age_and_no_rate() -> None:
    camera = Camera(30.0)
    camera.give(60)
    taken_ns, camera.now_ns = camera.now_ns + 33 * MS, camera.now_ns + 12_000 * MS
    camera.watch.frame(FrameReady(0, 0, camera.number, taken_ns, 0, MS, 90, 80, 999), camera.now_ns)
    health = camera.watch.look(camera.now_ns)
    assert health.stale
    assert health.newest_ns == taken_ns
    assert health.rate_hz == 0.0


def test_a_rate_that_hovers_around_a_limit_does_not_flap() -> None:
    camera = Camera()
    states = []
    for turn in range(400):
        camera._step_ns = round(1e9 / (23.0 if turn // 70 % 2 else 25.0))  # 80 % of its rate is 24
        states.append(camera.give(1))
    changes = sum(before != after for before, after in pairwise(states))
    assert changes <= 1


def test_corrupt_pictures_are_counted_told_and_do_not_pass_for_pictures() -> None:
    camera = Camera()
    camera.give(60)
    newest_ns = camera.watch.look(camera.now_ns).newest_ns
    for _ in range(10):
        camera.now_ns += 33 * MS
        camera.watch.unusable(True, camera.now_ns)
    health = camera.watch.look(camera.now_ns)
    assert (str(health), health.totals["corrupt"], health.newest_ns) == ("degraded (corrupt images)", 10, newest_ns)
    assert health.stale
    assert camera.give(math.ceil(30 * RECENT_NS / 1e9) + 1) == "ok"


def test_a_corrupt_picture_does_not_bring_a_lost_camera_back() -> None:
    camera = Camera()
    camera.give(60)
    camera.watch.lost("frozen", camera.now_ns)
    camera.watch.unusable(True, camera.now_ns + MS)
    assert camera.watch.look(camera.now_ns + MS).state == "lost"


def test_a_change_of_size_is_told() -> None:
    camera = Camera()
    camera.give(60)
    camera.watch.opened(FORMAT._replace(width=320, height=180), camera.now_ns)
    assert camera.give(5) == "degraded (size changed from 640x360 to 320x180)"
    assert camera.give(40) == "ok"


def test_late_pictures_are_told() -> None:
    camera = Camera()
    camera.give(60)
    assert camera.give(3, late_ns=350 * MS) == "degraded (frames come late)"
    assert camera.give(40) == "ok"
