"""A video's masks as COCO annotations with compressed run lengths: python examples/coco.py drive.mp4 coco.json"""

import json
import sys
from pathlib import Path

import edge

names = ("road", "pedestrian")
annotations = [
    {"image_id": result.frame.index, "category_id": names.index(name), "segmentation": result.coco_rle(name)}
    for result in edge.segment(sys.argv[1], "road")
    for name in names
]
Path(sys.argv[2]).write_text(json.dumps({"annotations": annotations}), encoding="utf-8")
