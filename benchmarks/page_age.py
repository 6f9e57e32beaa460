"""How old the frame on the live page's screen is, and in how many bytes it came: as JPEG and as H.264, in turn.

python -m benchmarks.page_age [--drive FOLDER_OR_VIDEO] [--seconds 10] [--rounds 6] [--rate 25]

A drive's frames, decoded beforehand, come at a camera's rate with their capture time drawn in as a barcode
(`edge.barcode`), go through the road engine and the page's server to a Chromium on this machine. At each screen update
of the browser the barcode is read from the page's canvas: its age is that of what a person sees, whatever the page
itself says. Both ways take turns in every round; on a busy machine only their ratio says something. Also printed: bytes
over the WebSocket, processor time of this process (inference, page) and of the browser. Needs: apt-get install chromium
chromium-driver; pip install selenium.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver

from edge.backends import open_engine
from edge.barcode import barcode_rect_xywh, draw_barcode
from edge.engine import Engine
from edge.frame import Frame, Yuv420
from edge.pipeline import run
from edge.segmenter import Segmenter
from edge.sources.flow import Latest
from edge.sources.open import open_source
from edge.timing import Durations, Stages
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.sink import WebSink
from edge.web.state import Live

WAYS = ("JPEG", "H.264")
WARM_S = 2.0
# Before the page's own scripts: what the WebSocket brings is counted; without WebCodecs the page asks for JPEG.
COUNT_BYTES = """
window.came = { bytes: 0, frames: 0 };
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      came.bytes += data.byteLength ?? data.length;
      came.frames += typeof data !== "string";
    });
  }
};
"""
WITHOUT_WEBCODECS = "delete window.VideoDecoder;"
# At each screen update: when it was, and the 16 x 8 bits of the barcode, from the middle of each of its cells.
READ_BARCODES = """
const [x, y, width, height] = arguments, pen = document.getElementById("view").getContext("2d");
window.seen = [];
const read = () => {
  const { data } = pen.getImageData(x, y, width, height);
  let bits = "";
  for (let row = 2; row < 10; row++) for (let column = 2; column < 18; column++) {
    const at = Math.floor((row + 0.5) * height / 12) * width + Math.floor((column + 0.5) * width / 20);
    bits += data[4 * at + 1] > 125 ? "1" : "0";
  }
  if (seen.length === 0 || seen.at(-1)[1] !== bits) seen.push([performance.now(), bits]);
  requestAnimationFrame(read);
};
came.bytes = came.frames = 0;
requestAnimationFrame(read);
"""


class Camera:
    """The drive's frames again and again at that rate, each with its capture time drawn in; until `ends` is set."""

    live = True
    frame_count = None

    def __init__(self, drive: str, rate_hz: float, most: int = 150) -> None:
        self.name, self.rate_hz, self.decode = drive, rate_hz, Durations()
        with open_source(drive) as source:
            self._planes = [frame.yuv for frame in itertools.islice(source, most) if frame.yuv is not None]
        if not self._planes:
            raise SystemExit(f"{drive}: expected a video that decodes to planes")
        height, width = self._planes[0].y.shape
        self.size_wh = width, height
        self.ends = threading.Event()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exception: object) -> None:
        self.ends.set()

    def close(self) -> None:
        """See `edge.sources.source.Source`."""
        self.ends.set()

    def stop(self) -> None:
        """See `edge.sources.source.Stoppable`."""
        self.ends.set()

    def __iter__(self) -> Iterator[Frame]:
        due_s = time.monotonic()
        back_and_forth = itertools.cycle([*self._planes, *self._planes[-2:0:-1]])  # no jump at the end
        for index, planes in enumerate(back_and_forth):
            if self.ends.wait(max(0.0, due_s - time.monotonic())):
                return
            due_s = max(due_s + 1 / self.rate_hz, time.monotonic())
            captured_ns = time.monotonic_ns()
            yield Frame(index=index, captured_ns=captured_ns, source=self.name, yuv=_marked(planes, index, captured_ns))


