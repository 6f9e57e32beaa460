"""Does the service grow? Frames and lost cameras in quick succession: memory, files and threads of all its processes.

    python -m benchmarks.soak [--frames 200000] [--reconnects 1000] [--rate 240]

The real `edge serve`, with live page and recorder, and MQTT where a broker is installed, takes JPEG pictures of 320x200
over HTTP, at a rate that no real camera has. The camera breaks off the connection every so many frames. Each second the
service and its children are looked at in /proc: resident memory (shared pictures are in it), files, threads, processes.

Memory is judged by the slope of a straight line through what came after the first tenth, with its 95 % confidence, per
hour of frames at 30 Hz: an hour of a real camera is 108,000 frames, however fast they came here. What a reconnection
costs is the same slope over reconnections. Ctrl-C ends it and tells what there was.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edge.report import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "rtsp"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "sinks"))

from cameras import free_port
from pictures import picture

FRAMES_AN_HOUR = 30 * 3600
WARM = 0.1  # of the run: caches fill, pages are met for the first time
_CONFIG = """camera: http://127.0.0.1:{camera}/cam
web: {{port: {page}}}
recorder: {{folder: {folder}/recordings, quota_gb: 0.05, segment_s: 20}}
{mqtt}
"""


class Sample(NamedTuple):
    """`frames` the camera sent, `masks` the service published: on a busy machine, not of every frame."""

    frames: int
    masks: int
    reconnects: int
    rss_mb: float
    files: int
    threads: int
    processes: int


class Camera:
    """JPEG pictures at a rate, in connections of so many frames."""

    def __init__(self, rate_hz: float, frames_each: int) -> None:
        jpegs = [cv2.imencode(".jpg", picture(index, (320, 200)))[1].tobytes() for index in range(48)]
        camera = self
        self.connections = self.sent = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                start_s = time.monotonic()
                with contextlib.suppress(OSError):
                    for number in range(frames_each):
                        jpeg = jpegs[number % len(jpegs)]
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        camera.sent += 1
                        time.sleep(max(0.0, start_s + (number + 1) / rate_hz - time.monotonic()))

            def log_message(self, *words: object) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--frames", type=int, default=200_000)
    words.add_argument("--reconnects", type=int, default=1000)
    words.add_argument("--rate", type=float, default=240.0)
    chosen = words.parse_args()
    camera = Camera(chosen.rate, max(1, chosen.frames // chosen.reconnects))
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), camera) as (service, page):
        samples = observe(service, page, camera, chosen.frames)
    tell(samples)


@contextlib.contextmanager
def served(folder: Path, camera: Camera) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service, and its page's address."""
    page, mqtt = free_port(), ""
    with contextlib.ExitStack() as stack:
        if shutil.which("mosquitto"):
            from broker import Broker

            broker = Broker(folder, ["allow_anonymous true"])
            broker.start()
            stack.callback(broker.kill)
            mqtt = f"mqtt: {{url: mqtt://127.0.0.1:{broker.port}, topic: edge/soak}}"
        config = folder / "edge.yaml"
        config.write_text(_CONFIG.format(camera=camera.port, page=page, folder=folder, mqtt=mqtt))
        with (folder / "log.txt").open("w") as log:
            command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(config)]
            service = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield service, f"http://127.0.0.1:{page}"
        finally:
            service.send_signal(signal.SIGTERM)
            code = service.wait(20)
            lines = (folder / "log.txt").read_text().splitlines()
            print(f"\nservice ended with {code}; {len(lines)} lines in its log, the last: {lines[-1:]}")


def observe(service: subprocess.Popen[bytes], page: str, camera: Camera, frames: int) -> list[Sample]:
    samples = list[Sample]()
    with contextlib.suppress(KeyboardInterrupt):
        while service.poll() is None and (not samples or samples[-1].frames < frames):
            time.sleep(1.0)
            with contextlib.suppress(OSError):  # a process that ended while it was looked at; a page not up yet
                samples.append(looked_at(service.pid, masks(page), camera))
                told = (
                    f"\r{samples[-1].frames} frames, {samples[-1].reconnects} reconnects, {samples[-1].rss_mb:.1f} MB"
                )
                print(told, end="", file=sys.stderr, flush=True)
    return samples


def masks(page: str) -> int:
    """How many were published, as the service counts them."""
    with urllib.request.urlopen(f"{page}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.search(r"^edge_(?:frames|masks)(?:_published)?_total(?:\{[^}]*\})? ([0-9.e+]+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"no count of frames among the metrics:\n{text[:2000]}")
    return int(float(found[1]))


def looked_at(pid: int, masks: int, camera: Camera) -> Sample:
    """What the process and its descendants hold now."""
    pids = family(pid)
    statuses = [Path(f"/proc/{each}/status").read_text() for each in pids]
    rss_kb = sum(int(number) for status in statuses for number in re.findall(r"^VmRSS:\s+(\d+)", status, re.MULTILINE))
    threads = sum(
        int(number) for status in statuses for number in re.findall(r"^Threads:\s+(\d+)", status, re.MULTILINE)
    )
    files = sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in pids)
    return Sample(camera.sent, masks, camera.connections - 1, rss_kb / 1024, files, threads, len(pids))


def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def tell(samples: list[Sample]) -> None:
    kept = samples[round(len(samples) * WARM) :]
    if len(kept) < 20:
        sys.exit("too short to tell anything")
    frames = np.array([sample.frames for sample in kept], float)
    rows = []
    for name, scale in (("rss_mb", "MB"), ("files", ""), ("threads", ""), ("processes", "")):
        values = np.array([getattr(sample, name) for sample in kept], float)
        slope, error = line(frames / FRAMES_AN_HOUR, values)
        ends = [f"{np.median(part):.1f}" for part in (values[: len(values) // 10 + 1], values[-len(values) // 10 :])]
        rows.append([f"{name} {scale}".strip(), *ends, f"{values.max():.1f}", f"{slope:+.3f} ± {error:.3f}"])
    last = samples[-1]
    print(f"\n{last.frames} frames, {last.masks} masks, {last.reconnects} reconnects, {len(samples)} s\n")
    print(table(["", "first tenth", "last tenth", "most", "an hour of frames at 30 Hz"], rows))
    reconnects = np.array([sample.reconnects for sample in kept], float)
    slope, error = line(reconnects, np.array([1024 * sample.rss_mb for sample in kept]))
    print(f"\na reconnection: {slope:+.2f} ± {error:.2f} KB")


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and its 95 % confidence. Neighbouring samples are alike: ten count as one, their median. A process just
    started is its parent's copy for a moment, and would count twice.
    """
    blocks = len(x) // 10
    x, y = (values[: blocks * 10].reshape(blocks, 10) for values in (x, y))
    x, y = np.median(x, axis=1), np.median(y, axis=1)
    (slope, _), covariance = (
        np.polyfit(x, y, 1, cov=True) if blocks > 4 else (np.polyfit(x, y, 1), np.full((2, 2), np.inf))
    )
    return float(slope), float(1.96 * np.sqrt(covariance[0, 0]))


if __name__ == "__main__":
    main()
