"""Images from ROS bags: ROS 1 (.bag) and ROS 2 (a folder with metadata.yaml, or its storage files alone)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import SimpleNamespace
from typing import Any

from edge.closing import Closing
from edge.drive.inflate import InflatingFile, inflate
from edge.drive.schema import missing
from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image
from edge.natural import natural_key
from edge.regular import open_regular
from edge.sources.drive import STORAGES, choose_topic, split_topic
from edge.sources.imagefile import ImageError
from edge.sources.jpegscan import decode_whole_image
from edge.sources.messages import deserialize
from edge.sources.rawimage import bgr_of_rows
from edge.timing import Durations

_ZSTD, _ZSTD_MAGIC = ".zstd", b"\x28\xb5\x2f\xfd"  # a message in CDR begins with a zero
_PLAIN, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class Bag(Closing):
    """One topic of a bag as a source; `media_ns` counts from the first image, by the stamps of the messages."""

    live = False

    def __init__(self, place: str) -> None:
        """`place` may end in "?topic=/camera/image_raw", which is needed where several topics hold images.

        Raises:
            SourceError: it is no bag, or no images can be read from it.
            ConfigError: the topic is missing or not given, or the library is not installed.
        """
        try:
            _bound_decompression()
        except ImportError as error:
            raise missing(error) from error
        path, wanted = split_topic(place)
        self.name = place
        self.decode = Durations()
        self._begin_ns = -1
        self._owned = ExitStack()
        try:
            self._read(path, place)
            self._open(wanted)
        except BaseException:  # Ctrl-C too: the caller has no object to close yet
            self._owned.close()
            raise

    def _read(self, path: Path, place: str) -> None:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        with _translated(place):
            if not path.exists():
                raise SourceNotFound(f"{path}: is not there. Look at what is: ls {path.parent}")
            # Bags of ROS 2 before Iron do not say what their messages are made of; those of cameras never changed.
            storages = _storages(path)
            _check_regular(storages)
            plain = [self._owned.enter_context(_inflated(storage)) for storage in storages]
            self._reader = AnyReader(plain, default_typestore=get_typestore(Stores.LATEST))
            self._reader.open()
            self._owned.callback(self._reader.close)

    def _open(self, wanted: str | None) -> None:
        readable = [c for c in self._reader.connections if c.msgtype in (_PLAIN, _COMPRESSED) and c.msgcount]
        self.topic = choose_topic({c.topic: c.msgtype for c in readable}, wanted, self.name)
        self._connections = [connection for connection in readable if connection.topic == self.topic]
        self.frame_count = sum(connection.msgcount for connection in self._connections)
        lasted_s = self._reader.duration / 1e9
        self.rate_hz = round((self.frame_count - 1) / lasted_s, 3) if self.frame_count > 1 and lasted_s > 0 else None
        first = next((outcome for outcome in self._outcomes() if isinstance(outcome, Frame)), None)
        if first is None:
            reason = next(self._outcomes(), "")
            raise NotAVideo(f"{self.name}: none of the {self.frame_count} images can be read. {reason}")
        self.size_wh = first.size_wh

    def close(self) -> None:
        """Let go of the bag; it may be called twice."""
        self._owned.close()

    def __iter__(self) -> Iterator[Frame]:
        """Every image that can be read, as often as wanted.

        Raises:
            SourceDamaged: after the last, where some could not be, or are missing.
        """
        decoded, first_loss = 0, ""
        for outcome in self._outcomes():
            if isinstance(outcome, Frame):
                decoded += 1
                yield outcome
            else:
                first_loss = first_loss or str(outcome)
        if decoded < self.frame_count:
            raise SourceDamaged(
                f"{self.name}: is damaged: {decoded} of {self.frame_count} frames were decoded. {first_loss} The"
                " results cover the decoded frames only."
            )

    def at(self, index: int) -> Frame:
        """Frame `index` of the topic.

        Raises:
            SourceError: it cannot be read, or there is no such frame.
        """
        if not 0 <= index < len(self._times_ns):
            raise SourceError(f"{self.name}: there is no frame {index}; there are 0 to {len(self._times_ns) - 1}")
        time_ns = self._times_ns[index]
        nth = index - self._times_ns.index(time_ns)  # of the messages of one time
        with _translated(self.name):
            found = list(self._reader.messages(self._connections, start=time_ns, stop=time_ns + 1))
        return self._frame(index, *found[nth])

    @cached_property
    def _times_ns(self) -> list[int]:
        """When each message was recorded; for that, all are read once."""
        with _translated(self.name):
            return [time_ns for _, time_ns, _ in self._reader.messages(self._connections)]

    def _outcomes(self) -> Iterator[Frame | SourceError]:
        """Each frame, or why it cannot be read."""
        messages = self._reader.messages(self._connections)
        for index in range(self.frame_count):
            try:
                with _translated(self.name):
                    message = next(messages, None)
                if message is None:
                    return
                outcome = self._frame(index, *message)
            except SourceError as error:
                outcome = error
            yield outcome

    def _frame(self, index: int, connection: Any, time_ns: int, content: bytes) -> Frame:
        what = f"{self.name}: frame {index}"
        with self.decode.span():
            with _translated(what):
                if content.startswith(_ZSTD_MAGIC):  # compressed each alone, of which only metadata.yaml tells
                    content = inflate(content, "zstd")
                message = deserialize("cdr" if self._reader.is2 else "ros1", connection.msgtype, content)
                stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec or time_ns
            if connection.msgtype == _COMPRESSED:
                image = _decoded(message, what)
            else:
                size_wh = (message.width, message.height)
                image = bgr_of_rows(message.encoding, size_wh, message.step, message.data, what)
        if self._begin_ns < 0:
            self._begin_ns = stamp_ns
        media_ns = stamp_ns - self._begin_ns
        return Frame(index=index, captured_ns=time.monotonic_ns(), media_ns=media_ns, source=self.name, bgr=image)


def _bound_decompression() -> None:
    """The library inflates whatever comes: 197 KB may become gigabytes. Its tables of functions get ours."""
    from rosbags.rosbag1 import reader as rosbag1
    from rosbags.rosbag2 import reader as rosbag2
    from rosbags.rosbag2 import storage_mcap

    for name in ("bz2", "lz4"):
        rosbag1.decompressors[name] = partial(inflate, compression=name)
    for name in ("lz4", "zstd"):
        storage_mcap.DECOMPRESSORS[name] = lambda data, _, name=name: inflate(data, name)
    # A bag that was compressed as a whole is inflated into a temporary folder first.
    rosbag2.zstd = SimpleNamespace(  # type: ignore[assignment]
        decompress=partial(inflate, compression="zstd"), open=lambda file, _: InflatingFile(file, gettempdir())
    )


def _storages(path: Path) -> list[Path]:
    """The bag; or the storage files of a folder whose recorder was killed before it wrote metadata.yaml."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    found = {file.name: file for pattern in STORAGES for file in path.glob(pattern)}
    # Of one that was being compressed when its recorder was killed, the file before is whole.
    halves = {name + _ZSTD for name in found}
    return sorted((file for name, file in found.items() if name not in halves), key=natural_key) or [path]