def _marked(planes: Yuv420, index: int, captured_ns: int) -> Yuv420:
    y, u, v = planes.y.copy(), planes.u.copy(), planes.v.copy()
    left, top, width, height = barcode_rect_xywh((y.shape[1], y.shape[0]))
    draw_barcode(y[..., None], index, captured_ns)
    for chroma in (u, v):
        chroma[top // 2 : (top + height) // 2 + 1, left // 2 : (left + width) // 2 + 1] = 128
    return Yuv420(y, u, v, planes.matrix, planes.full_range)


def captured_ns(bits: str) -> int | None:
    """The capture time in a barcode's bits; None where they are damaged or of no barcode."""
    payload = np.packbits(np.array([bit == "1" for bit in bits])).tobytes()
    index_and_time, crc = payload[:12], payload[12:]
    return struct.unpack(">IQ", index_and_time)[1] if zlib.crc32(index_and_time).to_bytes(4, "big") == crc else None


def clock_offset_ms(driver: Any) -> float:
    """Our monotonic clock less the page's `performance.now()`, by the quickest of many questions."""

    def ask() -> tuple[float, float]:
        before = time.monotonic_ns() / 1e6
        now = driver.execute_script("return performance.now()")
        after = time.monotonic_ns() / 1e6
        return after - before, (before + after) / 2 - now

    return min(ask() for _ in range(50))[1]


def cpu_s(pids: list[int]) -> float:
    """Processor time of these processes and all that they started."""
    total, ticks_hz = 0.0, os.sysconf("SC_CLK_TCK")
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents.setdefault(int(words[1]), []).append(pid)
        used[pid] = (int(words[11]) + int(words[12])) / ticks_hz
    while pids:
        total += sum(used.get(pid, 0.0) for pid in pids)
        pids = [child for pid in pids for child in parents.get(pid, [])]
    return total


def browse(url: str, way: str, size_wh: tuple[int, int], seconds: float) -> dict[str, float]:
    """One look at the page: ages in ms, bytes per second, frames per second on screen, and the browser's time."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1600,1000"):
        options.add_argument(word)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        script = COUNT_BYTES + (WITHOUT_WEBCODECS if way == "JPEG" else "")
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        driver.get(url)
        time.sleep(WARM_S)
        offset_ms = clock_offset_ms(driver)
        view_wh = driver.execute_script(
            "const view = document.getElementById('view'); return [view.width, view.height]"
        )
        begin_s, begin_cpu_s = time.monotonic(), cpu_s([service.process.pid])
        driver.execute_script(READ_BARCODES, *barcode_rect_xywh((view_wh[0], view_wh[1])))
        time.sleep(seconds)
        said = "document.getElementById('transport').textContent"
        seen, came, said = driver.execute_script(f"return [seen, came, {said}]")
        lasted_s, used_s = time.monotonic() - begin_s, cpu_s([service.process.pid]) - begin_cpu_s
    if way not in said:
        raise SystemExit(f"expected {way}; the page says: {said}")
    times = [(at, captured_ns(bits)) for at, bits in seen]
    ages = [at + offset_ms - then / 1e6 for at, then in times if then is not None]
    if len(ages) < len(times) / 2:
        raise SystemExit(f"{way}: {len(times) - len(ages)} of {len(times)} barcodes cannot be read")
    return {
        "age p50": float(np.percentile(ages, 50)),
        "age p99": float(np.percentile(ages, 99)),
        "kB/s": came["bytes"] / lasted_s / 1e3,
        "frames/s": len(ages) / lasted_s,
        "kB/frame": came["bytes"] / max(1, came["frames"]) / 1e3,
        "browser ms/frame": used_s * 1e3 / max(1, len(ages)),
    }


def measure(engine: Engine, drive: str, way: str, seconds: float, rate_hz: float) -> dict[str, float]:
    """One way, over its own server."""
    camera = Camera(drive, rate_hz)
    source, segmenter, stages = Latest(camera), Segmenter(engine), Stages()
    live = Live(engine, drive, lambda: {**segmenter.stages.by_name, **stages.by_name})
    with WebServer(live, WebOptions(port=0)) as server:
        loop = threading.Thread(target=run, args=(source, segmenter, [WebSink(live)], stages))
        loop.start()
        begin_cpu_s = time.process_time()
        try:
            row = browse(server.url, way, camera.size_wh, seconds)
        finally:
            camera.ends.set()
            loop.join()
        frames = live.snapshot().frames
    return {**row, "our ms/frame": (time.process_time() - begin_cpu_s) * 1e3 / max(1, frames)}


def main() -> None:
    """Print the table; the ways take turns, so that what else the machine does meets both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drive", default="out/street-720p-300.mp4")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=25)
    parser.add_argument("--rounds", type=int, default=6)
    wish = parser.parse_args()
    os.environ["SE_AVOID_STATS"] = "true"  # Selenium tells its makers what it starts, where it may
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with open_engine("road") as engine:
        for number in range(wish.rounds):
            for way in WAYS if number % 2 else WAYS[::-1]:
                rows[way].append(measure(engine, wish.drive, way, wish.seconds, wish.rate))
    print(f"{wish.drive}: {wish.rounds} rounds of {wish.seconds:g} s at {wish.rate:g} Hz; medians of the rounds")
    print(f"{'':<18}{WAYS[0]:>9}{WAYS[1]:>9}   H.264 over JPEG in the same round: median (least to greatest)")
    for name in rows["JPEG"][0]:
        pairs = [(jpeg[name], h264[name]) for jpeg, h264 in zip(rows["JPEG"], rows["H.264"], strict=True)]
        ratios = sorted(h264 / jpeg for jpeg, h264 in pairs)
        jpeg, h264 = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{name:<18}{jpeg:>9.1f}{h264:>9.1f}   {spread}")


if __name__ == "__main__":
    main()
