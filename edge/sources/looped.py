"""A recording that begins anew at its end."""

from __future__ import annotations

from collections.abc import Iterator

from edge.closing import Closing
from edge.frame import Frame
from edge.sources.open import open_source
from edge.sources.source import Source
from edge.timing import Durations


class Looped(Closing):
    """Plays a recording again and again. Indices go on; times begin anew with it, so that whatever remembers frames
    sees the step back.
    """

    def __init__(self, source: Source, typed: str) -> None:
        """`source` is opened by its name `typed`, by which it is opened again.

        Args:
            source: a recording; it is closed with this one.
            typed: as the user named it, secrets included.
        """
        self._source, self._typed = source, typed
        self.name, self.size_wh, self.rate_hz = source.name, source.size_wh, source.rate_hz
        self.pixel_aspect: float = getattr(source, "pixel_aspect", 1.0)
        self.frame_count: int | None = None
        self.live = source.live
        self.decode: Durations = source.decode

    def __enter__(self) -> Looped:
        self._source.__enter__()
        return self

    def close(self) -> None:
        """Close the recording."""
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        first = 0
        while True:
            index = first - 1
            for frame in self._source:
                index = frame.index = first + frame.index
                yield frame
            if index < first:  # not a single frame: it would be opened without end
                return
            first = index + 1
            self._source.close()
            self._source = open_source(self._typed)
            self.decode.merge(self._source.decode)  # the first frame may be decoded already
            self._source.decode = self.decode  # one count for all rounds
            self._source.__enter__()
