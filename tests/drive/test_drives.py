"""The file that a drive is: written, read, cut off, damaged."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import MakeCard
from drives import RATE_HZ, WH, mask_of, seen, write_drive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.typesys import Stores, get_typestore
from stand_in import PEDESTRIAN, result_of
from videos import open_files, picture

from edge.classes import CAMVID
from edge.drive.file import MAGIC, DriveFile
from edge.drive.merge import merge
from edge.drive.schema import EVENTS, IMAGE, MASKS, OUTLINES, RESULTS, VIDEO_SCHEMA, message_class, schema_of
from edge.errors import ConfigError, NotAVideo, OutputError, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Letterbox
from edge.prediction import Prediction
from edge.sinks import drive as drive_module
from edge.sinks.drive import CHUNK_S, DriveOptions, DriveSegments, DriveSink, without_result
from edge.sinks.recorder import Recorder, RecorderOptions
from edge.sources import drive as drive_source
from edge.sources.drive import Drive, is_key_frame
from edge.sources.open import open_source
from edge.sources.source import Seekable
from edge.timing import Stages

TOPICS = {IMAGE, MASKS, OUTLINES, RESULTS}
KILLS = int(os.environ.get("EDGE_KILLS", "2"))  # more for a measurement


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("drive") / "drive.mcap")


@pytest.fixture
def every_frame_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "CHUNK_S", 0.0)


def options(**changes: Any) -> DriveOptions:
    return dataclasses.replace(DriveOptions("edge 0", "test", RATE_HZ), **changes)


def likeness(image: np.ndarray, index: int) -> float:
    """How far a decoded picture is from the one that was recorded, in grey levels."""
    return float(np.abs(image.astype(int) - picture(index, WH)).mean())


# ------------------------------------------------------------------------------------------------------------- written


def test_mcaps_own_reader_finds_a_whole_file_with_a_summary(drive: Path) -> None:
    with drive.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 4 * 25
        assert {channel.topic for channel in summary.channels.values()} == TOPICS
        assert len(summary.chunk_indexes) == summary.statistics.chunk_count
        assert [item.name for item in reader.iter_metadata()] == ["edge.drive", "edge.end"]
        times: dict[str, list[int]] = {}
        for _, channel, message in reader.iter_messages():
            times.setdefault(channel.topic, []).append(message.log_time)
    assert all(at == sorted(set(at)) and at == times[IMAGE] for at in times.values())
    wall_ns = seen(0).frame.captured_ns + time.time_ns() - time.monotonic_ns()
    assert abs(times[IMAGE][0] - wall_ns) < 60e9


def test_messages_are_what_their_schemas_in_the_file_say(drive: Path) -> None:
    """Read with nothing but the schemas that the file brings along, as Foxglove does."""
    from google.protobuf import descriptor_pool, message_factory
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    shown: dict[str, Any] = {}
    with drive.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None
            if schema.encoding == "jsonschema":
                shown[channel.topic] = json.loads(message.data)
                optional = {"outputs", "instances", "free_space", "lane", "fix"}
                assert set(json.loads(schema.data)["properties"]) - set(shown[channel.topic]) <= optional
                continue
            pool = descriptor_pool.DescriptorPool()
            for part in FileDescriptorSet.FromString(schema.data).file:
                pool.Add(part)
            kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
            decoded: Any = kind.FromString(message.data)
            shown[channel.topic] = decoded
            if channel.topic == IMAGE:
                assert decoded.timestamp.ToNanoseconds() == message.log_time
    assert (shown[IMAGE].format, shown[IMAGE].frame_id) == ("h264", "camera")
    assert (shown[MASKS].format, shown[MASKS].frame_id) == ("png", "camera")
    assert shown[RESULTS]["frame"] == 36
    assert json.loads(schema_of(EVENTS, "h264").data)["title"] == "edge.Event"


def test_outlines_are_where_the_mask_is(tmp_path: Path) -> None:
    classes = np.zeros((12, 16), np.uint8)
    classes[3:9, 8:14] = CAMVID.ids("road")[0]
    with DriveSink(tmp_path / "a.mcap", options(), Stages()) as sink:
        sink.write(result_of(0, classes, image=picture(0, WH)), 0)
    file = DriveFile(tmp_path / "a.mcap")
    annotations = message_class("foxglove.ImageAnnotations").FromString(file.read(OUTLINES, file.places[OUTLINES][0]))
    (line,) = annotations.points
    corners = {(point.x, point.y) for point in line.points}
    assert corners == {(34.0, 14.0), (54.0, 14.0), (34.0, 34.0), (54.0, 34.0)}  # cells of 4 pixels, their centres
    assert [round(255 * getattr(line.outline_color, c)) for c in "rgb"] == list(CAMVID.tints["road"])


def test_a_drive_knows_its_engine_its_settings_and_what_recorded_it(tmp_path: Path, make_card: MakeCard) -> None:
    card = make_card(b"no graph", table=CAMVID, input_wh=(16, 12))
    path = write_drive(tmp_path / "a.mcap", 3, card=card, precision="int8", config="record: {live: true}\n")
    with Drive(str(path)) as recorded:
        assert recorded.card == card
        assert recorded.config == "record: {live: true}\n"
        assert recorded.about["software"] == "edge 0"
        assert recorded.about["precision"] == "int8"


def test_h264_in_a_drive_has_a_key_picture_a_second_and_no_delay(drive: Path) -> None:
    file = DriveFile(drive)
    packets = [message_class(VIDEO_SCHEMA).FromString(file.read(IMAGE, place)).data for place in file.places[IMAGE]]
    assert [index for index, packet in enumerate(packets) if is_key_frame(packet)] == [0, 10, 20]
    assert all(packet.startswith(b"\0\0\0\1") for packet in packets)


def test_a_drive_is_never_overwritten(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "a.mcap", 2)
    with pytest.raises(OutputError, match="a drive is never overwritten"):
        DriveSink(path, options(), Stages())
    assert len(list(Drive(str(path)))) == 2


def test_nothing_is_left_of_a_drive_without_a_frame(tmp_path: Path) -> None:
    with DriveSink(tmp_path / "new" / "a.mcap", options(), Stages()):
        pass
    assert list((tmp_path / "new").iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------- read


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_every_frame_comes_back_with_its_time_and_what_was_seen_in_it(tmp_path: Path, codec: str) -> None:
    path = write_drive(tmp_path / "drive.mcap", codec=codec)
    with open_source(str(path)) as source:
        assert isinstance(source, Drive)
        assert isinstance(source, Seekable)
        assert (source.size_wh, source.frame_count, source.rate_hz, source.live) == (WH, 25, 10.0, False)
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(25))
        for index, frame in enumerate(frames):
            assert likeness(frame.image, index) < 4, index
            assert frame.media_ns == seen(index).frame.captured_ns - seen(0).frame.captured_ns
            recorded = source.recorded(index)
            assert recorded is not None
            assert np.array_equal(recorded.classes, mask_of(index))
            assert (recorded.frame, recorded.dropped) == (index + index // 2, index // 2)
            assert recorded.captured_ns == seen(index).frame.captured_ns
            assert (recorded.letterbox, recorded.age_ms) == (seen(index).letterbox, 20.0)
    assert open_files(tmp_path) == []


def test_any_reader_decodes_masks_as_images_with_class_colours(drive: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with drive.open("rb") as file:
        messages = [(schema.name, message.data) for schema, _, message in make_reader(file).iter_messages([MASKS])]
    assert len(messages) == 25
    for index, (schema, data) in enumerate(messages):
        assert schema == "foxglove.CompressedImage"
        message = message_class(schema)()
        message.ParseFromString(data)
        assert message.format == "png"
        mask = image.open(io.BytesIO(message.data))
        assert np.array_equal(np.asarray(mask), mask_of(index))
        assert np.array_equal(np.asarray(mask.convert("RGB")), CAMVID.palette_rgb[mask_of(index)])


def test_a_mask_is_recorded_without_the_black_bars_around_it(tmp_path: Path) -> None:
    with DriveSink(tmp_path / "drive.mcap", options(), Stages()) as sink:
        sink.write(with_bars(0), 0)
    with Drive(str(tmp_path / "drive.mcap")) as source:
        recorded = source.recorded(0)
        assert recorded is not None
        assert np.array_equal(recorded.classes, mask_of(0))
        assert np.array_equal(recorded.letterbox.to_source(recorded.classes), with_bars(0).class_map())


def with_bars(index: int) -> Prediction:
    classes = np.full((16, 16), PEDESTRIAN, np.uint8)
    classes[2:14] = mask_of(index)
    box = Letterbox(WH, (16, 16), (0, 2, 16, 12))
    plain = seen(index)
    return Prediction(plain.frame, {"semantic": classes}, box, plain.table, plain.ready_ns)


def test_a_drive_of_before_masks_were_png_still_has_its_masks() -> None:
    with Drive(str(Path(__file__).with_name("before") / "edge_mask.mcap")) as source:
        assert source.card is not None
        for index in range(4):
            recorded = source.recorded(index)
            assert recorded is not None
            assert np.array_equal(recorded.classes, with_bars(index).semantic)
            assert recorded.letterbox == with_bars(index).letterbox


def test_merging_leaves_out_what_another_schema_would_be_said_to_be(tmp_path: Path) -> None:
    with (tmp_path / "merged.mcap").open("wb") as file:
        assert merge([Path(__file__).with_name("before") / "edge_mask.mcap"], file.fileno(), {}, lambda: None) == 4
    with Drive(str(tmp_path / "merged.mcap")) as source:
        assert len(list(source)) == 4
        assert source.recorded(0) is None


def test_frames_by_number_are_those_that_come_in_turn(drive: Path) -> None:
    with Drive(str(drive)) as source:
        in_turn = [frame.image for frame in source]
        order = list(range(25)) * 2
        random.Random(7).shuffle(order)
        for index in [*order, 24, 24, 0, 0]:
            frame = source.at(index)
            assert frame.index == index
            assert np.array_equal(frame.image, in_turn[index]), index
        for wrong in (-1, 25):
            with pytest.raises(SourceError, match="there are 0 to 24"):
                source.at(wrong)


def test_a_drive_can_be_read_again(drive: Path) -> None:
    with Drive(str(drive)) as source:
        assert len(list(source)) == len(list(source)) == 25


def test_a_camera_recorded_without_an_engine_has_frames_alone(tmp_path: Path) -> None:
    with DriveSink(tmp_path / "a.mcap", options(), Stages()) as sink:
        for index in range(3):
            sink.write(without_result(seen(index).frame), 0)
    with Drive(str(tmp_path / "a.mcap")) as source:
        assert len(list(source)) == 3
        assert source.recorded(1) is None
        assert source.card is None
    assert set(DriveFile(tmp_path / "a.mcap").places) == {IMAGE}


def test_segments_in_a_folder_are_one_drive(tmp_path: Path) -> None:
    folder = tmp_path / "drives"
    with Recorder(RecorderOptions(str(folder), segment_s=1.0), RATE_HZ, Stages(), DriveSegments(options())) as recorder:
        for index in range(25):
            recorder.write(seen(index), 0)
            assert recorder.health.state == "ok", recorder.health
    assert len(list(folder.iterdir())) == recorder.health.levels["segments"] == 4
    with open_source(str(folder)) as source:
        frames = list(source)
        assert [frame.media_ns for frame in frames] == [(i + i // 2) * 10**8 for i in range(25)]
        assert all(likeness(frame.image, index) < 4 for index, frame in enumerate(frames))
        assert isinstance(source, Drive)
        assert likeness(source.at(17).image, 17) < 4


def test_a_quota_lets_the_oldest_segments_go(tmp_path: Path) -> None:
    limits = RecorderOptions(str(tmp_path), segment_s=0.4, quota_gb=20e-6)
    with Recorder(limits, RATE_HZ, Stages(), DriveSegments(options())) as recorder:
        for index in range(40):
            recorder.write(seen(index), 0)
    assert recorder.health.totals["segments_deleted"] > 0
    with Drive(str(tmp_path)) as source:
        kept = list(source)
    assert 0 < len(kept) < 40
    assert likeness(kept[-1].image, 39) < 4


def test_times_that_jump_back_go_on_in_a_drive(tmp_path: Path) -> None:
    with DriveSink(tmp_path / "a.mcap", options(), Stages()) as sink:
        for index, media_s in enumerate([5, 6, 2, 3]):
            sink.write(result_of(index, mask_of(0), image=picture(index, WH), media_ns=media_s * 10**9), 0)
    with Drive(str(tmp_path / "a.mcap")) as source:
        assert [frame.media_ns for frame in source] == [0, 10**9, 2 * 10**9, 3 * 10**9]


# ------------------------------------------------------------------------------------------------------ others' files


def foreign(
    path: Path, topics: tuple[str, ...] = ("/front",), kind: str = "foxglove.CompressedImage", **how: Any
) -> Path:
    """As another program would record it; `how` goes to MCAP's writer."""
    with path.open("wb") as file:
        writer = Writer(file, **how)
        writer.start()
        schema = schema_of(IMAGE, "jpeg" if kind.endswith("Image") else "h264")
        number = writer.register_schema(schema.name, schema.encoding, schema.data)
        channels = [writer.register_channel(topic, "protobuf", number) for topic in topics]
        for index in range(5):
            for channel in channels:
                data = cv2.imencode(".png", picture(index, WH))[1].tobytes()
                message = message_class(kind)(data=data, format="png").SerializeToString()
                writer.add_message(channel, 10**18 + index * 10**8, message, 0)
        writer.finish()
    return path


