"""What an MCAP file holds and where, read from the heads of its records: also of one that breaks off.

MCAP's own reader refuses such a file as a whole. The format is at https://mcap.dev/spec.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from edge.drive.inflate import LIMIT_BYTES, checked, inflate
from edge.drive.places import MESSAGES_MAX, Place, Places, read_index
from edge.drive.schema import CARD, CONFIG, missing
from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.paths import no_such_file
from edge.regular import open_regular

if TYPE_CHECKING:
    from mcap.records import Channel, Schema

MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_HEADER, _SCHEMA, _CHANNEL, _MESSAGE_CODE, _CHUNK, _INDEX, _ATTACHMENT, _METADATA = 1, 3, 4, 5, 6, 7, 9, 12
_DATA_END, _FIRST_PRIVATE = 15, 128
_IN_CHUNKS = {_SCHEMA, _CHANNEL, _MESSAGE_CODE}
RECORD_MAX_BYTES = 1 << 24  # of what is read as a whole to know what is there: a definition of types, our card
_KEPT = (CARD, CONFIG)


class DriveFile:
    """The messages of an MCAP file by topic, in the order of their times. No file is held open.

    Attributes:
        places: of each topic's messages.
        channels, schemas: by topic; a topic without a schema has none.
        metadata: by name; of one that is repeated, the last. attachments: ours, by name.
        profile: the header's, such as "ros2".
        ended: by its writer; else it was cut off.
        bytes_lost: at the end, that belong to no whole record.
        chunks_lost: damaged, and it is not known of how many messages.
    """

    def __init__(self, path: Path) -> None:
        """Raises:
        SourceNotFound: there is no such file.
        NotAVideo: it is not an MCAP file.
        ConfigError: the library is not installed.
        """
        try:
            import mcap.records
        except ImportError as error:
            raise missing(error) from error
        self._records: Any = mcap.records
        self.path = path
        self.places: dict[str, Places] = {}
        self.channels: dict[str, Channel] = {}
        self.schemas: dict[str, Schema] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.attachments: dict[str, bytes] = {}
        self.profile = ""
        self.ended, self.bytes_lost, self.chunks_lost = False, 0, 0
        self._messages_left = MESSAGES_MAX
        self._topics: dict[int, str] = {}
        self._schema_by_number: dict[int, Schema] = {}
        self._loaded: tuple[int, bytes] | None = None
        with _opened(path) as file:
            self._scan(file)
        for places in self.places.values():
            places.sort()

    def read(self, topic: str, place: Place) -> bytes:
        """The message there; see `read_numbered`."""
        return self.read_numbered(topic, place)[0]

    def read_numbered(self, topic: str, place: Place) -> tuple[bytes, int]:
        """The message there, and its sequence number: how its writer counted the topic's messages, or 0.

        Raises:
            SourceError: it is not whole, or the file cannot be read any more.
        """
        if place.chunk is None:
            with _opened(self.path) as file:
                file.seek(place.offset)
                _, length = _RECORD.unpack(head := file.read(_RECORD.size))
                content, offset = head + file.read(min(length, LIMIT_BYTES)), 0
        else:
            content, offset = self._content(place.chunk), place.offset
        begin = offset + _RECORD.size + _MESSAGE.size
        if begin <= len(content):
            code, length = _RECORD.unpack_from(content, offset)
            number, sequence, time_ns, _ = _MESSAGE.unpack_from(content, offset + _RECORD.size)
            end = offset + _RECORD.size + length
            found, expected = (code, self._topics.get(number), time_ns), (_MESSAGE_CODE, topic, place.time_ns)
            if found == expected and begin <= end <= len(content):
                return content[begin:end], sequence
        raise SourceDamaged(f"{self.path}: no message of {topic} is where its index has one. Copy the file again.")

    # ------------------------------------------------------------------------------------------------------------ scan

    def _scan(self, file: IO[bytes]) -> None:
        """Look at each record in turn, up to the first that is not whole."""
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            raise NotAVideo(f"{self.path}: is no MCAP file ({size} bytes). Look at what it is: file {self.path}")
        whole, chunk = len(MAGIC), _Chunk()
        for code, at, length in _records(file, size):
            if code != _INDEX:
                self._take(chunk)
                chunk = _Chunk(at if code == _CHUNK else None)
            if code == _DATA_END:
                self.ended = True
                return  # the summary behind it repeats what was seen
            self._note_record(code, file, at, length, chunk)
            whole = at + _RECORD.size + length
        self.bytes_lost = size - whole
        self._take(_Chunk(chunk.at))  # its index may be cut off, too: the chunk itself tells

    def _note_record(self, code: int, file: IO[bytes], at: int, length: int, chunk: _Chunk) -> None:
        with _parsing(f"{self.path}: its record at byte {at}"):
            if code == _INDEX:
                chunk.index.append(read_index(_read_whole(file, length, 16 * MESSAGES_MAX)))
            elif code == _ATTACHMENT:
                self._note_attachment(file, length)
            elif code in (_HEADER, _SCHEMA, _CHANNEL, _METADATA):
                self._note(code, _read_whole(file, length))
            elif code == _MESSAGE_CODE:
                self._note_message(file.read(_MESSAGE.size), None, at)

    def _take(self, chunk: _Chunk) -> None:
        """Where a chunk's messages are, by its index; one without, or of channels not seen yet, is looked into."""
        if chunk.at is None:
            return
        if not chunk.index or any(channel not in self._topics for channel, _ in chunk.index):
            self._look_into(chunk.at, with_messages=not chunk.index)
        for channel, entries in chunk.index:
            if topic := self._topics.get(channel):
                self._count(len(entries))
                self.places[topic].add_indexed(chunk.at, entries)

    def _look_into(self, at: int, with_messages: bool) -> None:
        try:
            content, offset = self._content(at), 0
        except SourceDamaged:
            self.chunks_lost += with_messages
            return
        while offset + _RECORD.size <= len(content):
            code, length = _RECORD.unpack_from(content, offset)
            begin = offset + _RECORD.size
            if not (code in _IN_CHUNKS or code >= _FIRST_PRIVATE):
                self.chunks_lost += with_messages
                return
            self._count(1)
            if code in (_SCHEMA, _CHANNEL):
                with _parsing(f"{self.path}: a record in its chunk at byte {at}"):
                    self._note(code, content[begin : begin + length])
            elif code == _MESSAGE_CODE and with_messages and length >= _MESSAGE.size:
                self._note_message(content[begin : begin + _MESSAGE.size], at, offset)
            offset = begin + length

    def _note(self, code: int, content: bytes) -> None:
        records, stream = self._records, _stream(content)
        if code == _SCHEMA:
            schema = records.Schema.read(stream)
            self._schema_by_number[schema.id] = schema
        elif code == _CHANNEL:
            self._note_channel(records.Channel.read(stream))
        elif code == _METADATA:
            metadata = records.Metadata.read(stream)
            self.metadata[metadata.name] = metadata.metadata
        else:
            self.profile = records.Header.read(stream).profile

    def _note_attachment(self, file: IO[bytes], length: int) -> None:
        """Ours are kept; others', which may be of any size, are passed over."""
        if length > RECORD_MAX_BYTES:
            return
        content = file.read(length)
        if zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little"):
            attachment = self._records.Attachment.read(_stream(content))
            if attachment.name in _KEPT:
                self.attachments[attachment.name] = attachment.data

    def _count(self, messages: int) -> None:
        """Raises SourceDamaged: with those, there are more messages than a file may have."""
        self._messages_left -= messages
        if self._messages_left < 0:
            raise SourceDamaged(
                f"{self.path}: holds more than {MESSAGES_MAX} messages. Split it by time: mcap filter --help"
            )

    def _note_channel(self, channel: Channel) -> None:
        if self._topics.get(channel.id, channel.topic) != channel.topic:  # so that there are at most 65536 of them
            raise ValueError(f"its channel {channel.id} has two topics")
        self._topics[channel.id] = channel.topic
        self.channels[channel.topic] = channel
        self.places.setdefault(channel.topic, Places())
        if channel.schema_id in self._schema_by_number:
            self.schemas[channel.topic] = self._schema_by_number[channel.schema_id]

    def _note_message(self, head: bytes, chunk: int | None, offset: int) -> None:
        number, _, time_ns, _ = _MESSAGE.unpack(head)
        if topic := self._topics.get(number):
            self.places[topic].add(time_ns, chunk, offset)

    # ---------------------------------------------------------------------------------------------------------- chunks

    def _content(self, at: int) -> bytes:
        """What is in the chunk whose record begins there, inflated; the last one is kept.

        Raises:
            SourceDamaged: it is not what was written.
            SourceError: it cannot be read.
        """
        if self._loaded is not None and self._loaded[0] == at:
            return self._loaded[1]
        with _opened(self.path) as file:
            file.seek(at)
            head = file.read(_RECORD.size)
            content = file.read(min(_RECORD.unpack(head)[1], LIMIT_BYTES)) if len(head) == _RECORD.size else b""
        with _parsing(f"{self.path}: its chunk at byte {at}"):
            self._loaded = (at, _inflated(self._records.Chunk.read(_stream(content))))
        return self._loaded[1]


