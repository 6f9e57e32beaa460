"""The images of a motorway in README, as `edge run` paints them: docs/motorway.webp, which moves, docs/motorway.jpg.

python -m benchmarks.readme_images [--to docs]

The clips are Udacity's (CarND, MIT): motorway-540p.mp4 and motorway-720p.mp4 under $EDGE_DATA/drives.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import edge
from edge.frame import Image, shrink
from edge.sources.open import open_source

WIDE, HIGH = 640, 360
FRAMES, EVERY, SOURCE_HZ = 100, 2, 25
WEBP_QUALITY, JPEG_QUALITY = 70, 88
STILL = 20  # of motorway-720p


def moving(drive: Path) -> list[Image]:
    """uint8 (360, 640, 3) BGR: every second frame of the first seconds, painted at the drive's size and shrunk."""
    images = []
    with tempfile.TemporaryDirectory() as folder:
        painted = Path(folder) / "painted.mp4"
        options = ["--overlay", str(painted), "--steady", "--quiet", "--max-frames", str(FRAMES)]
        subprocess.run([sys.executable, "-m", "edge.cli", "run", str(drive), *options], check=True)
        with open_source(str(painted)) as frames:
            for frame in frames:
                if frame.index % EVERY == 0:
                    small = np.empty((HIGH, WIDE, 3), np.uint8)
                    shrink(frame.image, small)
                    images.append(small)
    return images


def still(drive: Path) -> Image:
    """uint8 (H, W, 3) BGR: one frame, painted."""
    return next(result.overlay() for result in edge.segment(str(drive), "road") if result.frame.index == STILL)


def main() -> None:
    """Make both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs"))
    wish = parser.parse_args()
    drives = Path(os.environ["EDGE_DATA"]) / "drives"
    animation = cv2.Animation()
    animation.frames = moving(drives / "motorway-540p.mp4")
    animation.durations = np.full(len(animation.frames), EVERY * 1000 // SOURCE_HZ, np.int32)
    clip, photo = wish.to / "motorway.webp", wish.to / "motorway.jpg"
    cv2.imwriteanimation(str(clip), animation, (cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY))
    cv2.imwrite(str(photo), still(drives / "motorway-720p.mp4"), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    for path in (clip, photo):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
