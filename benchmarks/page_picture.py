"""The image of the live page in docs/web.md: a drive, again and again, for the minute of its charts, in Chromium.

python -m benchmarks.page_picture [--source $EDGE_DATA/drives/motorway-540p.mp4] [--to docs/web.jpg] [--seconds 70]

Its figures are this machine's, so let nothing else run. What it needs: benchmarks/chromium.py.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2

from benchmarks.chromium import screenshots, served

SIZE_WH = (1600, 1000)


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=os.path.expandvars("$EDGE_DATA/drives/motorway-540p.mp4"))
    parser.add_argument("--to", type=Path, default=Path("docs/web.jpg"))
    parser.add_argument("--seconds", type=float, default=70)
    wish = parser.parse_args()
    with served(wish.source) as url:
        (image,) = screenshots(url, SIZE_WH, wish.seconds)
    cv2.imwrite(str(wish.to), image, (cv2.IMWRITE_JPEG_QUALITY, 88))
    print(f"{wish.to}: {image.shape[1]}x{image.shape[0]}")


if __name__ == "__main__":
    main()
