"""The road in some images, each of its own size: python examples/images.py a.png b.png"""

import sys

import cv2

import edge

images = [cv2.imread(path) for path in sys.argv[1:]]  # uint8 (H, W, 3) BGR
with edge.open_engine("road", side_by_side=True) as engine:
    for path, result in zip(sys.argv[1:], engine.predict(images), strict=True):
        outlines = result.polygons("road", min_area_px=100)  # int32 (N, 2), the largest first
        print(f"{path}: {result.mask('road').mean():.1%} road in {len(outlines)} pieces")
