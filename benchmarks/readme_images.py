"""The images in README: docs/motorway.webp, which moves, docs/motorway.jpg and docs/demo.jpg, a rendered street.

python -m benchmarks.readme_images [--to docs]

The motorway is Udacity's (CarND, MIT): motorway-540p.mp4 and motorway-720p.mp4 under $EDGE_DATA/drives.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

import edge
from edge.frame import Image, shrink

SMALL_WH = 640, 360
FIRST, LAST, EVERY, SOURCE_HZ = 0, 219, 2, 25
WEBP_QUALITY, JPEG_QUALITY = 70, 88
STREET = Path("demo/street.mp4")
STREET_FRAME, MOTORWAY_FRAME = 200, 20


def painted(drive: Path | str, first: int, last: int, every: int = 1, style: str = "tint") -> Iterator[Image]:
    """uint8 (H, W, 3) BGR: every so many frames of a drive, as `edge run --steady --overlay` paints them, but for the
    line of figures: those would be this machine's.
    """
    for result in islice(edge.segment(str(drive), "road", outputs=["steady"]), last + 1):
        if result.frame.index >= first and (result.frame.index - first) % every == 0:
            yield result.overlay(style=style)


def small(image: Image) -> Image:
    """uint8 (360, 640, 3): the image, shrunk."""
    target = np.empty((SMALL_WH[1], SMALL_WH[0], 3), np.uint8)
    shrink(image, target)
    return target


def write_webp(path: Path, images: Iterable[Image], duration_ms: int, quality: int = WEBP_QUALITY) -> None:
    """A moving WebP of images of one size, each shown for so long."""
    animation = cv2.Animation()
    animation.frames = list(images)
    animation.durations = np.full(len(animation.frames), duration_ms, np.int32)
    cv2.imwriteanimation(str(path), animation, (cv2.IMWRITE_WEBP_QUALITY, quality))


def main() -> None:
    """Make all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs"))
    wish = parser.parse_args()
    drives = Path(os.environ["EDGE_DATA"]) / "drives"
    clip, photo, street = (wish.to / name for name in ("motorway.webp", "motorway.jpg", "demo.jpg"))
    frames = (small(image) for image in painted(drives / "motorway-540p.mp4", FIRST, LAST, EVERY))
    write_webp(clip, frames, EVERY * 1000 // SOURCE_HZ)
    for path, drive, at in ((photo, drives / "motorway-720p.mp4", MOTORWAY_FRAME), (street, STREET, STREET_FRAME)):
        (image,) = painted(drive, at, at)
        cv2.imwrite(str(path), image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    for path in (clip, photo, street):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
