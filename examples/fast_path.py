"""An engine of your own for a video, as fast as by name: python examples/fast_path.py drive.mp4"""

import sys

import edge

source = edge.open_source(sys.argv[1])
# What edge.segment(path, "road") opens: the input size that suits the frames, and frames side by side.
with edge.open_engine("road", source_wh=source.size_wh, side_by_side=True) as engine:
    for result in edge.segment(source, engine):  # which closes the source
        print(f"frame {result.frame.index}: {result.mask('road').mean():.1%} road")
