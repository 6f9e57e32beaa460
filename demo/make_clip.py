"""Makes street.mp4 and its labels: eight seconds of the rendered street, and what is to be seen in every tenth frame.

    python demo/make_clip.py

They are kept, not made by `make demo`: drawing a frame takes longer than segmenting it.
"""

from __future__ import annotations

from pathlib import Path

import av

from edge.classes import CAMVID
from edge.indexed_png import encode_indexed
from edge.street.render import StreetScene

SEED, FRAMES, RATE_HZ, SIZE_WH = 7, 240, 30, (1280, 720)
LABEL_EVERY = 10
OPTIONS = {"crf": "30", "preset": "slow", "g": str(RATE_HZ), "bf": "2", "threads": "1"}
HERE = Path(__file__).parent
COLOURS = (*CAMVID.colours_rgb, (0, 0, 0))  # and of unlabelled pixels


def main() -> None:
    scene = StreetScene(SEED, SIZE_WH, RATE_HZ)
    (HERE / "labels").mkdir(exist_ok=True)
    with av.open(str(HERE / "street.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=RATE_HZ, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for index in range(FRAMES):
            drawn = scene.render(index)
            frame = av.VideoFrame.from_ndarray(drawn.image, format="bgr24").reformat(format="yuv420p")
            file.mux(stream.encode(frame))
            if index % LABEL_EVERY == 0:
                label = HERE / "labels" / f"street_{index:06}.png"
                label.write_bytes(encode_indexed(drawn.classes, COLOURS))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    main()