@contextmanager
def _inflated(storage: Path) -> Iterator[Path]:
    """A storage file that was compressed as a whole, in a temporary folder; any other as it is."""
    if not storage.name.endswith(_ZSTD):
        yield storage
        return
    with TemporaryDirectory(prefix="edge-bag-") as folder:
        plain = Path(folder, storage.name.removesuffix(_ZSTD))
        with storage.open("rb") as file, InflatingFile(file, folder) as inflating, plain.open("wb") as out:
            shutil.copyfileobj(inflating, out)
        yield plain


def _check_regular(storages: Sequence[Path]) -> None:
    """Refuse a pipe or device, which the library would wait for.

    Raises:
        SourceError: with what was found.
    """
    for path in storages:
        for file in path.iterdir() if path.is_dir() else (path,):
            if not file.is_dir():
                try:
                    open_regular(file).close()
                except OSError as error:
                    raise SourceError(f"{file}: cannot be read: {error.strerror}") from error


def _decoded(message: Any, what: str) -> Image:
    try:
        return decode_whole_image(bytes(message.data))
    except ImageError as error:
        raise SourceDamaged(f"{what} ({message.format}) {error}.") from error


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # the library's parsers let through what damaged data make of them
        raise SourceDamaged(f"{what}: cannot be read as a ROS bag: {' '.join(str(error).split())}.") from error
