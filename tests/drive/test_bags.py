"""ROS bags, written by the library that other people's tools write them with."""

from __future__ import annotations

import bz2
import resource
import sys
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import numpy as np
import pytest
import zstandard
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from videos import open_files, picture

from edge.drive.inflate import inflate
from edge.errors import ConfigError, NotAVideo, SourceDamaged, SourceError
from edge.sources.bag import Bag
from edge.sources.open import open_source
from edge.sources.source import Seekable

WH = (64, 48)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
BEGIN_NS = 1_700_000_000_000_000_000
STEP_NS = 40_000_000
ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)


def header(store: Any, index: int) -> Any:
    """Stamped 5 ms before it was recorded."""
    types, stamp_ns = store.types, BEGIN_NS + index * STEP_NS - 5_000_000
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    counted = {"seq": index} if store is ROS1 else {}
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera", **counted)


def plain(store: Any, index: int, encoding: str = "bgr8", pixels: np.ndarray | None = None) -> Any:
    """Rows are padded, as drivers' rows may be."""
    pixels = picture(index, WH) if pixels is None else pixels
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, 8)))
    return store.types[IMAGE](
        header=header(store, index),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed(store: Any, index: int) -> Any:
    data = cv2.imencode(".png", picture(index, WH))[1].reshape(-1)
    return store.types[COMPRESSED](header=header(store, index), format="png", data=data)


def write_bag(path: Path, topics: dict[str, list[Any]], plugin: StoragePlugin | None = None) -> Path:
    """Messages by topic; ROS 1 where no plugin is named."""
    store = ROS1 if plugin is None else ROS2
    writer: Any = Writer1(path) if plugin is None else Writer2(path, version=9, storage_plugin=plugin)
    with writer:
        for topic, messages in topics.items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=store)
            for index, message in enumerate(messages):
                text = store.serialize_ros1(message, kind) if plugin is None else store.serialize_cdr(message, kind)
                writer.write(connection, BEGIN_NS + index * STEP_NS, text)
    return path


@pytest.fixture(params=["ros1", "sqlite3", "mcap", "mcap alone", "db3 alone"])
def bag(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "ros1":
        return write_bag(tmp_path / "drive.bag", {"/image": [plain(ROS1, index) for index in range(6)]})
    plugin = StoragePlugin.MCAP if "mcap" in request.param else StoragePlugin.SQLITE3
    folder = write_bag(tmp_path / "drive", {"/image": [plain(ROS2, index) for index in range(6)]}, plugin)
    return next(folder.glob("drive.*")) if "alone" in request.param else folder


def test_a_bag_of_either_ros_gives_its_pictures_with_their_stamps(bag: Path, tmp_path: Path) -> None:
    with open_source(str(bag)) as source:
        assert isinstance(source, Bag)
        assert (source.size_wh, source.frame_count, source.live) == (WH, 6, False)
        assert source.rate_hz == pytest.approx(25.0, rel=0.01)
        frames = list(source)
        assert isinstance(source, Seekable)
        assert np.array_equal(source.at(4).image, frames[4].image)
        with pytest.raises(SourceError, match="there are 0 to 5"):
            source.at(6)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.media_ns for frame in frames] == [index * STEP_NS for index in range(6)]
    assert all(np.array_equal(frame.image, picture(index, WH)) for index, frame in enumerate(frames))
    if sys.version_info >= (3, 11):  # on 3.10 rosbags' own reader leaves an SQLite file open (0.11.9)
        assert open_files(tmp_path) == []


