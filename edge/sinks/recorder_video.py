"""The recorder's segments as video: fragmented MP4 with a fragment for each frame."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from edge.appearance import Appearance
from edge.prediction import Prediction
from edge.sinks.shelf import SegmentFile
from edge.sinks.video import VideoEncoder, nominal_rate
from edge.timing import Stages

_FRAGMENTED = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
_UNDELAYED = {"tune": "zerolatency"}  # else x264 keeps a frame back, which a kill would cost


class Videos:
    """Fragmented MP4, with the tints or plain."""

    suffix = ".mp4"

    def __init__(self, rate_hz: float | None, look: Appearance | None) -> None:
        self._rate, self._look = nominal_rate(rate_hz), look

    def begin(self, path: Path, number: int, first: Prediction) -> _Video:
        return _Video(path, number, self._rate, self._look, first)

    def repair(self, path: Path) -> None:
        """Cut off the half frame at whose sight players complain."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, _fragments(fd)[1])
        finally:
            os.close(fd)


class _Video:
    """One file."""

    def __init__(self, path: Path, number: int, rate: Fraction, look: Appearance | None, first: Prediction) -> None:
        self.path, self.number, self._overlay = path, number, look is not None
        self.size_wh = first.frame.size_wh
        self._file = SegmentFile(path)
        self._output = _Output(self._file.fd)
        self._whole_bytes: int | None = None
        try:
            self._encoder = VideoEncoder(
                self._output, "mp4", rate, first, 1, container=_FRAGMENTED, encoder=_UNDELAYED, look=look
            )
        except BaseException:  # Ctrl-C too: no other owner could close the file
            self._leave()
            raise

    @property
    def plays(self) -> bool:
        return self._file.is_named

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def write(self, result: Prediction, dropped: int, stages: Stages) -> None:
        """Add a frame, painted where the recorder was asked for an overlay; its time counts in `stages`."""
        with stages["overlay"].span():
            if self._overlay:
                self._encoder.draw(result, dropped)
            else:
                self._encoder.copy(result.frame)
        with stages["encode"].span():
            packets = self._encoder.encode(result.frame)
        with stages["write"].span(), self._kept_whole():
            self._encoder.mux(packets)
        self._name_if_it_plays()

    @contextmanager
    def _kept_whole(self) -> Iterator[None]:
        """Where a write fails, the file ends with its last whole frame, whatever is written behind that."""
        try:
            yield
        except BaseException:  # whatever cut a fragment off, what is whole stays known
            if self._whole_bytes is None:
                self._whole_bytes = _fragments(self._file.fd)[1]
            raise

    def _name_if_it_plays(self) -> None:
        if not self.plays and _fragments(self._file.fd)[0]:
            self._file.give_name()

    def sync(self) -> None:
        os.fdatasync(self._file.fd)

    def close(self) -> None:
        try:
            with self._kept_whole():
                self._encoder.close(flush=self._whole_bytes is None)
            self._name_if_it_plays()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._output.is_open = False
        self._file.leave(self._whole_bytes)


class _Output:
    """A file as FFmpeg's muxer writes it: each write as a whole or an error.

    Not FFmpeg's own, which keeps a file open, and its room on the disk taken, where not even the head could be written.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self.is_open = fd, True

    def write(self, data: bytes) -> int:
        if not self.is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]
        return len(data)


def _fragments(fd: int) -> tuple[int, int]:
    """How many whole fragments an MP4 file has, and up to which byte it is whole (boxes: ISO/IEC 14496-12, 4.2)."""
    size_bytes, at, whole, count = os.fstat(fd).st_size, 0, 0, 0
    while len(head := os.pread(fd, 8, at)) == 8:
        length = int.from_bytes(head[:4], "big")
        if length < 8:  # a length of another kind, which a fragment of ours never has: another program changed the file
            return count, size_bytes
        at += length
        if at > size_bytes:
            break
        count += head[4:] == b"mdat"
        if head[4:] != b"moof":  # which is nothing without the data behind it
            whole = at
    return count, whole
