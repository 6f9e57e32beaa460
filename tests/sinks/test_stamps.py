"""The times of what is written of frames."""

from __future__ import annotations

import numpy as np

from edge.frame import Frame
from edge.sinks.stamps import DriveClock


def stamps(*media_ms: int) -> list[int]:
    """In ms since the first."""
    image = np.zeros((2, 2, 3), np.uint8)
    frames = [
        Frame(index=i, captured_ns=0, media_ns=ms * 10**6, source="x", bgr=image) for i, ms in enumerate(media_ms)
    ]
    clock = DriveClock(frames[0])
    found = [clock.stamp_ns(frame) for frame in frames]
    return [(ns - found[0]) // 10**6 for ns in found]


def test_times_go_on_where_a_recording_begins_anew() -> None:
    assert stamps(0, 100, 300, 400, 0, 100, 300, 400, 0, 100) == [0, 100, 300, 400, 500, 600, 800, 900, 1000, 1100]


def test_frames_out_of_their_order_make_no_drift() -> None:
    assert stamps(0, 200, 100, 300, 400) == [0, 200, 200, 300, 400]
