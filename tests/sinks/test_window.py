from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import ROAD, result_of

from edge.appearance import Appearance
from edge.domain import UnlikeNow
from edge.errors import ConfigError, OutputError
from edge.frame import Image
from edge.sinks import window
from edge.sinks.window import Window, _Shown, check_windows
from edge.timing import Stages

# pip install --target FOLDER opencv-python: the OpenCV with windows, which must not lie beside the one without
GUI = os.environ.get("EDGE_GUI_OPENCV", "")
SECOND_NS = 1_000_000_000
WHITE = np.full((48, 64, 3), 200, np.uint8)
ALL_ROAD = np.full((24, 32), ROAD, np.uint8)


def shown(captured_ns: int = SECOND_NS) -> _Shown:
    found = _Shown(UnlikeNow(None), Appearance())
    found.take(result_of(1, ALL_ROAD, image=WHITE, captured_ns=captured_ns), 3)
    return found


def sky(picture: Image) -> list[int]:
    """The colour in the upper right corner, where no words are."""
    return picture[2, -2].tolist()


def test_the_picture_has_its_masks_until_they_are_switched_off() -> None:
    found = shown()
    tinted = sky(found.image(SECOND_NS))
    assert tinted != [200, 200, 200]
    found.has_masks = False
    assert sky(found.image(SECOND_NS)) == [200, 200, 200]


def test_an_old_picture_is_grey_and_has_no_masks() -> None:
    assert sky(shown().image(2 * SECOND_NS)) == [100, 100, 100]


def test_a_picture_that_stands_still_is_kept_though_others_come() -> None:
    found = shown()
    found.is_paused = True
    before = sky(found.image(SECOND_NS))
    found.take(result_of(2, ALL_ROAD, image=np.zeros_like(WHITE), captured_ns=2 * SECOND_NS), 3)
    assert sky(found.image(9 * SECOND_NS)) == before


def test_a_window_that_fails_tells_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise cv2.error("the screen is gone")

    monkeypatch.setattr(window, "check_windows", lambda: None)
    monkeypatch.setattr(cv2, "namedWindow", gone)
    with Window(Stages()) as failing:
        failing._thread.join(10)
        with pytest.raises(OutputError, match="window cannot be shown any more: the screen is gone"):
            failing.write(result_of(1, ALL_ROAD, image=WHITE), 0)


def test_no_frame_is_kept_but_the_one_that_waits() -> None:
    image = WHITE.copy()
    found = _Shown(UnlikeNow(None), Appearance())
    found.take(result_of(1, ALL_ROAD, image=image), 0)
    image[:] = 0  # the camera writes there again
    found.has_masks = False
    assert sky(found.image(5 * SECOND_NS)) == [200, 200, 200]


@pytest.mark.parametrize(("line", "has"), [("  GUI:      NONE", False), ("  GUI:      QT5", True), ("", False)])
def test_whether_opencv_has_windows_is_read_from_its_build(line: str, has: bool) -> None:
    assert window._has_gui(f"General\n{line}\n  Media I/O:\n") is has


@pytest.mark.skipif(window._has_gui(cv2.getBuildInformation()), reason="this OpenCV has windows")
def test_an_opencv_without_windows_says_what_to_type() -> None:
    with pytest.raises(
        ConfigError,
        match=r"pip uninstall -y opencv-python-headless && .*pip install --force-reinstall --no-deps opencv-python$",
    ):
        check_windows()


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if not shutil.which(name)]
    reason = f"apt-get install xvfb xdotool imagemagick; {missing}" if missing else "EDGE_GUI_OPENCV names no folder"
    return pytest.mark.skipif(bool(missing) or not GUI, reason=reason)


@pytest.fixture
def screen() -> Iterator[dict[str, str]]:
    """The environment of programs on a screen of their own."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as told:
        number = told.readline().strip()
    yield {**os.environ, "DISPLAY": f":{number}", "PYTHONPATH": GUI}
    server.terminate()
    server.wait(10)


@needs("Xvfb", "xdotool", "import")
def test_a_real_window_shows_masks_and_hears_keys(screen: dict[str, str], tmp_path: Path) -> None:
    source = "scene:street?seed=7&frames=100000&size=640x360&fps=20"
    command = [sys.executable, "-m", "edge.cli", "run", source, "--live", "--show", "-q"]
    program = subprocess.Popen(command, env=screen, stderr=subprocess.PIPE, text=True)

    def look() -> Image:
        path = tmp_path / "screen.png"
        subprocess.run(["import", "-window", "root", str(path)], env=screen, check=True)
        found = cv2.imread(str(path))
        assert found is not None
        return np.asarray(found, np.uint8)

    def press(key: str) -> None:
        subprocess.run(["xdotool", "mousemove", "300", "300", "key", key], env=screen, check=True)

    try:
        assert soon(lambda: greenness(look()) > 20, 60), "the road is tinted"
        press("o")
        assert soon(lambda: greenness(look()) < 10), "the masks are off"
        press("q")
        assert program.wait(20) == 0
    finally:
        program.kill()
        _, said = program.communicate(timeout=10)
    assert "Traceback" not in said


def test_without_a_screen_it_says_so_and_names_the_other_ways() -> None:
    if not GUI:
        pytest.skip("EDGE_GUI_OPENCV names no folder")
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"PYTHONPATH": GUI}
    command = [sys.executable, "-m", "edge.cli", "run", "scene:street?size=160x120&frames=2", "--show"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 78
    assert "could not connect to display" in done.stderr
    assert "--overlay out.mp4" in done.stderr


def greenness(picture: Image) -> float:
    """How much greener than red the lower middle is, where the road lies."""
    part = picture[500:700, 500:780].reshape(-1, 3).astype(float).mean(0)
    return float(part[1] - part[2])


def soon(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True
