"""Drives as sources: whole, and some of their frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

from edge.closing import Closing
from edge.errors import SourceError
from edge.frame import Frame
from edge.secrets import redacted
from edge.sources.open import is_camera, open_source
from edge.sources.seek import Playable, open_recording
from edge.sources.source import Source
from edge.timing import Durations


class Span(Closing):
    """Some frames of a recording as a source, with the one before them: how masks changed since is known, too."""

    live = False

    def __init__(self, inner: Playable, start: int, stop: int) -> None:
        self.inner, self._numbers = inner, range(max(0, start - 1), min(stop, inner.frame_count))
        self.name, self.size_wh, self.rate_hz = inner.name, inner.size_wh, inner.rate_hz
        self.pixel_aspect = getattr(inner, "pixel_aspect", 1.0)
        self.frame_count: int | None = len(self._numbers)
        self.decode = Durations()

    def __iter__(self) -> Iterator[Frame]:
        for number in self._numbers:
            with self.decode.span():
                frame = self.inner.at(number)
            frame.captured_ns = time.monotonic_ns()
            yield frame

    def close(self) -> None:
        """Close the recording."""
        self.inner.close()


def open_drive(name: str) -> Source:
    """The drive from its first frame to its last; a rendered street on its recorded clock, alike every time.

    Raises:
        SourceError: it cannot be read, or is a camera.
    """
    if is_camera(name):
        raise SourceError(f"{redacted(name)}: is a camera, which has no end. Record it: edge record CAMERA drive.mcap")
    return cast(Source, open_recording(name)) if name.startswith("scene:") else open_source(name)
