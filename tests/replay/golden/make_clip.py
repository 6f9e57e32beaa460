"""Makes street.mp4, the clip that the golden masks are of: the rendered street, H.264, with B frames.

    python tests/replay/golden/make_clip.py

It is kept, not made by the test: H.264 decodes to the same bits everywhere (ITU-T H.264, 1), but encoders differ.
"""

from __future__ import annotations

from pathlib import Path

import av

from edge.sources.seek import RecordedStreet

SCENE = "scene:street?seed=11&frames=24&size=640x360&fps=10"
OPTIONS = {"crf": "32", "preset": "veryslow", "g": "10", "bf": "3"}
CLIP = Path(__file__).with_name("street.mp4")


def main() -> None:
    with RecordedStreet(SCENE) as street, av.open(str(CLIP), "w") as file:
        stream = file.add_stream("libx264", rate=10, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *street.size_wh, "yuv420p"
        for frame in street:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="bgr24").reformat(format="yuv420p")))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    main()
