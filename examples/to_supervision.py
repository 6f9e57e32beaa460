"""Masks for supervision's annotators (pip install supervision): python examples/to_supervision.py drive.mp4"""

import sys

import edge

for result in edge.segment(sys.argv[1], "road"):
    detections = result.detections(["road", "pedestrian", "vehicle"])  # supervision.Detections
    print(result.frame.index, *detections.data["class_name"], detections.mask.shape)