@pytest.mark.parametrize(
    "how",
    [
        {"compression": CompressionType.ZSTD},
        {"compression": CompressionType.LZ4, "chunk_size": 100},
        {"use_chunking": False},
        {"index_types": IndexType.NONE, "repeat_channels": False, "use_statistics": False},
    ],
    ids=lambda how: "-".join(how),
)
def test_other_programs_files_are_read_however_they_are_packed(tmp_path: Path, how: dict[str, Any]) -> None:
    with Drive(str(foreign(tmp_path / "a.mcap", **how))) as source:
        frames = list(source)
        assert source.rate_hz == 10.0
        assert source.recorded(0) is None
    assert len(frames) == 5
    assert all(np.array_equal(frame.image, picture(index, WH)) for index, frame in enumerate(frames))


CHUNK = 6  # opcode of MCAP
ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)


def coded_in(encoding: str, kind: str, index: int, claimed_wh: tuple[int, int] | None = None) -> bytes:
    """Image `index` as a message of that kind: compressed, or as rows; or one that claims another size."""
    image = picture(index, WH)
    stamp_ns = 10**18 + index * 10**8
    fields: dict[str, Any] = {"data": cv2.imencode(".png", image)[1].tobytes(), "format": "image/png"}
    if not kind.endswith("CompressedImage"):
        wide, high = claimed_wh or WH
        fields = {"width": wide, "height": high, "encoding": "bgr8", "step": 3 * wide, "data": image.tobytes()}
    elif claimed_wh:
        fields["data"] = fields["data"][:16] + struct.pack(">II", *claimed_wh) + fields["data"][24:]
    if encoding == "json":
        return json.dumps({**fields, "data": base64.b64encode(fields["data"]).decode()}).encode()
    if encoding == "protobuf":
        return message_class(kind)(**fields).SerializeToString()
    store = ROS1 if encoding == "ros1" else ROS2
    name = f"sensor_msgs/msg/{kind.rpartition('/')[2]}"
    stamp = store.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    counted = {"seq": index} if store is ROS1 else {}
    head = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera", **counted)
    fields["data"] = np.frombuffer(fields["data"], np.uint8)
    if not kind.endswith("CompressedImage"):
        fields["is_bigendian"] = 0
    message = store.types[name](header=head, **fields)
    return bytes(store.serialize_ros1(message, name) if store is ROS1 else store.serialize_cdr(message, name))


