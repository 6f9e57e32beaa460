from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Numbers, all_road, seen, sure_above, track, with_confidence
from videos import write_video

from edge.classes import CAMVID
from edge.engine import Bundle
from edge.replay.ansi import image_lines, marker_line, timeline_line
from edge.replay.compare import Comparer
from edge.replay.keys import Keys
from edge.replay.player import Player, Shown, State
from edge.replay.terminal import Screen
from edge.replay.timeline import DisagreementTimeline
from edge.replay.view import BOTH, DIFFERENCE, images_of, views

pyte = pytest.importorskip("pyte", reason="pip install pyte: a terminal to test against")

COLUMNS, LINES = 100, 30
RIGHT, PAGE_DOWN, HOME = b"\x1b[C", b"\x1b[6~", b"\x1b[H"

# ---------------------------------------------------------------------------------------------------------------- keys

TYPED = [b"\x1b[C", b"\x1bOD", b"\x1b[1;2C", b"\x1b[5~", b"\x1b[F", b" ", b"q", b"7", b"\r", b"\x7f", b"\x1b[99;7u"]
NAMES = ["right", "left", "shift right", "page up", "end", "space", "q", "7", "enter", "backspace", ""]


@given(chosen=st.lists(st.integers(0, len(TYPED) - 1), max_size=12), cuts=st.lists(st.integers(1, 5), max_size=40))
def test_keys_are_the_same_however_their_bytes_are_cut(chosen: list[int], cuts: list[int]) -> None:
    data, keys, found = b"".join(TYPED[place] for place in chosen), Keys(), []
    for length in [*cuts, 1000]:
        found += keys.read(data[:length])
        data = data[length:]
    assert found == [NAMES[place] for place in chosen if NAMES[place]]
    assert keys.flush() == []


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_upset_the_keys(pieces: list[bytes]) -> None:
    keys = Keys()
    for piece in pieces:
        assert all(key.isprintable() for key in keys.read(piece))


def test_escape_alone_is_a_key_once_nothing_follows() -> None:
    keys = Keys()
    assert keys.read(b"\x1b") == []
    assert keys.flush() == ["escape"]
    assert keys.read(b"[C") == ["[", "C"]
    assert keys.read(b"\x1b ") == ["escape", "space"]


# ------------------------------------------------------------------------------------------------------------- images


def screen_of(lines: list[str], columns: int = 40, rows: int = 20):
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed("\r\n".join(lines))
    return screen


@pytest.mark.parametrize("truecolour", [True, False])
def test_a_picture_has_its_colours_two_pixels_in_a_cell(truecolour: bool) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2], image[2:] = (0, 0, 252), (252, 0, 0)  # red above, blue below
    screen = screen_of(image_lines(image, 4, 2, truecolour))
    cells = [screen.buffer[0][0], screen.buffer[1][3]]
    assert [cell.data for cell in cells] == ["▀", "▀"]
    red, blue = ("fc0000", "0000fc") if truecolour else ("ff0000", "0000ff")
    assert [(cell.fg, cell.bg) for cell in cells] == [(red, red), (blue, blue)]


@given(
    height=st.integers(1, 90), width=st.integers(1, 160), columns=st.integers(1, 60), rows=st.integers(1, 30),
    truecolour=st.booleans(),
)  # fmt: skip
def test_a_picture_of_any_shape_stays_in_its_place(
    height: int, width: int, columns: int, rows: int, truecolour: bool
) -> None:
    lines = image_lines(np.zeros((height, width, 3), np.uint8), columns, rows, truecolour)
    assert 1 <= len(lines) <= rows
    assert all(1 <= line.count("▀") <= columns for line in lines)


def test_the_strip_shows_the_worst_frames_highest_and_unknown_ones_as_dots() -> None:
    timeline, frame = DisagreementTimeline(4, Comparer(CAMVID, CAMVID)), Numbers().at(0)
    for index, rows in ((0, 0), (1, 48), (2, 24)):
        other = all_road(0)
        other[:rows] = 4
        timeline.compare(index, seen(frame, all_road(0)), seen(frame, other))
    assert timeline_line(timeline, 8, colour=False) == ("▁▁██▅▅··", 1.0)
    assert [marker_line(index, 4, 8).index("▲") for index in range(4)] == [1, 3, 5, 7]


def test_views_show_each_mask_both_and_what_differs() -> None:
    frame, other = Numbers().at(9), all_road(0)
    other[:12] = 0
    results = {"a": seen(frame, all_road(0)), "b": seen(frame, other)}
    shown, comparer = Shown(1, 9, frame, results), Comparer(CAMVID, CAMVID)
    tracks = [track("a", all_road), track("b", all_road)]
    assert views(tracks[:1]) == ["a"]
    assert views(tracks) == [BOTH, "a", "b", DIFFERENCE]
    left, right = images_of(shown, BOTH, tracks, comparer)
    assert np.array_equal(left[20:], right[20:])
    assert (right[:10] == frame.image[:10]).all()
    assert not (left[:10] == frame.image[:10]).all()
    (difference,) = images_of(shown, DIFFERENCE, tracks, comparer)
    magenta = cv2.inRange(difference, (255, 0, 255), (255, 0, 255)) > 0
    assert magenta[:12].all()
    assert not magenta[12:].any()
    assert images_of(Shown(1, 9, reason="damaged"), BOTH, tracks, comparer) == []


