"""One MCAP file in the making."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from edge.drive.schema import ABOUT, END, missing, schema_of

if TYPE_CHECKING:
    from edge.location import Fix

CHUNK_LIMIT_BYTES = 4 << 20


class DriveWriter:
    """Messages into an MCAP file, in chunks: a file that is cut off is read up to its last whole chunk.

    What `flush` wrote survives the end of the process; `sync` asks the disk to have it. `fix` is the newest in the
    file.
    """

    def __init__(self, fd: int, about: Mapping[str, str], attachments: Mapping[str, bytes], created_ns: int) -> None:
        """Writes to `fd`, and leaves its closing to the caller. `about` is the metadata, and names the "codec" and the
        "software"; `created_ns` is on the wall clock.

        Raises:
            ConfigError: the library is not installed.
            OSError: the file cannot be written.
        """
        try:
            from mcap.writer import CompressionType, Writer
        except ImportError as error:
            raise missing(error) from error

        self._output = _Output(fd)
        self._codec = about["codec"]
        self.fix: Fix | None = None
        # Nothing that is in a drive gets smaller: it is video and deflated masks.
        self._writer = Writer(cast("Any", self._output), chunk_size=CHUNK_LIMIT_BYTES, compression=CompressionType.NONE)
        self._channels: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._writer.start(library=about["software"])
        self._writer.add_metadata(ABOUT, dict(about))
        for name, content in attachments.items():
            kind = "application/json" if name.endswith(".json") else "application/yaml"
            self._writer.add_attachment(created_ns, created_ns, name, kind, content)

    def add(self, topic: str, time_ns: int, message: bytes, channel: Mapping[str, str] | None = None) -> None:
        """One message of our topics; `time_ns` is on the wall clock, `channel` the topic's metadata if it has some."""
        if topic not in self._channels:
            self._channels[topic] = self._register(topic, dict(channel or {}))
        count = self._counts[topic] = self._counts.get(topic, 0) + 1
        self._writer.add_message(self._channels[topic], time_ns, message, time_ns, count & 0xFFFFFFFF)

    def _register(self, topic: str, channel: dict[str, str]) -> int:
        schema = schema_of(topic, self._codec, channel)
        number = self._writer.register_schema(schema.name, schema.encoding, schema.data)
        return self._writer.register_channel(topic, schema.message_encoding, number, channel)

    def add_metadata(self, name: str, content: Mapping[str, str]) -> None:
        """A record of texts by name, such as what a flight recorder's drive was written for."""
        self._writer.add_metadata(name, dict(content))

    def flush(self) -> None:
        """End the chunk. What was added is the system's when this is over.

        Raises:
            OSError: not all could be written; the file then ends with its last whole chunk, for good.
        """
        if self._output.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._writer.flush()

    def sync(self) -> None:
        """What was flushed is on the disk when this is over."""
        os.fdatasync(self._output.fd)

    @property
    def size_bytes(self) -> int:
        """Of what was flushed."""
        return self._output.whole_bytes

    def finish(self) -> None:
        """Say how many messages there are, and write what makes the file quick to open; where a chunk could not be
        written, the file stays without.
        """
        if self._output.is_broken:
            return
        self.flush()
        self._writer.add_metadata(END, {topic: str(count) for topic, count in self._counts.items()})
        self._writer.finish()
        self._output.flush()
        self.sync()


class _Output:
    """A file as MCAP's writer wants one: what was written is kept until `flush`, and is then in the file, or nothing
    of it is.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self.whole_bytes, self.is_broken = fd, 0, False
        self._parts: list[bytes] = []
        self._at = 0

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Give the system what was written; what it does not take is cut off, and `is_broken` says so."""
        left = memoryview(b"".join(self._parts))
        self._parts.clear()
        try:
            while left:
                left = left[os.write(self.fd, left) :]
        except OSError:
            self.is_broken = True  # what the writer counts is not what is in the file
            os.ftruncate(self.fd, self.whole_bytes)
            raise
        self.whole_bytes = self._at