def others_mcap(path: Path, encoding: str, kind: str, profile: str = "", messages: Sequence[bytes] = ()) -> Path:
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile)
        forms = {"json": "jsonschema", "protobuf": "protobuf", "ros1": "ros1msg", "cdr": "ros2msg"}
        schema = writer.register_schema(kind, forms.get(encoding, encoding), b"")
        channel = writer.register_channel("/cam", encoding, schema)
        for index, message in enumerate(messages or [coded_in(encoding, kind, index) for index in range(4)]):
            writer.add_message(channel, 10**18 + index * 10**8, message, 0)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("encoding", "kind", "profile"),
    [
        ("json", "foxglove.CompressedImage", ""),
        ("json", "foxglove.RawImage", "x"),
        ("protobuf", "foxglove.CompressedImage", ""),
        ("protobuf", "foxglove.RawImage", ""),
        ("ros1", "sensor_msgs/CompressedImage", "ros1"),
        ("ros1", "sensor_msgs/Image", "ros1"),
        ("cdr", "sensor_msgs/msg/CompressedImage", ""),
        ("cdr", "sensor_msgs/msg/Image", ""),
    ],
)
def test_images_are_read_in_every_encoding(encoding: str, kind: str, profile: str, tmp_path: Path) -> None:
    with open_source(str(others_mcap(tmp_path / "a.mcap", encoding, kind, profile))) as source:
        frames = list(source)
    assert [frame.media_ns for frame in frames] == [index * 10**8 for index in range(4)]
    assert all(np.array_equal(frame.image, picture(index, WH)) for index, frame in enumerate(frames))