def test_compressed_pictures_are_decoded(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive.bag", {"/image/compressed": [compressed(ROS1, index) for index in range(3)]})
    with Bag(str(path)) as source:
        assert all(np.array_equal(frame.image, picture(index, WH)) for index, frame in enumerate(source))


COLOURS = np.full((48, 64, 3), (200, 60, 30), np.uint8)  # BGR
UYVY = np.tile(np.array([[165, 82], [110, 82]], np.uint8), (48, 32, 1))  # U Y, V Y of about that colour
BAYER = np.tile(np.array([[30, 60], [60, 200]], np.uint8), (24, 32))  # R G / G B


@pytest.mark.parametrize(
    ("encoding", "pixels", "tolerance"),
    [
        ("rgb8", COLOURS[:, :, ::-1], 0),
        ("bgra8", np.dstack([COLOURS, COLOURS[:, :, :1]]), 0),
        ("rgba8", np.dstack([COLOURS[:, :, ::-1], COLOURS[:, :, :1]]), 0),
        ("bayer_rggb8", BAYER, 0),
        ("bayer_bggr8", BAYER[::-1, ::-1], 0),
        ("bayer_gbrg8", BAYER[::-1], 0),
        ("bayer_grbg8", BAYER[:, ::-1], 0),
    ],
)
def test_each_way_to_code_a_picture_comes_out_in_its_colours(
    tmp_path: Path, encoding: str, pixels: np.ndarray, tolerance: int
) -> None:
    path = write_bag(tmp_path / "drive.bag", {"/image": [plain(ROS1, 0, encoding, np.ascontiguousarray(pixels))]})
    with Bag(str(path)) as source:
        (frame,) = source
    inside = frame.image[4:-4, 4:-4].astype(int)
    assert np.abs(inside - (200, 60, 30)).max() <= tolerance


@pytest.mark.parametrize("encoding", ["yuv422", "yuv422_yuy2"])
def test_yuv_422_is_as_opencv_writes_it(tmp_path: Path, encoding: str) -> None:
    code = cv2.COLOR_BGR2YUV_UYVY if encoding == "yuv422" else cv2.COLOR_BGR2YUV_YUYV
    path = write_bag(tmp_path / "drive.bag", {"/image": [plain(ROS1, 0, encoding, cv2.cvtColor(COLOURS, code))]})
    with Bag(str(path)) as source:
        (frame,) = source
    assert np.abs(frame.image.astype(int) - COLOURS).max() <= 4


def test_grey_pictures_are_grey(tmp_path: Path) -> None:
    grey = picture(0, WH)[:, :, 0]
    path = write_bag(tmp_path / "drive.bag", {"/image": [plain(ROS1, 0, "mono8", grey)]})
    with Bag(str(path)) as source:
        (frame,) = source
    assert np.array_equal(frame.image, cv2.merge([grey] * 3))


def test_of_several_topics_one_must_be_named(tmp_path: Path) -> None:
    pictures = [plain(ROS1, index) for index in range(2)]
    path = write_bag(tmp_path / "drive.bag", {"/front": pictures, "/rear": pictures[:1]})
    with pytest.raises(ConfigError, match="several topics hold images: /front, /rear"):
        open_source(str(path))
    with open_source(f"{path}?topic=/rear") as source:
        assert len(list(source)) == 1


def test_a_picture_that_cannot_be_read_is_counted_and_told_at_the_end(tmp_path: Path) -> None:
    pictures = [plain(ROS1, index) for index in range(4)]
    pictures[2].height = 47
    path = write_bag(tmp_path / "drive.bag", {"/image": pictures})
    with Bag(str(path)) as source:
        frames = []
        with pytest.raises(SourceDamaged, match=r"3 of 4 frames were decoded.*frame 2 of 64x47 has"):
            frames.extend(source)
    assert [frame.index for frame in frames] == [0, 1, 3]


def test_a_bag_whose_recorder_was_killed_before_its_metadata_is_read(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", {"/image": [plain(ROS2, i) for i in range(4)]}, StoragePlugin.SQLITE3)
    (path / "metadata.yaml").unlink()
    with open_source(str(path)) as source:
        assert [np.array_equal(frame.image, picture(frame.index, WH)) for frame in source] == [True] * 4


@pytest.mark.parametrize("name", ["zstd", "lz4", "bz2"])
def test_nothing_inflates_beyond_its_limit(name: str) -> None:
    compress = {"zstd": zstandard.ZstdCompressor().compress, "lz4": lz4.frame.compress, "bz2": bz2.compress}[name]
    bomb = compress(bytes(64 << 20))
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="more than 1000 bytes when decompressed"):
        inflate(bomb, name, 1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kb < 20_000
    assert inflate(compress(b"whole"), name) == b"whole"


def test_the_bag_library_inflates_by_our_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bag"
    writer = Writer2(path, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=ROS2)
        writer.write(connection, BEGIN_NS, ROS2.serialize_cdr(plain(ROS2, 0), IMAGE))
    with open_source(str(path)) as source:
        assert len(list(source)) == 1
    monkeypatch.setattr("edge.drive.inflate.LIMIT_BYTES", 100)
    with pytest.raises(SourceError, match="more than 100 bytes when decompressed"):
        open_source(str(path))


@pytest.fixture
def whole_compressed(tmp_path: Path) -> Path:
    """A bag whose storage file is compressed as a whole."""
    path = tmp_path / "bag"
    writer = Writer2(path, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=ROS2)
        for index in range(3):
            writer.write(connection, BEGIN_NS + index * STEP_NS, ROS2.serialize_cdr(plain(ROS2, index), IMAGE))
    return path


def test_a_bag_that_was_compressed_as_a_whole_is_read(
    whole_compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with open_source(str(whole_compressed)) as source:
        assert len(list(source)) == 3
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())


def test_a_bag_compressed_as_a_whole_is_read_without_its_metadata(
    whole_compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (whole_compressed / "metadata.yaml").unlink()
    (storage,) = whole_compressed.iterdir()
    for place in (whole_compressed, storage):
        with open_source(str(place)) as source:
            assert [np.array_equal(frame.image, picture(frame.index, WH)) for frame in source] == [True] * 3
            assert list(scratch.iterdir())
        assert not list(scratch.iterdir())
    plain = storage.with_suffix("")  # the recorder was killed while it compressed this one
    plain.write_bytes(zstandard.ZstdDecompressor().stream_reader(storage.read_bytes()).read())
    storage.write_bytes(storage.read_bytes()[:1000])
    with open_source(str(whole_compressed)) as source:
        assert len(list(source)) == 3
    plain.unlink()
    with pytest.raises(SourceError, match="cannot be read as a ROS bag"):
        open_source(str(whole_compressed))
    assert not list(scratch.iterdir())


def test_messages_that_were_compressed_each_are_read_without_the_metadata_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    writer = Writer2(path, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=ROS2)
        for index in range(3):
            writer.write(connection, BEGIN_NS + index * STEP_NS, ROS2.serialize_cdr(plain(ROS2, index), IMAGE))
    (path / "metadata.yaml").unlink()
    with open_source(str(path)) as source:
        assert [np.array_equal(frame.image, picture(frame.index, WH)) for frame in source] == [True] * 3


def test_a_whole_bag_is_not_inflated_beyond_its_ratio_or_its_disk(
    whole_compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with monkeypatch.context() as little:
        little.setattr("edge.drive.inflate.LIMIT_BYTES", 100)
        little.setattr("edge.drive.inflate.RATIO_MAX", 1)
        with pytest.raises(SourceError, match="more than 1 times its size when decompressed"):
            open_source(str(whole_compressed))
    with monkeypatch.context() as full:
        full.setattr("edge.drive.inflate._DISK_KEPT", 1)  # all of it
        with pytest.raises(SourceError, match=r"does not fit into .*scratch\. Name a larger disk: TMPDIR=FOLDER"):
            open_source(str(whole_compressed))
    assert not list(scratch.iterdir())


def test_a_whole_bag_that_is_damaged_is_an_error(whole_compressed: Path) -> None:
    (file,) = whole_compressed.glob("*.zstd")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be read as a ROS bag"):
        open_source(str(whole_compressed))


def test_pictures_of_an_unknown_kind_are_refused_by_its_name(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive.bag", {"/image": [plain(ROS1, 0, "32FC1", np.zeros((4, 4, 4), np.uint8))]})
    with pytest.raises(NotAVideo, match=r"none of the 1 images can be read.*'32FC1'; expected one of: bgr8"):
        Bag(str(path))


def test_a_bag_without_pictures_or_that_is_none_is_refused_in_plain_words(tmp_path: Path) -> None:
    text = ROS1.types["std_msgs/msg/String"](data="hello")
    path = write_bag(tmp_path / "drive.bag", {"/chatter": [text]})
    with pytest.raises(NotAVideo, match="no topic in it holds images"):
        open_source(str(path))
    (tmp_path / "text.bag").write_text("hello")
    with pytest.raises(SourceDamaged, match="cannot be read as a ROS bag"):
        open_source(str(tmp_path / "text.bag"))
    with pytest.raises(SourceError, match="is not there"):
        open_source(str(tmp_path / "none.bag"))
    assert open_files(tmp_path) == []