class Message(NamedTuple):
    """A message's place and the file that it is in."""

    file: DriveFile
    place: Place

    @property
    def time_ns(self) -> int:
        """When it was logged, on the recording's clock."""
        return self.place.time_ns


class Messages(Sequence[Message]):
    """The messages of one topic in the files of a drive, one file after the other."""

    def __init__(self, files: Iterable[DriveFile], topic: str) -> None:
        self._parts = [(file, file.places[topic]) for file in files if file.places.get(topic)]
        self._ends = list(accumulate(len(places) for _, places in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        file, places = self._parts[number]
        return Message(file, places[index - self._ends[number]])

    @property
    def times_ns(self) -> NDArray[np.uint64]:
        """uint64 (n,), in the order of the messages."""
        return np.concatenate([np.zeros(0, np.uint64), *(places.times_ns for _, places in self._parts)])

    def at_time(self, time_ns: int) -> Message | None:
        """The last message of just that time, if there is one."""
        for file, places in reversed(self._parts):
            if (place := places.at_time(time_ns)) is not None:
                return Message(file, place)
        return None


@dataclass
class _Chunk:
    """Where a chunk's record is, and the indexes that followed it; what is no chunk has no place."""

    at: int | None = None
    index: list[tuple[int, NDArray[np.uint64]]] = field(default_factory=list)


def _records(file: IO[bytes], size: int) -> Iterator[tuple[int, int, int]]:
    """Opcode, place and length of each whole record; the file stands at its content."""
    at = len(MAGIC)
    while at + _RECORD.size <= size:
        file.seek(at)
        code, length = _RECORD.unpack(file.read(_RECORD.size))
        end = at + _RECORD.size + length
        # A power cut leaves zeros, and what follows damage is anything.
        if end > size or not (0 < code <= _DATA_END or code >= _FIRST_PRIVATE):
            return
        yield code, at, length
        at = end


def _read_whole(file: IO[bytes], length: int, limit_bytes: int = RECORD_MAX_BYTES) -> bytes:
    """Raises ValueError: the record is larger than one may be that has to be read as a whole."""
    if length > limit_bytes:
        raise ValueError(f"{length} bytes, expected at most {limit_bytes}")
    return file.read(length)


def _inflated(chunk: Any) -> bytes:
    if chunk.uncompressed_size > LIMIT_BYTES:
        raise ValueError(f"{chunk.uncompressed_size} bytes, expected at most {LIMIT_BYTES}")
    content = inflate(chunk.data, chunk.compression, chunk.uncompressed_size)
    return checked(content, chunk.uncompressed_size, chunk.uncompressed_crc)


def _stream(content: bytes) -> Any:
    from mcap.data_stream import ReadDataStream

    return ReadDataStream(BytesIO(content))


@contextmanager
def _parsing(what: str) -> Iterator[None]:
    from mcap.exceptions import McapError

    try:
        yield
    except ImportError as error:
        raise missing(error) from error
    except (McapError, ValueError, OverflowError, struct.error) as error:
        raise SourceDamaged(f"{what} is damaged ({error}). Copy the file again from its origin.") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open_regular(path) as file:
            yield file
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceNotFound(no_such_file(path)) from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}. See who may: namei -l {path}") from error