@pytest.mark.parametrize(
    ("encoding", "kind", "profile"),
    [
        ("json", "foxglove.CompressedImage", ""),
        ("protobuf", "foxglove.RawImage", ""),
        ("ros1", "sensor_msgs/CompressedImage", "ros1"),
        ("cdr", "sensor_msgs/msg/Image", ""),
    ],
)
def test_an_image_in_a_drive_that_claims_to_be_huge_is_damage_and_takes_no_memory(
    encoding: str, kind: str, profile: str, tmp_path: Path
) -> None:
    messages = [coded_in(encoding, kind, 0), coded_in(encoding, kind, 1, (40_000, 30_000)), coded_in(encoding, kind, 2)]
    path = others_mcap(tmp_path / "a.mcap", encoding, kind, profile, messages)
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = r"40000x30000 (is 1200\.0 megapixels|has 9216 bytes)"
    with open_source(str(path)) as source, pytest.raises(SourceDamaged, match=said):
        list(source)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kb < 100_000


def test_images_in_another_encoding_are_named_with_it(tmp_path: Path) -> None:
    path = others_mcap(tmp_path / "a.mcap", "flatbuffer", "foxglove.CompressedImage", messages=[b"x"])
    with pytest.raises(NotAVideo, match=r"/cam: foxglove.CompressedImage in flatbuffer; expected protobuf, json"):
        open_source(str(path))


