"""What recording costs the live loop, what a kill costs the recording, and how large it all is.

    python -m benchmarks.recording [--source drive.mp4] [--seconds 8] [--rounds 3] [--kills 10]

Live runs of one source at its own rate, in turn without an output, recording a drive, and with the flight recorder:
what they do to the age of a mask. Then recordings that are killed at a random moment: how much of what had been taken
in is missing. Last, what a frame costs in each codec, the bytes a frame by topic, and of a mask at 1024x512.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.drive.file import DriveFile
from edge.drive.schema import RESULTS
from edge.errors import SourceDamaged
from edge.maskcodec import encode_mask
from edge.pipeline import buffered, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.drive import Codec, DriveOptions, DriveSink, FrameEncoder, without_result
from edge.sinks.flight import FlightOptions, FlightRecorder
from edge.sinks.sink import Sink
from edge.sources.drive import Drive
from edge.sources.open import open_source
from edge.timing import Stages

CODECS: tuple[Codec, ...] = ("h264", "jpeg")
WAYS = ("nothing", "drive, h264", "drive, jpeg", "flight recorder")


def make_sinks(way: str, folder: Path, options: DriveOptions, stages: Stages) -> list[Sink]:
    if way == "nothing":
        return []
    if way == "flight recorder":
        return [FlightRecorder(FlightOptions(str(folder / "flight")), options, stages)]
    return [DriveSink(folder / f"{way[-4:]}.mcap", options, stages)]


def live(source: str, way: str, seconds: float, folder: Path) -> list[float]:
    """Age p50 and p99 in ms, processor ms a frame, frames dropped and results that were not written."""
    frames, stages = open_source(source), Stages()
    with closing(open_engine("road", source_wh=frames.size_wh)) as engine:
        codec = "jpeg" if way.endswith("jpeg") else "h264"
        options = DriveOptions("edge", frames.name, frames.rate_hz, engine.card, engine.precision, codec=codec)
        sinks = make_sinks(way, folder, options, stages)
        wanted = round(seconds * (frames.rate_hz or 10))
        summary = run(buffered(frames, True), Segmenter(engine), sinks, stages, max_frames=wanted)
    age, cpu_ms = summary.age, summary.cpu_s * 1e3 / summary.frames_out
    return [age.percentile_ms(50), age.percentile_ms(99), cpu_ms, summary.dropped, summary.unwritten]


def costs(source: str, seconds: float, rounds: int) -> str:
    """Each way in turn, round by round: what the machine does beside hits all alike. The median of the rounds."""
    figures: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                figures[way].append(live(source, way, seconds, Path(folder)))
    medians = {way: np.median(rows, axis=0) for way, rows in figures.items()}
    plain_ms = medians["nothing"][1]
    rows = [
        [way, *(f"{value:.1f}" for value in row[:3]), f"{row[1] / plain_ms - 1:+.1%}", f"{row[3]:.0f}", f"{row[4]:.0f}"]
        for way, row in medians.items()
    ]
    return table(["output", "age p50 ms", "p99 ms", "cpu ms/frame", "p99 more", "dropped", "unwritten"], rows)


def kills(source: str, count: int) -> str:
    """How many seconds of what `edge record` had taken in are missing after a SIGKILL, by the drive's own times."""
    lost_s = [lost for seed in range(count) for lost in killed(source, random.Random(seed).uniform(1.5, 3.5))]
    rows = [[f"{len(lost_s)}", f"{np.median(lost_s):.3f}", f"{max(lost_s):.3f}"]]
    return table(["kills", "lost s, median", "most"], rows)


def killed(source: str, after_s: float) -> Iterator[float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive.mcap"
        command = [sys.executable, "-m", "edge.cli", "record", source, str(path), "--live", "--quiet"]
        process = subprocess.Popen(command)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(after_s)
        killed_ns = time.monotonic_ns()
        process.send_signal(signal.SIGKILL)
        process.wait()
        drive = Drive(str(path))
        frames = 0
        try:
            for _ in drive:
                frames += 1
        except SourceDamaged:
            last = drive.recorded(frames - 1)
            assert last is not None
            # To the last mask that there is; what the camera's next frame would have been is counted as lost, too.
            yield (killed_ns - last.captured_ns) / 1e9


def coding(source: str) -> str:
    """What a frame costs in each codec: processor time of the thread that codes it, and bytes."""
    rows: list[list[str]] = []
    for codec in CODECS:
        camera, frames, cpu_s, size_bytes = None, 0, 0.0, 0
        for frame in open_source(source):
            camera = camera or FrameEncoder(DriveOptions("edge", source, 25.0, codec=codec), without_result(frame))
            start_s = time.thread_time()
            size_bytes += len(camera.message(frame, 1, Stages())[0])
            cpu_s += time.thread_time() - start_s
            frames += 1
        rows.append([codec, str(frames), f"{cpu_s * 1e3 / frames:.2f}", f"{size_bytes / 1e3 / frames:.1f}"])
    return table(["codec", "frames", "cpu ms/frame", "KB/frame"], rows)


def sizes(source: str) -> str:
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive.mcap"
        command = [sys.executable, "-m", "edge.cli", "record", source, str(path), "--quiet", "--max-frames", "150"]
        subprocess.run(command, check=True)
        file = DriveFile(path)
        for topic, places in file.places.items():
            lengths = [len(file.read(topic, place)) for place in places]
            rows.append([topic, str(len(lengths)), f"{np.mean(lengths):.0f}", str(max(lengths))])
        frames = len(file.places[RESULTS])
        rows.append(["the whole file", str(frames), f"{path.stat().st_size / frames:.0f}", ""])
        lengths = list(masks_at((1024, 512), Drive(str(path))))
        rows.append(["mask at 1024x512", str(len(lengths)), f"{np.mean(lengths):.0f}", str(max(lengths))])
    return table(["", "messages", "bytes, mean", "most"], rows)


def masks_at(size_wh: tuple[int, int], drive: Drive) -> Iterator[int]:
    """The recorded masks enlarged with smooth edges: as many regions, longer edges."""
    for index in range(drive.frame_count):
        if seen := drive.recorded(index):
            small = np.stack([np.float32(seen.classes == id_) for id_ in range(seen.classes.max() + 1)])
            large = np.stack([cv2.resize(layer, size_wh, interpolation=cv2.INTER_LINEAR) for layer in small])
            yield len(encode_mask(large.argmax(0).astype(np.uint8)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="a recording; default: the rendered street, 720p H.264")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    wishes = parser.parse_args()
    cv2.setNumThreads(1)
    source = wishes.source or str(street_720p())
    print(costs(source, wishes.seconds, wishes.rounds), end="\n\n")
    print(kills(source, wishes.kills), end="\n\n")
    print(coding(source), end="\n\n")
    print(sizes(source))


if __name__ == "__main__":
    main()
