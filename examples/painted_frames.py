"""Every tenth frame of a video with its masks painted in, as PNG: python examples/painted_frames.py drive.mp4 FOLDER"""

import sys
from pathlib import Path

import cv2

import edge

folder = Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
for result in edge.segment(sys.argv[1], "road"):
    if result.frame.index % 10 == 0:
        cv2.imwrite(str(folder / f"{result.frame.index:06}.png"), result.overlay())  # uint8 (H, W, 3) BGR