@pytest.mark.parametrize("encoding", ["json", "protobuf", "ros1", "cdr"])
@pytest.mark.parametrize("message", [b"", b"[]", b"{}", b'{"data": 7}', b"\xff" * 50, bytes(50)])
def test_a_message_that_is_none_is_damage_and_no_crash(encoding: str, message: bytes, tmp_path: Path) -> None:
    kind = "sensor_msgs/CompressedImage" if encoding in ("ros1", "cdr") else "foxglove.CompressedImage"
    with pytest.raises(NotAVideo, match="none of its 1 frames can be decoded"):
        Drive(str(others_mcap(tmp_path / "a.mcap", encoding, kind, messages=[message])))


def test_where_many_images_in_a_row_do_not_decode_the_search_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drive_source, "_MANY_UNDECODED", 3)
    path = others_mcap(tmp_path / "a.mcap", "json", "foxglove.CompressedImage", messages=[b"{}"] * 5)
    with pytest.raises(NotAVideo, match="none of its 5 frames can be decoded"):
        Drive(str(path))
    assert "the first 3 frames do not decode, trying all 5" in caplog.text


@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4])
def test_a_chunk_that_holds_more_than_it_says_is_refused_on_the_way(
    compression: CompressionType, tmp_path: Path
) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=1 << 30)
        writer.start()
        channel = writer.register_channel("/cam", "json", writer.register_schema("foxglove.CompressedImage", "", b""))
        writer.add_message(channel, 0, bytes(64 << 20), 0)
        writer.finish()
    data = path.read_bytes()
    at = len(MAGIC)
    while data[at] != CHUNK:
        at += 9 + struct.unpack_from("<Q", data, at + 1)[0]
    size = at + 9 + 16  # behind opcode, length and two times
    path.write_bytes(data[:size] + struct.pack("<Q", 5000) + data[size + 8 :])
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotAVideo, match=r"no topic in it holds images"):
        Drive(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kb < 30_000


def test_of_several_cameras_one_must_be_named(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.mcap", ("/front", "/rear"))
    with pytest.raises(ConfigError, match=r"several topics hold images: /front, /rear.*topic=/front"):
        open_source(str(path))
    with open_source(f"{path}?topic=/rear") as source:
        assert len(list(source)) == 5
    with pytest.raises(ConfigError, match="no topic '/left' with images; there are: /front, /rear"):
        open_source(f"{path}?topic=/left")


def test_video_in_another_codec_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its video is 'png', expected 'h264'"):
        Drive(str(foreign(tmp_path / "a.mcap", kind="foxglove.CompressedVideo")))


# --------------------------------------------------------------------------------------------------------------- damage


def test_a_drive_that_was_cut_off_anywhere_is_read_up_to_there_and_says_so(
    tmp_path: Path, every_frame_a_chunk: None
) -> None:
    content = write_drive(tmp_path / "drive.mcap", 12).read_bytes()
    end, path = content.find(b"edge.end"), tmp_path / "cut.mcap"
    counts = []
    for share in (0.05, 0.3, 0.5, 0.77, 0.9, 0.99):
        path.write_bytes(content[: round(end * share)])
        try:
            source = Drive(str(path))
        except NotAVideo:
            counts.append(0)
            continue
        assert "was cut off while it was recorded" in source.damage
        frames = []
        with pytest.raises(SourceDamaged, match="was cut off while it was recorded"):
            frames.extend(source)
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert all(likeness(frame.image, frame.index) < 4 for frame in frames)
        counts.append(len(frames))
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] >= 11


def test_a_drive_that_lacks_but_its_summary_is_whole(tmp_path: Path) -> None:
    content = write_drive(tmp_path / "drive.mcap", 12).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(content[:-100])
    assert len(list(Drive(str(tmp_path / "cut.mcap")))) == 12


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_that_changes_is_taken_for_what_was_recorded(data: st.DataObject, drive: Path, tmp_path: Path) -> None:
    """Each message is as it was, or an error."""
    content = bytearray(drive.read_bytes())
    original = DriveFile(drive)
    messages = {(t, p.time_ns): original.read(t, p) for t, places in original.places.items() for p in places}
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.mcap"
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        file = DriveFile(path)
    except SourceError:
        return
    for topic, places in file.places.items():
        for place in places:
            try:
                found = file.read(topic, place)
            except SourceDamaged:
                continue
            assert messages.get((topic, place.time_ns)) in (None, found)


def test_damage_in_the_midst_costs_its_frames_up_to_the_next_key_picture(
    tmp_path: Path, every_frame_a_chunk: None
) -> None:
    path = write_drive(tmp_path / "drive.mcap")
    place = DriveFile(path).places[IMAGE][4]
    assert place.chunk is not None
    content = bytearray(path.read_bytes())
    content[place.chunk + place.offset + 200] ^= 1
    path.write_bytes(content)
    with Drive(str(path)) as source:
        frames = []
        with pytest.raises(SourceDamaged, match=r"19 of 25 frames were decoded.*chunk at byte"):
            frames.extend(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, *range(10, 25)]
    assert all(likeness(frame.image, frame.index) < 4 for frame in frames)


def test_a_chunk_that_nobody_sees_any_more_spoils_no_picture_in_silence(
    tmp_path: Path, every_frame_a_chunk: None
) -> None:
    """Those behind it are made from it, and the decoder would go on as if nothing were missing."""
    path = write_drive(tmp_path / "drive.mcap")
    chunk = DriveFile(path).places[IMAGE][4].chunk
    assert chunk is not None
    content = bytearray(path.read_bytes())
    content[chunk] = 200  # a kind of record that others may define, and readers pass over
    path.write_bytes(content)
    with Drive(str(path)) as source:
        frames = []
        with pytest.raises(SourceDamaged, match=r"19 of 25 frames were decoded.*before frame 4 some are missing"):
            frames.extend(source)
    truth = [0, 1, 2, 3, *range(10, 25)]
    assert all(likeness(frame.image, index) < 4 for frame, index in zip(frames, truth, strict=True))


def test_what_is_no_drive_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("hello")
    with pytest.raises(NotAVideo, match="is no MCAP file"):
        open_source(str(tmp_path / "text.mcap"))
    with pytest.raises(SourceNotFound, match="there is no such file"):
        open_source(str(tmp_path / "nothing.mcap"))
    with (tmp_path / "empty.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.finish()
    with pytest.raises(NotAVideo, match="no topic in it holds images"):
        open_source(str(tmp_path / "empty.mcap"))


# ------------------------------------------------------------------------------------------------------------- killed

RECORDS = """
import sys, time
sys.path[:0] = [{tests!r}]
from pathlib import Path
from drives import seen
from edge.sinks.drive import DriveOptions, DriveSink
from edge.timing import Stages
import dataclasses
with DriveSink(Path(sys.argv[1]), DriveOptions("edge 0", "test", 50.0), Stages()) as sink:
    for index in range(100_000):
        result = seen(index)
        result.frame.captured_ns = time.monotonic_ns()
        sink.write(result, 0)
        print(index, flush=True)
        time.sleep(0.02)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_kill_costs_less_than_half_a_second(tmp_path: Path, kill: int) -> None:
    code = RECORDS.format(tests=str(Path(__file__).parent.parent))
    path = tmp_path / "drive.mcap"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    written = 0
    until = 30 + random.Random(kill).randrange(25)
    times = []
    while written < until:
        written = int(process.stdout.readline())
        times.append(time.monotonic())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    written = int(rest[-1]) if rest else written
    frames = []
    with Drive(str(path)) as source, pytest.raises(SourceDamaged, match="was cut off"):
        frames.extend(source)
    lost = written + 1 - len(frames)
    # By the frames' own clock: those lost were all written within one chunk, and each took 20 ms at least.
    assert 0 <= lost <= CHUNK_S / 0.02 + 2
    assert all(likeness(frame.image, frame.index) < 4 for frame in frames)


def test_a_camera_that_changes_its_size_ends_a_single_file_and_says_so(tmp_path: Path) -> None:
    other: Prediction = result_of(1, mask_of(1), image=picture(1, (32, 24)))
    with DriveSink(tmp_path / "a.mcap", options(), Stages()) as sink:
        sink.write(seen(0), 0)
        with pytest.raises(OutputError, match="frame 1 is 32x24, the drive began as 64x48"):
            sink.write(other, 0)
    assert len(list(Drive(str(tmp_path / "a.mcap")))) == 1
