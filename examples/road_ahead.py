"""How much road each frame of a video shows, and how old its mask is: python examples/road_ahead.py drive.mp4"""

import sys

import edge

with edge.open_engine("road") as engine:
    for result in edge.segment(sys.argv[1], engine):
        road = result.mask("road")  # bool (H, W), at the video's resolution
        print(f"frame {result.frame.index}: {road.mean():.1%} road, {result.age_ms:.0f} ms old")
