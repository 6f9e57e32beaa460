"""A recording's messages as they are, topic by topic, from any moment on; nothing is decoded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np

from edge.drive.file import DriveFile, Messages
from edge.drive.places import Place
from edge.drive.schema import Schema
from edge.errors import NotAVideo
from edge.sources.drive import is_key_frame, segment_files, split_topic
from edge.sources.messages import ENCODINGS, kind_of, parse_message

_KEY_WITHIN = 600  # frames: a video without a key frame in so many is not searched further


class Entry(NamedTuple):
    """One message: `read` gives its content."""

    topic: str
    file: DriveFile
    place: Place

    @property
    def time_ns(self) -> int:
        """When it was logged, on the recording's clock."""
        return self.place.time_ns

    def read(self) -> bytes:
        """Raises SourceError: it is damaged, or cannot be read any more."""
        return self.file.read(self.topic, self.place)


class Entries(Sequence[Entry]):
    """The messages of one topic in the files of a recording, in the order of their times."""

    def __init__(self, files: Sequence[DriveFile], topic: str) -> None:
        self._topic, self._messages = topic, Messages(files, topic)
        times = self._messages.times_ns
        self._order = None if np.all(times[:-1] <= times[1:]) else np.argsort(times, kind="stable")

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return Entry(self._topic, *self._messages[index if self._order is None else int(self._order[index])])


class Topic(NamedTuple):
    """What one topic's channel says, and its messages in the order of their times."""

    schema: Schema
    metadata: dict[str, str]
    entries: Entries

    def until(self, time_ns: int) -> int:
        """How many messages there are up to that time."""
        return bisect_right(self.entries, time_ns, key=lambda entry: entry.time_ns)


class RecordedMessages:
    """An MCAP file, or a folder of the segments of one drive; and a position in it, which `next` moves on.

    Attributes:
        topics: by name.
        range_ns: times of the first and last message.
        damage: what is missing by the files' own account, for people; "" in whole ones.
    """

    def __init__(self, name: str) -> None:
        """Raises:
        SourceError: there are no messages in it.
        ConfigError: the libraries are not installed.
        """
        self.name = name
        files = [DriveFile(path) for path in segment_files(split_topic(name)[0])]
        self.topics: dict[str, Topic] = {}
        for topic in dict.fromkeys(topic for file in files for topic in file.channels):
            self._add([file for file in files if file.places.get(topic)], topic)
        ends = [(topic.entries[0].time_ns, topic.entries[-1].time_ns) for topic in self.topics.values()]
        if not ends:
            raise NotAVideo(f"{name}: there is no message in it. Look at what is there: ls -l {name}")
        self.range_ns = min(first for first, _ in ends), max(last for _, last in ends)
        self.damage = "; ".join(filter(None, map(_damage, files)))
        self._at = dict.fromkeys(self.topics, 0)

    def _add(self, files: Sequence[DriveFile], topic: str) -> None:
        """The topic, of the files that have messages of it; it is what the first of them says."""
        if files:
            channel, schema = files[0].channels[topic], files[0].schemas.get(topic)
            about = (schema.name, schema.encoding, schema.data) if schema else ("", "", b"")
            self.topics[topic] = Topic(
                Schema(*about, channel.message_encoding), dict(channel.metadata), Entries(files, topic)
            )

    def seek(self, time_ns: int) -> None:
        """The next message is the first behind that time."""
        self._at = {name: topic.until(time_ns) for name, topic in self.topics.items()}

    @property
    def next_ns(self) -> int | None:
        """The time of the next message; None behind the last."""
        entry = self._peek()
        return None if entry is None else entry.time_ns

    def next(self) -> Entry | None:
        """The next message, which is passed by that; None behind the last."""
        entry = self._peek()
        if entry is not None:
            self._at[entry.topic] += 1
        return entry

    def _peek(self) -> Entry | None:
        ahead = [
            topic.entries[self._at[name]] for name, topic in self.topics.items() if self._at[name] < len(topic.entries)
        ]
        return min(ahead, key=lambda entry: (entry.time_ns, entry.topic), default=None)

    def state_of(self, name: str) -> Iterator[Entry]:
        """The topic's messages that show its state at the position: the last one passed; of a video, those from the
        key frame before it on.
        """
        topic, at = self.topics[name], self._at[name]
        yield from topic.entries[_begin(topic, at) : at]


def _begin(topic: Topic, end: int) -> int:
    """Where the state before message `end` begins."""
    last = max(0, end - 1)
    if kind_of(topic.schema.name) != "video" or topic.schema.message_encoding not in ENCODINGS:
        return last
    for number in range(last, max(-1, last - _KEY_WITHIN), -1):
        entry = topic.entries[number]
        message = parse_message(topic.schema.message_encoding, entry.file.schemas[entry.topic], entry.read(), "a frame")
        if is_key_frame(bytes(message.data)):
            return number
    return last


def _damage(file: DriveFile) -> str:
    faults = [
        f"{file.path.name} was cut off while it was recorded" if not file.ended else "",
        f"{file.chunks_lost} chunks of {file.path.name} cannot be read" if file.chunks_lost else "",
        f"{file.bytes_lost} bytes at the end of {file.path.name} are half a chunk" if file.bytes_lost else "",
    ]
    return "; ".join(filter(None, faults))