def test_a_view_shows_how_sure_an_engine_is() -> None:
    frame, sure = Numbers(101).at(100), with_confidence(track("a", all_road))
    shown = Shown(1, 100, frame, {"a": sure_above(seen(frame, all_road(0)))})
    assert views([sure]) == ["a", "a confidence"]
    (image,) = images_of(shown, "a confidence", [sure], None)
    assert set(np.unique(image[:20]).tolist()) == {178}, "half the image's 100, half white"
    assert set(np.unique(image[28:]).tolist()) == {50}
    (unseen,) = images_of(Shown(1, 100, frame, {"a": seen(frame, all_road(0))}), "a confidence", [sure], None)
    assert np.array_equal(unseen, frame.image), "what was not computed is not painted"


@given(columns=st.integers(1, 140), lines=st.integers(1, 50), view=st.integers(0, 3))
@settings(max_examples=40)
def test_a_screen_of_any_size_is_filled_and_never_overrun(columns: int, lines: int, view: int) -> None:
    timeline, frame = DisagreementTimeline(4, Comparer(CAMVID, CAMVID)), Numbers().at(2)
    results = {"a": seen(frame, all_road(0)), "b": seen(frame, all_road(0) * 0)}
    tracks = [track("a", all_road), track("b", all_road)]
    player = Player(Numbers(4), tracks, timeline=timeline)
    screen = Screen(player, None, "truecolor")
    for _ in range(view):
        screen.obey("m")
    shown = Shown(1, 2, frame, results, timeline.compare(2, results["a"], results["b"]))
    text = screen.drawing(State(shown, True, 1.0, 0, ""), columns, lines)
    terminal = pyte.Screen(columns, lines + 5)
    pyte.Stream(terminal).feed("\r\n".join(["!" * columns] * lines))
    pyte.Stream(terminal).feed(text.replace("\x1b[J", ""))
    assert not any("!" in line for line in terminal.display), "what was there before is gone"
    assert not any(line.strip() for line in terminal.display[lines:]), "nothing ran over"


# ------------------------------------------------------------------------------------------------------ a real terminal


class Terminal:
    """`edge replay` in a pseudo-terminal, with a terminal emulator on the other side."""

    def __init__(self, arguments: list[str]) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.fd, self.before = ours, termios.tcgetattr(ours)
        command = [sys.executable, "-m", "edge.cli", "replay", *arguments]
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.pid = os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, number) for number in (0, 1, 2)],
            setsid=True,
        )
        os.close(theirs)

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def shows(self, words: str, within_s: float = 90.0) -> bool:
        """Whether the words come to stand on the screen."""
        return self._comes(lambda: any(words in line for line in self.screen.display), within_s)

    def ends(self, within_s: float = 60.0) -> int:
        """Its exit code; what it still says is read."""
        found: list[int] = []

        def has_ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
                self.pid = 0
            return bool(pid)

        assert self._comes(has_ended, within_s), self.screen.display
        self._pump(0)
        return found[0]

    def _comes(self, is_so: Callable[[], bool], within_s: float) -> bool:
        end_s = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > end_s:
                return False
            self._pump(0.05)
        return True

    def _pump(self, wait_s: float) -> None:
        while select.select([self.fd], [], [], wait_s)[0]:
            try:
                data = os.read(self.fd, 1 << 16)
            except OSError:  # nobody on the other side any more
                time.sleep(wait_s)
                return
            self.raw += data
            self._stream.feed(data)
            wait_s = 0

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(colour_bundle: Bundle, tmp_path: Path) -> Iterator[Terminal]:
    path = write_video(tmp_path / "drive.mp4", 90)
    folder = str(colour_bundle.folder)
    terminal = Terminal([str(path), "--engine", folder, "--diff", f"{folder}:f32", "--backend", "openvino"])
    yield terminal
    terminal.close()


@pytest.mark.slow
def test_keys_lead_through_the_recording_and_the_terminal_is_left_as_it_was(terminal: Terminal) -> None:
    assert terminal.shows("frame 0 of 90")
    assert terminal.shows("colours f32 | colours f32 (2)")
    assert "▀" in "".join(terminal.screen.display)
    for keys, words in (
        (RIGHT * 3, "frame 3 of 90"),
        (b"\x1b[1;2C", "frame 33 of 90"),
        (b"g7", "go to frame: 7"),
        (b"2\r", "frame 72 of 90"),
        (PAGE_DOWN, "frame 89 of 90"),
        (HOME, "frame 0 of 90"),
        (b"m", "colours f32: colours f32 |"),
        (b"+", "2x"),
        (b"n", "no frame differs, as far as is known"),
        (b"g", "go to frame"),
        (b"\x1b", "space play"),
        (b" ", "frame 89 of 90"),
    ):
        terminal.type(keys)
        assert terminal.shows(words), (keys, terminal.screen.display)
    terminal.type(b"q")
    assert terminal.ends() == 0
    assert termios.tcgetattr(terminal.fd) == terminal.before
    assert terminal.raw.endswith(b"\x1b[?25h\x1b[?1049l")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_the_terminal_is_left_as_it_was_by_a_signal_too(terminal: Terminal, number: signal.Signals, code: int) -> None:
    assert terminal.shows("frame 0 of 90")
    os.kill(terminal.pid, number)
    assert terminal.ends() == code
    assert termios.tcgetattr(terminal.fd) == terminal.before
    assert b"\x1b[?1049l" in terminal.raw[-80:]
