"""`edge serve SOURCE`, `--lan` and `edge init` as a user types them, from a folder without the repository."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")

from edge.engine import Bundle
from edge.frame import Image
from edge.sources.looped import Looped
from edge.sources.open import open_source

WITHIN_S = 90.0
pytestmark = pytest.mark.slow


class Typed:
    """A command that runs until Ctrl-C."""

    def __init__(self, folder: Path, words: tuple[str | Path, ...], **environment: str) -> None:
        self.log = folder / "log.txt"
        command = [sys.executable, "-m", "edge.cli", *map(str, words)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def says(self, pattern: str) -> str:
        end_s = time.monotonic() + WITHIN_S
        while not (found := re.search(pattern, self.log.read_text())):
            assert time.monotonic() < end_s, f"{pattern!r} was not said: {self.log.read_text()}"
            assert self.process.poll() is None or re.search(pattern, self.log.read_text()), self.log.read_text()
            time.sleep(0.1)
        return found[1]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WITHIN_S)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(WITHIN_S)


Type = Callable[..., Typed]


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Type]:
    with contextlib.ExitStack() as stack:

        def start(*words: str | Path, **environment: str) -> Typed:
            running = Typed(tmp_path, words, **environment)
            stack.callback(running.kill)
            return running

        yield start


@pytest.fixture
def video(tmp_path: Path, flag: Image) -> Path:
    """Twelve frames at 10 Hz."""
    path = tmp_path / "flag.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flag, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def frames_segmented(url: str) -> int:
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{url}metrics", timeout=5) as answer:
        if found := re.search(r"^edge_frames_total (\d+)", answer.read().decode(), re.MULTILINE):
            return int(found[1])
    return 0


def await_frames(url: str, count: int) -> None:
    end_s = time.monotonic() + WITHIN_S
    while frames_segmented(url) < count:
        assert time.monotonic() < end_s
        time.sleep(0.2)


def run(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


# -------------------------------------------------------------------------------------------------------------- source


def test_a_looped_video_is_served_with_its_page_until_ctrl_c(typed: Type, video: Path, colour_bundle: Bundle) -> None:
    served = typed("serve", video.name, "--loop", "--port", "0", "-e", colour_bundle.folder)
    url = served.says(r"live page  (http://127\.0\.0\.1:\d+/)\n")
    await_frames(url, 20)  # more than the video has
    with urllib.request.urlopen(url, timeout=5) as page:
        assert b"edge live" in page.read()
    assert served.end() == 0


def test_a_video_without_loop_ends_the_service(typed: Type, video: Path, colour_bundle: Bundle) -> None:
    assert typed("serve", video.name, "--port", "0", "-e", colour_bundle.folder).process.wait(WITHIN_S) == 0


def test_open_hands_the_address_to_the_browser(typed: Type, video: Path, colour_bundle: Bundle, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    words = ("serve", video.name, "--loop", "--port", "0", "-e", colour_bundle.folder, "--open")
    served = typed(*words, BROWSER=f"{browser} %s")
    url = served.says(r"live page  (\S+)\n")
    end_s = time.monotonic() + WITHIN_S
    while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text():
        assert time.monotonic() < end_s
        time.sleep(0.1)
    assert (tmp_path / "opened").read_text().strip() == url


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing.mp4",), 69, "nothing.mp4: there is no such file"),
        ((), 78, "expected a SOURCE, such as `edge serve 0`"),
        (("0", "--config", "a.yaml"), 78, "expected a SOURCE"),
        (("--config", "a.yaml", "--loop"), 78, "--loop goes with a SOURCE, not with --config. Write it into the file"),
        (("--config", "a.yaml", "--open"), 78, "--open goes with a SOURCE, not with --config. Write a SOURCE in place"),
        (("0", "--address", "127.0.0.1"), 78, "--address goes with --lan"),
        (("0", "--lan", "--address", "here"), 78, "expected an IP address of this machine"),
        (("scene:street", "--engine", "nil"), 70, "no engine is called 'nil'"),
    ],
)
def test_what_cannot_be_served_is_one_line(words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    result = run(tmp_path, "serve", *words)
    assert result.returncode == code, result
    (line,) = result.stderr.strip().splitlines()
    assert said in line


def test_a_looped_recording_goes_on_counting(video: Path) -> None:
    with Looped(open_source(str(video)), str(video)) as source:
        frames = [(frame.index, frame.media_ns) for frame, _ in zip(source, range(30), strict=False)]
    assert [index for index, _ in frames] == list(range(30))
    assert frames[12][1] == frames[0][1]


def test_the_decoding_of_every_round_is_measured(video: Path) -> None:
    with Looped(open_source(str(video)), str(video)) as source:
        for _ in zip(source, range(30), strict=False):
            pass
        assert source.decode.count >= 30


# ----------------------------------------------------------------------------------------------------------------- lan


def test_the_lan_page_asks_for_the_token_of_its_link(
    typed: Type, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    words = (
        "serve",
        video.name,
        "--loop",
        "--port",
        "0",
        "-e",
        colour_bundle.folder,
        "--lan",
        "--address",
        "127.0.0.1",
    )
    served = typed(*words, XDG_CONFIG_HOME=str(tmp_path / "config"))
    link = served.says(r"live page  (https://127\.0\.0\.1:\d+/login#token=\S+)\n")
    served.says("(Ctrl-C ends)")
    assert re.search("█|segno|serve]'", served.log.read_text())
    base, token = link.split("/login#token=")
    place = tmp_path / "config" / "edge" / "lan" / "127.0.0.1"
    assert {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()} == {
        "token": 0o600,
        "key.pem": 0o600,
        "certificate.pem": 0o600,
    }
    assert place.stat().st_mode & 0o777 == 0o700
    context = ssl.create_default_context(cafile=str(place / "certificate.pem"))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor()
    )
    assert b'src="/login.js"' in opener.open(f"{base}/", timeout=10).read()  # without the token: the form
    assert b"token" in opener.open(f"{base}/login.js", timeout=10).read()
    form = urllib.parse.urlencode({"token": token}).encode()
    assert b"edge live" in opener.open(f"{base}/login", form, timeout=10).read()
    assert served.end() == 0
    before = (place / "token").read_text(), (place / "certificate.pem").read_text()
    again = typed(*words, XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert again.says(r"#token=(\S+)\n") == token
    assert ((place / "token").read_text(), (place / "certificate.pem").read_text()) == before


# ---------------------------------------------------------------------------------------------------------------- init


def test_init_writes_a_config_that_runs_from_any_folder(
    typed: Type, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    result = run(tmp_path, "init", "--source", video.name, "-e", colour_bundle.folder, "--port", "0")
    assert (result.returncode, result.stdout) == (0, "wrote edge.yaml. Run: edge serve --config edge.yaml\n"), result
    assert (tmp_path / "edge.yaml").stat().st_mode & 0o777 == 0o600
    (tmp_path / "elsewhere").mkdir()
    served = typed("serve", "--config", tmp_path / "edge.yaml")
    await_frames(served.says(r"live page: (http://127\.0\.0\.1:\d+/)"), 20)
    assert served.end() == 0


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("mine")
    result = run(tmp_path, "init", "--source", "0")
    assert result.returncode == 73
    assert "edge.yaml: exists already and is never overwritten" in result.stderr
    assert (tmp_path / "edge.yaml").read_text() == "mine"


def test_init_reports_a_video_that_is_not_there_yet(tmp_path: Path) -> None:
    result = run(tmp_path, "init", "--source", "drive.mp4")
    assert (result.returncode, result.stdout) == (0, "wrote edge.yaml. Run: edge serve --config edge.yaml\n"), result
    assert "drive.mp4: there is no such file" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 78, "--source is missing, and there is no terminal to ask at. Try: edge init --source 0"),
        (("--source", "0", "-e", "nil"), 70, "no engine is called 'nil'"),
        (("--source", "scene:sea"), 78, "'scene:street'"),
    ],
)
def test_init_refuses_what_would_not_run_and_writes_nothing(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    result = run(tmp_path, "init", *words)
    assert result.returncode == code, result
    (line,) = result.stderr.strip().splitlines()
    assert said in line
    assert not (tmp_path / "edge.yaml").exists()


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"1\nrtsp://user:secret@camera.invalid/1\n\n8123\n")
    result: Any = subprocess.run(
        [sys.executable, "-m", "edge.cli", "init", "a.yaml"],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    text = (tmp_path / "a.yaml").read_text()
    assert result.returncode == 0
    assert "What do you have" in result.stdout
    assert f"camera: {json.dumps('rtsp://user:secret@camera.invalid/1')}\n" in text
    assert 'engine: "road"\n' in text
    assert "loop: false\n" in text
    assert "  port: 8123\n" in text


# --------------------------------------------------------------------------------------------------------------- zones


def zones_of(url: str, token: str) -> Any:
    """The zones in the first message to the page."""
    from websockets.sync.client import connect

    address = f"ws{url.removeprefix('http')}feed"
    with connect(address, additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=WITHIN_S) as line:
        return json.loads(line.recv(timeout=WITHIN_S))["zones"]


def test_zones_that_the_page_saves_hold_once_the_config_was_read_again(
    typed: Type, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    token, zone = "correct-horse-battery-staple", [[0.1, 0.2], [0.5, 0.2], [0.5, 0.8]]
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(token)
    result = run(tmp_path, "init", "--source", video.name, "-e", colour_bundle.folder, "--port", "0")
    assert result.returncode == 0, result
    config = tmp_path / "edge.yaml"
    text = config.read_text().replace("events: {", f"events: {{zones_file: {tmp_path / 'zones.yaml'}, ")
    config.write_text(text.replace("  port: 0", f"  port: 0\n  token_file: {tmp_path / 'token'}"))
    served = typed("serve", "--config", config)
    url = served.says(r"live page: (http://127\.0\.0\.1:\d+/)")
    assert zones_of(url, token)["ahead"] != zone
    headers = {"Authorization": f"Bearer {token}"}
    body = json.dumps({"zone": zone, "zones": None}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}zones?camera=", body, headers), timeout=WITHIN_S) as done:
        assert done.status == 204
    anew = served.says(r"(?s)live page: .*live page: (http://127\.0\.0\.1:\d+/)")
    assert zones_of(anew, token)["ahead"] == zone
    assert served.end() == 0
