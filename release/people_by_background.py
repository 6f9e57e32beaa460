"""Frames and masks of the people in a video of a camera that stands still, told from the room behind them.

    python release/people_by_background.py $EDGE_DATA/drives/people-432p.mp4 --to people-by-background

One of the data sets that `engines/open.yaml` learns from: the video is CC BY 4.0, and no other net has a say. The
room is what frames of the empty room agree on; a person is what differs from it in one large piece. Masks are
0 room, 1 person, 255 where it cannot be said: borders, shadows, and pieces too small for a person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.sources.open import open_source

SURE, DOUBTFUL = 30.0, 14.0  # difference in CIELAB (8 bits a channel) to the room
LEAST = 0.008  # of the pixels in the largest piece, or the room is empty
BORDER_PX = 5


def room_of(frames: list[Image]) -> NDArray[np.float32]:
    """float32 (H, W, 3): the empty room in CIELAB, the median of the frames that agree most as a whole. Not the
    median of all: people stand at one place for more than half of the video.
    """
    lab = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2LAB) for frame in frames])
    small = np.stack([cv2.resize(one, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA) for one in lab])
    apart = np.array([[(cv2.absdiff(a, b) > DOUBTFUL).mean() for b in small] for a in small])  # share of what differs
    nearest = np.argsort(apart, axis=1)[:, : len(frames) // 5]
    emptiest = np.take_along_axis(apart, nearest, axis=1).max(axis=1).argmin()
    return np.median(lab[nearest[emptiest]], axis=0).astype(np.float32)


def mask_of(frame: Image, room: NDArray[np.float32]) -> Image | None:
    """uint8 (H, W): the mask; None where there is no person for certain."""
    lab = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2LAB).astype(np.float32), (5, 5), 0)
    difference = np.sqrt((((lab - cv2.GaussianBlur(room, (5, 5), 0)) * (0.5, 1.5, 1.5)) ** 2).sum(axis=2))
    sure = cv2.morphologyEx((difference > SURE).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(sure)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[largest, cv2.CC_STAT_AREA] < LEAST * sure.size:
        return None
    person = filled((pieces == largest).astype(np.uint8))
    doubtful = cv2.dilate((difference > DOUBTFUL).astype(np.uint8), np.ones((BORDER_PX, BORDER_PX), np.uint8))
    edges = cv2.morphologyEx(person, cv2.MORPH_GRADIENT, np.ones((BORDER_PX, BORDER_PX), np.uint8))
    mask = np.where(doubtful | edges, np.uint8(255), np.uint8(0))
    mask[(person == 1) & (edges == 0)] = 1
    return mask


def filled(piece: Image) -> Image:
    """The piece without its holes."""
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(piece), outlines, -1, 1, cv2.FILLED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--every", type=int, default=6, metavar="FRAMES")
    args = parser.parse_args()
    frames = [frame.image.copy() for frame in open_source(args.video)]
    room = room_of(frames[:: max(1, len(frames) // 60)])
    for name in ("frames", "labels"):
        (args.to / name).mkdir(parents=True, exist_ok=True)
    found = 0
    for place, frame in enumerate(frames[:: args.every]):
        if (mask := mask_of(frame, room)) is None:
            continue
        cv2.imwrite(str(args.to / f"frames/{place * args.every:05d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(args.to / f"labels/{place * args.every:05d}.png"), mask)
        found += 1
    print(f"{found} frames with a person, of {len(frames[:: args.every])}: {args.to}")


if __name__ == "__main__":
    main()
