"""A camera that changes the size of its images, which costs a recorder a file each time: how often it may."""

from __future__ import annotations

import time

from edge.frame import Frame

SIZE_CHANGES, SIZE_CHANGE_S = 10, 10.0  # of a live camera: so many at once, then one in so long


class SizeChanges:
    """How often a camera may change its size: each time costs a file. A few at once, then one in a while."""

    def __init__(self) -> None:
        self._left, self._earned_s = SIZE_CHANGES, time.monotonic()
        self._trouble, self._trouble_s = "", 0.0

    def may_change(self, frame: Frame) -> bool:
        """Whether a file of the frame's size may be begun now, which is counted. Of a recording all frames are kept."""
        if frame.media_ns is not None:
            return True
        earned = int((time.monotonic() - self._earned_s) / SIZE_CHANGE_S)
        self._left = min(self._left + earned, SIZE_CHANGES)
        self._earned_s += earned * SIZE_CHANGE_S
        if not self._left:
            return False
        self._left -= 1
        return True

    def left_out(self, frame: Frame, kept_wh: tuple[int, int]) -> bool:
        """A frame was not recorded for its size; whether that is news."""
        is_news = not self.trouble
        sizes = " and ".join("x".join(map(str, wh)) for wh in sorted((frame.size_wh, kept_wh)))
        self._trouble_s = time.monotonic()
        self._trouble = (
            f"the camera alternates between {sizes}: one of them is recorded, a new file each {SIZE_CHANGE_S:g} s"
        )
        return is_news

    @property
    def trouble(self) -> str:
        """What is left out, for a while after the last frame that was; else ""."""
        return self._trouble if time.monotonic() - self._trouble_s < 2 * SIZE_CHANGE_S else ""
