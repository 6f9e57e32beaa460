"""Two cameras over one in `edge serve`, on the same drive: resident memory, start, drops and ages of masks.

    python -m benchmarks.shared_engine [--cameras 2] [--seconds 20] [--rounds 3]

Each camera is a 720p recording at 30 Hz, played live and decoded in the service's process. One and several are run in
turn, round by round; what is printed are medians, and ratios of rounds. Goals: resident memory <= 1.3, no drops, p99 of
the age <= 2.0 times one camera's.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from benchmarks.drive import street_720p
from benchmarks.memory import resident_mb
from edge.report import table

WARM_S = 3.0  # after the first mask of each camera: caches are filled
_BUCKET = re.compile(r'edge_frame_age_seconds_bucket\{.*?le="([^"]+)"\} (\S+)')


class Figures(NamedTuple):
    """Of one run: `start_s` to the first mask of all cameras; ages in ms, the upper ends of the histogram's buckets."""

    resident_mb: float
    start_s: float
    dropped: float
    age_p50_ms: float
    age_p99_ms: float


def serve(cameras: int, drive: Path, seconds: float) -> Figures:
    """Run the service with so many cameras, and look at it from outside."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = {f"camera{number}": folder / f"{number}.mp4" for number in range(cameras)}
        for path in names.values():
            shutil.copy(drive, path)  # two cameras may not be the same one
        config, log = folder / "edge.yaml", folder / "log.txt"
        sources = "".join(f"  {name}: {path}\n" for name, path in names.items())
        config.write_text(f"cameras:\n{sources}loop: true\nweb: {{port: 0, ready_within_s: 60}}\n")
        with log.open("w") as file:
            begin_s = time.monotonic()
            process = subprocess.Popen([sys.executable, "-m", "edge.cli", "serve", "-c", str(config)], stderr=file)
        try:
            url = _await(lambda: re.search(r"live page: (http://\S+)", log.read_text()))[1]
            _await(lambda: _is_ready(url))
            start_s = time.monotonic() - begin_s
            time.sleep(WARM_S)
            before, samples, end_s = _metrics(url), list[float](), time.monotonic() + seconds
            while time.monotonic() < end_s:
                samples.append(resident_mb(process.pid))
                time.sleep(0.1)
            return _figures(statistics.median(samples), start_s, before, _metrics(url))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def _await(found: object, within_s: float = 60.0) -> re.Match[str]:
    end_s = time.monotonic() + within_s
    while not (value := found()):  # type: ignore[operator]
        if time.monotonic() > end_s:
            raise SystemExit("the service did not start in time")
        time.sleep(0.02)
    return value


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}metrics", timeout=5) as answer:
        return answer.read().decode()


def _total(name: str, text: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


def _figures(resident: float, start_s: float, before: str, after: str) -> Figures:
    frames = _total("edge_frames_total", after) - _total("edge_frames_total", before)
    lost = _total("edge_frames_dropped_total", after) - _total("edge_frames_dropped_total", before)
    counts: dict[float, float] = {}
    for sign, text in ((1, after), (-1, before)):
        for end, count in _BUCKET.findall(text):
            counts[float(end)] = counts.get(float(end), 0.0) + sign * float(count)
    total = max(counts.values())
    p50, p99 = (min(end for end, count in counts.items() if count >= share * total) * 1e3 for share in (0.5, 0.99))
    return Figures(resident, start_s, lost / max(1.0, frames + lost), p50, p99)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    drive = street_720p(300)
    runs: dict[int, list[Figures]] = {1: [], wish.cameras: []}
    for number in range(wish.rounds):
        for cameras in list(runs)[:: -1 if number % 2 else 1]:
            runs[cameras].append(serve(cameras, drive, wish.seconds))
    rows = []
    for place, name in enumerate(Figures._fields):
        values = {cameras: [one[place] for one in found] for cameras, found in runs.items()}
        ratios = [several / one if one else float("nan") for one, several in zip(*values.values(), strict=True)]
        medians = [statistics.median(found) for found in values.values()]
        rows.append((name, *(f"{value:.3f}" for value in medians), f"{statistics.median(ratios):.2f}"))
    print(table(("", "one camera", f"{wish.cameras} cameras", "ratio"), rows))


if __name__ == "__main__":
    main()
