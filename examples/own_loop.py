"""edge behind your own capture loop: python examples/own_loop.py drive.mp4 (or 0 for a camera)"""

import sys
from collections.abc import Iterator

import cv2
import numpy as np

import edge


def frames(name: str) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
    while (got := capture.read())[0]:
        yield got[1]  # uint8 (H, W, 3) BGR, an array of its own
    capture.release()


for result in edge.segment(frames(sys.argv[1]), "road", live=True):  # each mask as young as can be
    print(f"frame {result.frame.index}: {result.mask('road').mean():.1%} road")
