"""How near an overlay video comes to the pictures that were painted, and in how many bits and milliseconds.

    python -m benchmarks.overlay_quality [VIDEO] [--quantisers 28 26 24]

The same pictures go to x264 as edge sets it and, as in the plain loop of benchmarks.overlay, to cv2.VideoWriter's
MPEG-4. What they are measured against is the video that x264 writes without loss. PSNR is over the whole video.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.frame import Image
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.video import ENCODER, VideoEncoder
from edge.sources.open import open_source

RATE_HZ = 30
MPEG4 = "mp4v.mp4"


def x264(results: Sequence[Prediction], quantiser: str, path: Path) -> float:
    """CPU ms a frame, painting included."""
    video = VideoEncoder(path, "mp4", Fraction(RATE_HZ), results[0], 1, encoder={"qp": quantiser})
    start_s = time.process_time()
    for result in results:
        video.draw(result, 0)
        video.mux(video.encode(result.frame))
    video.close(flush=True)
    return (time.process_time() - start_s) * 1e3 / len(results)


def mpeg4(lossless: Path, path: Path, size_wh: tuple[int, int]) -> float:
    """CPU ms a frame, of the encoder alone."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, size_wh)
    spent_s, count = 0.0, 0
    for picture in pictures(lossless):
        start_s = time.process_time()
        writer.write(picture)
        spent_s, count = spent_s + time.process_time() - start_s, count + 1
    writer.release()
    return spent_s * 1e3 / count


def pictures(path: Path) -> Iterator[Image]:
    """A video's pictures in BGR, each read by those who wrote it: they agree on what its colours mean."""
    if path.name == MPEG4:
        capture = cv2.VideoCapture(str(path))
        while (found := capture.read())[0]:
            yield np.asarray(found[1], np.uint8)
        return
    with open_source(str(path)) as source:
        yield from (frame.image for frame in source)


def psnr_db(path: Path, lossless: Path) -> tuple[float, float]:
    """In BGR and in grey."""
    errors, count = np.zeros(2), 0
    for found, wanted in zip(pictures(path), pictures(lossless), strict=True):
        greys = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in (found, wanted)]
        errors += _squared(found, wanted), _squared(greys[0], greys[1])
        count += 1
    bgr, grey = 10 * np.log10(255**2 * count / errors)
    return float(bgr), float(grey)


def _squared(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    return float(np.square(found.astype(np.int32) - wanted).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    parser.add_argument("--quantisers", nargs="+", default=[ENCODER["qp"], "26", "24"])
    wish = parser.parse_args()
    with (
        open_source(wish.video or str(street_720p())) as source,
        open_engine("road", source_wh=source.size_wh) as engine,
    ):
        results = list(Segmenter(engine).segment_all(source))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        lossless, last = Path(folder) / "lossless.mp4", Path(folder) / MPEG4
        x264(results, "0", lossless)
        files = {f"x264, quantiser {q}": Path(folder) / f"{q}.mp4" for q in wish.quantisers}
        spent_ms = [x264(results, q, path) for q, path in zip(wish.quantisers, files.values(), strict=True)]
        files["cv2.VideoWriter, mp4v"] = last
        spent_ms.append(mpeg4(lossless, last, results[0].frame.size_wh))
        for (name, path), ms in zip(files.items(), spent_ms, strict=True):
            bgr, grey = psnr_db(path, lossless)
            mbit = path.stat().st_size * 8 * RATE_HZ / len(results) / 1e6
            rows.append((name, f"{bgr:.1f}", f"{grey:.1f}", f"{mbit:.1f}", f"{ms:.2f}"))
    print(table(("", "PSNR dB, BGR", "grey", "Mbit/s", "CPU ms a frame"), rows))
    print("\nx264's time holds the painting, MPEG-4's does not.")


if __name__ == "__main__":
    main()
