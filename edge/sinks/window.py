"""The newest frame with its masks in a window of this machine's screen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import cv2
import numpy as np

from edge.appearance import Appearance
from edge.caption import write_caption
from edge.card import Fingerprint
from edge.domain import ADVICE, WARNING, UnlikeNow
from edge.errors import ConfigError, OutputError
from edge.frame import Image
from edge.install import pip
from edge.prediction import Prediction
from edge.timing import Stages

TITLE = "edge"
SIZE_WH = (1280, 720)  # at first; the image keeps its shape in whatever the user makes of it
STALE_S = 0.5  # a image older than this is shown as old
_PROBE_S = 30.0
_PROBE = "import cv2; cv2.namedWindow('edge'); cv2.waitKey(1)"
_KEYS = "q ends   space pauses   o masks on, off"


class Window:
    """Shows results, the newest only. Keys: q ends, space pauses the image, o switches the masks.

    A thread of its own owns the window: libraries of windows want every call from one thread, and keys are heard while
    no frame comes. What is old is shown as old.
    """

    def __init__(
        self,
        stages: Stages,
        on_close: Callable[[], object] = lambda: None,
        fingerprint: Fingerprint | None = None,
        look: Appearance | None = None,
    ) -> None:
        """`on_close` is called, from the window's thread, when the user closes it. By `fingerprint`, the engine's, it
        is known when the scene is unlike the training data.

        Raises:
            ConfigError: there can be no window here; what to do is in it.
        """
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # of fonts, which nothing here needs
        check_windows()
        self.is_closed = False
        self._error: cv2.error | None = None
        self._stages, self._on_close = stages, on_close
        self._newest: tuple[Prediction, int] | None = None
        self._shown = _Shown(UnlikeNow(fingerprint), look or Appearance())
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="window", daemon=True)

    def __enter__(self) -> Window:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        self._thread.join()

    def write(self, result: Prediction, dropped: int) -> None:
        """Let the window's thread show it; it never waits.

        Raises:
            OutputError: there is no window any more, and it was not closed by its user.
        """
        if self._error is not None:
            raise OutputError(f"the window cannot be shown any more: {self._error}") from self._error
        self._newest = (result, dropped)

    def _work(self) -> None:
        try:
            self._show()
        except cv2.error as error:
            self._error = error

    def _show(self) -> None:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(TITLE, *SIZE_WH)
        while not self._left.is_set() and not self.is_closed:
            newest, self._newest = self._newest, None
            if newest is not None:
                self._shown.take(*newest)
                del newest  # a camera waits for the frame's memory
            with self._stages["window"].span():
                cv2.imshow(TITLE, self._shown.image(time.monotonic_ns()))
            self._obey(cv2.waitKey(15) & 0xFF)
        cv2.destroyWindow(TITLE)
        cv2.waitKey(1)  # in which it goes

    def _obey(self, key: int) -> None:
        if key == ord(" "):
            self._shown.is_paused = not self._shown.is_paused
        elif key == ord("o"):
            self._shown.has_masks = not self._shown.has_masks
        if key == ord("q") or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            self.is_closed = True
            self._on_close()


class _Shown:
    """What is in the window. It keeps no frame, only images made of one: with masks, and without."""

    def __init__(self, unlike: UnlikeNow, look: Appearance) -> None:
        self.has_masks, self.is_paused = True, False
        self._unlike, self._look = unlike, look
        self._plain: Image = np.zeros((360, 640, 3), np.uint8)
        self._tinted = self._plain
        self._captured_ns: int | None = None
        self._text = ""
        self._times_ns: deque[int] = deque(maxlen=31)

    def take(self, result: Prediction, dropped: int) -> None:
        """Show that result from now on, unless the image stands still."""
        frame = result.frame
        self._times_ns.append(frame.captured_ns)
        if self.is_paused:
            return
        self._plain = frame.image.copy()
        self._tinted = result.painted(self._look)
        self._captured_ns = frame.captured_ns
        figures = f"age {result.age_ms:.0f} ms   {self._rate_hz():.1f} Hz   frame {frame.index}   dropped {dropped}"
        self._text = f"{WARNING.upper()}: {ADVICE}   {figures}" if self._unlike.look(result) else figures

    def _rate_hz(self) -> float:
        span_ns = self._times_ns[-1] - self._times_ns[0]
        return (len(self._times_ns) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0

    def image(self, now_ns: int) -> Image:
        """uint8 (h, w, 3) BGR with a line of figures; an old one is grey and has no masks, one that stands says so."""
        if self._captured_ns is None:
            return with_words(self._plain, f"waiting for the first frame   {_KEYS}")
        age_s, image = (now_ns - self._captured_ns) / 1e9, self._tinted if self.has_masks else self._plain
        if self.is_paused:
            return with_words(image, f"PAUSED {age_s:.1f} s ago   {self._text}")
        if age_s > STALE_S:
            grey = cv2.cvtColor(cv2.cvtColor(self._plain, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            return with_words(np.asarray(grey // 2, np.uint8), f"OLD: no new frame for {age_s:.1f} s")
        return with_words(image, self._text)


def with_words(image: Image, text: str) -> Image:
    """A copy with white words on a dim bar in its lower left corner."""
    out = image.copy()
    write_caption(out, text)
    return out


def check_windows() -> None:
    """Open a window in a process of its own: without a screen, libraries of windows end the process that asks.

    Raises:
        ConfigError: there can be none; what to do is in it.
    """
    if not _has_gui(cv2.getBuildInformation()):
        raise ConfigError(
            "no window can be shown: this OpenCV has none."
            # Forced: where both were installed, the first command takes files of the second with it.
            f" Run: {pip()} uninstall -y opencv-python-headless &&"
            f" {pip()} install --force-reinstall --no-deps opencv-python"
        )
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"no window can be shown: the screen does not answer within {_PROBE_S:.0f} s") from None
    if probe.returncode:
        reason = next((line.strip() for line in probe.stderr.splitlines() if "display" in line.lower()), "")
        reason = reason or (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(
            f"no window can be shown: {reason}. Run it where DISPLAY names a screen, or look at the live page"
            " (docs/web.md), or write a video: --overlay out.mp4"
        )


def _has_gui(build: str) -> bool:
    """Whether OpenCV's account of its build names something to make windows with."""
    line = next((line for line in build.splitlines() if line.strip().startswith("GUI:")), "")
    return line.partition(":")[2].strip() not in ("", "NONE")
