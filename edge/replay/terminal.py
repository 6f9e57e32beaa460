"""A replay in a terminal: the image in half blocks, the timeline, and keys."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.cells import set_cell_size

from edge.replay.ansi import RESET, image_lines, marker_line, timeline_line
from edge.replay.background import BackgroundComparison
from edge.replay.keys import Keys
from edge.replay.player import SPEEDS, Player, State
from edge.replay.view import images_of, views

DRAW_EVERY_S = 1 / 15
LOOK_EVERY_S = 0.25  # at the size of the terminal, and at the timeline
ESCAPE_S = 0.05  # a lone Escape is known by nothing coming behind it
IMAGE_COLUMNS = 160  # more cost more than they show: each is some 20 bytes, 15 times a second
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # drawn at once, by terminals that know it
_DIM, _BOLD, _RED = "\x1b[2m", "\x1b[1m", "\x1b[1;31m"
HELP = "space play  ←→ frame  ⇧←→ 1 s  PgUp PgDn 10 s  g go to  n p worst  m view  +- speed  q quit"


def play_in_terminal(player: Player, comparison: BackgroundComparison | None) -> None:
    """Until q is pressed or the terminal is gone; the terminal is left as it was found, whatever ends it.

    Raises:
        EdgeError: an engine failed.
    """
    from rich.console import Console

    console = Console()
    colours = "" if console.no_color else console.color_system or ""
    waking, wake = os.pipe()
    os.set_blocking(wake, False)

    def heard() -> None:
        with suppress(BlockingIOError):  # full: it is awake already
            os.write(wake, b"x")

    player.listen(heard)
    try:
        with raw_terminal(sys.stdin.fileno(), sys.stdout.fileno()):
            Screen(player, comparison, colours).run(sys.stdin.fileno(), sys.stdout.fileno(), waking)
    finally:
        player.unlisten(heard)
        os.close(waking)
        os.close(wake)


@contextmanager
def raw_terminal(keyboard: int, screen: int) -> Iterator[None]:
    """Keys one by one and a screen of our own, until the block is left. Ctrl-C stays an interrupt."""
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        mode = termios.tcgetattr(keyboard)
        mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell with our modes
        termios.tcsetattr(keyboard, termios.TCSANOW, mode)
        os.write(screen, _ENTER.encode())
        yield
    finally:
        with suppress(OSError, termios.error):  # the terminal may be gone
            termios.tcsetattr(keyboard, termios.TCSANOW, before)
            os.write(screen, (RESET + _LEAVE).encode())


class Screen:
    """What is drawn, and what keys do."""

    def __init__(self, player: Player, comparison: BackgroundComparison | None, colours: str) -> None:
        """`colours` is "truecolor", "256", or anything else for a terminal that shows no images."""
        self._player, self._comparison, self._colours = player, comparison, colours
        self._views = views(player.tracks)
        self._view = self._views[0]
        self._typed: str | None = None  # the digits of a frame number
        self._quits = False
        second = max(1, round(player.rate_hz))
        self._steps = {
            "right": 1,
            "left": -1,
            "shift right": second,
            "shift left": -second,
            "up": second,
            "down": -second,
            "page up": -10 * second,
            "page down": 10 * second,
        }

    def run(self, keyboard: int, screen: int, waking: int) -> None:
        """Draw and obey until it ends."""
        keys, drawn, drawn_s = Keys(), None, 0.0
        while not self._quits:
            timeout_s = LOOK_EVERY_S
            columns, lines = _size(screen)
            now = (self._player.snapshot(), self._timeline_version(), columns, lines, self._view, self._typed)
            if now != drawn:
                timeout_s = drawn_s + DRAW_EVERY_S - time.monotonic()
                if timeout_s <= 0:
                    _write(screen, self.drawing(now[0], columns, lines))
                    drawn, drawn_s, timeout_s = now, time.monotonic(), LOOK_EVERY_S
            ready, _, _ = select.select([keyboard, waking], [], [], timeout_s)
            if waking in ready:
                os.read(waking, 4096)
            if keyboard in ready and not self._read(keyboard, keys):
                return

    def _read(self, keyboard: int, keys: Keys) -> bool:
        """Obey what was typed; False where the terminal is gone."""
        try:
            data = os.read(keyboard, 1024)
        except OSError:
            return False
        pressed = keys.read(data)
        if not select.select([keyboard], [], [], ESCAPE_S if data.endswith(b"\x1b") else 0)[0]:
            pressed += keys.flush()
        for key in pressed:
            self.obey(key)
        return bool(data)

    def _timeline_version(self) -> int:
        return self._player.timeline.version if self._player.timeline else 0

    # ------------------------------------------------------------------------------------------------------------ keys

    def obey(self, key: str) -> None:
        """Do what a key stands for."""
        player = self._player
        if self._typed is not None:
            self._type(key)
        elif key in self._steps:
            player.step(self._steps[key])
        elif key in ("+", "=", "-"):
            self._change_speed(-1 if key == "-" else 1)
        elif key in ("n", "p"):
            player.seek_worst(1 if key == "n" else -1)
        elif key == "m":
            self._view = self._views[(self._views.index(self._view) + 1) % len(self._views)]
        elif key == "g":
            self._typed = ""
        else:
            self._obey_simple(key)

    def _obey_simple(self, key: str) -> None:
        player = self._player
        if key == "space":
            player.toggle()
        elif key == "home":
            player.seek(0)
        elif key == "end":
            player.seek(player.frame_count - 1)
        elif key == "q":
            self._quits = True

    def _type(self, key: str) -> None:
        assert self._typed is not None
        if key == "enter" and self._typed:
            self._player.seek(int(self._typed))
        if key in ("enter", "escape", "q"):
            self._typed = None
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif key.isdecimal() and len(self._typed) < 9:
            self._typed += key

    def _change_speed(self, steps: int) -> None:
        speed = self._player.snapshot().speed
        nearest = min(range(len(SPEEDS)), key=lambda place: abs(SPEEDS[place] - speed))
        self._player.set_speed(SPEEDS[min(max(0, nearest + steps), len(SPEEDS) - 1)])

    # --------------------------------------------------------------------------------------------------------- drawing

    def drawing(self, state: State, columns: int, lines: int) -> str:
        """All of the screen as text: escape sequences and words, every line in its place."""
        below = self._below(state, columns)
        rows = max(0, lines - len(below) - 1)
        above = [_styled(_BOLD, self._title(), columns), *self._image(state, columns, rows)]
        above += [""] * max(0, lines - len(below) - len(above))
        whole = (above + below)[:lines] if lines > len(below) else below[:lines]
        # Cleared before, not behind: behind a full line the cursor still stands on its last cell.
        placed = (f"\x1b[{place};1H\x1b[K{line}{RESET}" for place, line in enumerate(whole, 1))
        return _BEGIN + "".join(placed) + "\x1b[J" + _END

    def _title(self) -> str:
        tracks = " | ".join(track.name for track in self._player.tracks)
        return f"edge replay  {self._view}: {tracks}  —  {self._player.name}"

    def _image(self, state: State, columns: int, rows: int) -> list[str]:
        shown = state.shown
        if shown.reason:
            return ["", _styled(_RED, shown.reason, columns)]
        if self._colours not in ("truecolor", "256") or rows < 2:
            return []
        timeline = self._player.timeline
        images = images_of(shown, self._view, self._player.tracks, timeline.comparer if timeline else None)
        each = min(columns, IMAGE_COLUMNS) // max(1, len(images)) - (len(images) > 1)
        blocks = [image_lines(image, each, rows, self._colours == "truecolor") for image in images]
        return [" ".join(line) for line in zip(*blocks, strict=True)]

    def _below(self, state: State, columns: int) -> list[str]:
        timeline, index, count = self._player.timeline, state.shown.index, self._player.frame_count
        lines = [_styled(_BOLD, self._status(state), columns)]
        if timeline is not None:
            blocks, top = timeline_line(timeline, columns, bool(self._colours))
            lines += [_styled("", self._disagreement(state, top), columns), blocks]
        else:
            lines.append(_styled(_DIM, "─" * columns, columns))
        asked = f"go to frame: {self._typed}▏ (Enter goes, Esc stays)" if self._typed is not None else HELP
        if self._player.damage:
            lines.insert(0, _styled(_RED, f"this recording is damaged: {self._player.damage}", columns))
        return [*lines, marker_line(index, count, columns), _styled(_DIM, asked, columns)]

    def _status(self, state: State) -> str:
        shown, mark = state.shown, "▶" if state.playing else "‖"
        media_ns = shown.frame.media_ns if shown.frame else None
        parts = [
            f"{mark} {state.speed:g}x",
            f"frame {shown.index} of {self._player.frame_count}",
            "" if media_ns is None else f"{media_ns / 1e9:.3f} s",
            state.note,
            f"{state.skipped} skipped" if state.skipped else "",
            *(f"{name} {mask.age_ms:.0f} ms" for name, mask in shown.results.items()),
        ]
        return "   ".join(filter(None, parts))

    def _disagreement(self, state: State, top: float) -> str:
        timeline, found = self._player.timeline, state.shown.disagreement
        assert timeline is not None
        parts = [f"timeline 0 to {top:.1%}"]
        if found is not None:
            parts = [f"differing {found.share:.2%}", *parts]
            named = zip(timeline.comparer.groups, found.iou, strict=True)
            parts += [f"IoU {group} {iou:.3f}" for group, iou in named if iou is not None]
        if timeline.known < timeline.frame_count:
            parts.append(f"{timeline.known} of {timeline.frame_count} compared")
        if self._comparison is not None and self._comparison.failure is not None:
            parts.append(f"comparing ended: {self._comparison.failure}")
        return "   ".join(parts)


def _size(screen: int) -> tuple[int, int]:
    """Columns and lines; a serial console knows neither, and is taken for a VT100."""
    columns, lines = os.get_terminal_size(screen)
    return columns or 80, lines or 24


def _styled(style: str, text: str, columns: int) -> str:
    """Cut to the width, so that no line runs over; control characters in names stay out of the terminal."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return f"{style}{set_cell_size(clean, columns)}"


def _write(screen: int, text: str) -> None:
    data = memoryview(text.encode())
    while data:
        data = data[os.write(screen, data) :]
