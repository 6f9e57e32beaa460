"""The images of the tutorials and how-tos, docs/images/: made by running what the pages say, each by its file's name.

    python -m benchmarks.docs_images [first-drive.webp sheet.webp …] [--to docs/images]

Without names all are made. Frames are rendered (seeded) or the motorway of Udacity's CarND (MIT) under
$EDGE_DATA/drives: no other data may be passed on. Pages are shot light and dark by Chromium (benchmarks/chromium.py).
The live page shows the age of this machine's masks, so let nothing else run for page-*.webp. loss.png takes PyTorch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.chromium import screenshots, served
from benchmarks.readme_images import MOTORWAY_FRAME, painted, write_webp
from edge.frame import Image

STREET = "scene:street?seed=7&frames={frames}&size=640x360&fps=30"
EVERY, SOURCE_HZ = 3, 30  # of the clip: ten images a second
CLIP_WH = 560, 315
CLIP_QUALITY, PHOTO_QUALITY, PAGE_QUALITY = 50, 80, 82
LIVE_WH, LIVE_S = (1400, 900), 70  # the charts of the page are of a minute
REPORT_WH = (1160, 900)


def edge(folder: Path, *words: str) -> None:
    """Run `edge`, as the page has it, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-m", "edge.cli", *words], cwd=folder, env=environment, check=True)


def resized(image: Image, size_wh: tuple[int, int]) -> Image:
    """uint8 (H, W, 3) BGR, smaller."""
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def write(path: Path, image: Image, quality: int) -> None:
    """An image as WebP."""
    cv2.imwrite(str(path), image, (cv2.IMWRITE_WEBP_QUALITY, quality))


def first_drive(_: Path, to: Path) -> None:
    """The painted street of the first tutorial, moving."""
    frames = (resized(image, CLIP_WH) for image in painted(STREET.format(frames=90), 0, 89, EVERY))
    write_webp(to / "first-drive.webp", frames, EVERY * 1000 // SOURCE_HZ, CLIP_QUALITY)


def motorway(_: Path, to: Path) -> None:
    """A frame of a real camera, and beside it the same with its masks."""
    drive = Path(os.environ["EDGE_DATA"]) / "drives/motorway-720p.mp4"
    (image,) = painted(drive, MOTORWAY_FRAME, MOTORWAY_FRAME, style="side-by-side")
    write(to / "side-by-side.webp", resized(image, (1280, 360)), PHOTO_QUALITY)


def sheet(room: Path, to: Path) -> None:
    """The frames that the calibration set of the how-to holds."""
    edge(room, "record", "scene:street?seed=5&frames=60&size=320x180&fps=2", "drive.mcap", "--no-masks", "--quiet")
    edge(room, "calibrate", "select", "city", "drive.mcap", "--count", "12", "--sheet", "sheet.png")
    write(to / "sheet.webp", np.asarray(cv2.imread(str(room / "sheet.png")), np.uint8), PHOTO_QUALITY)


def loss(room: Path, to: Path) -> None:
    """The curves of a training: the tutorial's, with enough steps to see something."""
    street = "scene:street?seed=3&frames=90&size=320x180&fps=3"
    edge(room, "record", street, "drive.mcap", "--no-masks", "--quiet")
    edge(room, "evaluate", "drive.mcap", "--engine", "small", "--pick", "16", "--to", "mine")
    edge(room, "train", "--net", "edge_small", "--data", "mine", "--steps", "30", "--size", "160x96", "--run", "run")
    (curves,) = room.glob("run/**/curves.png")
    (to / "loss.png").write_bytes(curves.read_bytes())


def report(room: Path, to: Path) -> None:
    """The report of two engines side by side, light and dark."""
    street = "scene:street?seed=7&frames=30&size=320x180&fps=10"
    edge(room, "evaluate", street, "--engine", "road", "--against", "small", "--html", "compare.html")
    _themed((room / "compare.html").as_uri(), to / "compare", REPORT_WH, 1)


def page(_: Path, to: Path) -> None:
    """The live page, light and dark."""
    with served(str(Path(os.environ["EDGE_DATA"]) / "drives/motorway-540p.mp4")) as url:
        _themed(url, to / "page", LIVE_WH, LIVE_S)


def _themed(url: str, stem: Path, size_wh: tuple[int, int], seconds: float) -> None:
    schemes = "light", "dark"
    for scheme, image in zip(schemes, screenshots(url, size_wh, seconds, schemes), strict=True):
        write(stem.with_name(f"{stem.name}-{scheme}.webp"), image, PAGE_QUALITY)


# What is made by which function, from the command line and by the test of the pages.
IMAGES: dict[str, Callable[[Path, Path], None]] = {
    "first-drive.webp": first_drive,
    "side-by-side.webp": motorway,
    "sheet.webp": sheet,
    "loss.png": loss,
    "compare-light.webp": report,
    "compare-dark.webp": report,
    "page-light.webp": page,
    "page-dark.webp": page,
}


def main() -> None:
    """Make those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    wish = parser.parse_args()
    if unknown := [name for name in wish.names if name not in IMAGES]:
        raise SystemExit(f"docs_images: expected names of {', '.join(IMAGES)}; got {unknown[0]}")
    wish.to.mkdir(parents=True, exist_ok=True)
    for make in dict.fromkeys(IMAGES[name] for name in wish.names or IMAGES):
        with tempfile.TemporaryDirectory() as room:
            make(Path(room), wish.to)
    for path in sorted(wish.to.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
