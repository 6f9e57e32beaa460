"""What a SIGKILL of the recording service costs: seconds of video, and whether every segment opens afterwards.

    python -m benchmarks.recording_kills [--kills 50]

The real `edge serve` records a camera (JPEG over HTTP, 640x360 at 30 Hz) whose pictures carry the time of their drawing
in a barcode. It is killed at no particular moment and started again. Lost is the time from the drawing of the last
frame that can be read to the kill: the way through camera, decoder and net is in it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.barcode import read_barcode
from edge.errors import SourceDamaged, SourceError
from edge.report import table
from edge.sources.recording import Recording

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "rtsp"))

from cameras import TestCamera

CONFIG = "camera: {url}\nrecorder: {{folder: {folder}, segment_s: 5, overlay: false}}\n"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--kills", type=int, default=50)
    kills = words.parse_args().kills
    lost_s, checked, unreadable = list[float](), set[Path](), 0
    with tempfile.TemporaryDirectory() as scratch, TestCamera("http", "640x360x30") as camera:
        folder, chance = Path(scratch, "recordings"), random.Random(1)
        config = Path(scratch, "edge.yaml")
        config.write_text(CONFIG.format(url=camera.url, folder=folder))
        for number in range(kills):
            killed_ns = record_and_kill(config, folder, chance)
            newest = max(folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
            drawn_ns = last_drawn_ns(newest)
            lost_s += [(killed_ns - drawn_ns) / 1e9] if drawn_ns else []
            unreadable += sum(not opens(path) for path in set(folder.glob("*.mp4")) - checked)
            checked |= set(folder.glob("*.mp4"))
            print(f"\r{number + 1} of {kills}", end="", file=sys.stderr, flush=True)
    p50, p95 = np.percentile(lost_s, [50, 95])
    print(f"\n{kills} kills, {len(checked)} segments, of which {unreadable} do not open\n")
    print(
        table(
            ["lost", "n", "p50 s", "p95 s", "max s"],
            [["", str(len(lost_s)), *map("{:.3f}".format, (p50, p95, max(lost_s)))]],
        )
    )


def record_and_kill(config: Path, folder: Path, chance: random.Random) -> int:
    """When it was killed, on the monotonic clock: some time after its first segment began to grow."""
    before = set(folder.glob("*.mp4"))
    command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as service:
        while not set(folder.glob("*.mp4")) - before:
            assert service.poll() is None, "the service ended by itself"
            time.sleep(0.02)
        time.sleep(chance.uniform(0.5, 7.0))
        killed_ns = time.monotonic_ns()
        service.kill()
    return killed_ns


def last_drawn_ns(path: Path) -> int | None:
    """When the last frame that can be read was drawn."""
    drawn_ns = None
    try:
        with Recording(str(path)) as recording:
            for frame in recording:
                code = read_barcode(frame.image)
                drawn_ns = code[1] if code else drawn_ns
    except SourceDamaged:  # a half frame at its end
        pass
    return drawn_ns


def opens(path: Path) -> bool:
    try:
        Recording(str(path)).__exit__(None, None, None)
    except SourceError:
        return False
    return True


if __name__ == "__main__":
    main()
