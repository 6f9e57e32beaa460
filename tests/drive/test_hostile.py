"""Recordings made to take memory or to end the program: what they claim is bounded, what does not fit is damage."""

from __future__ import annotations

import base64
import json
import resource
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import zstandard
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from videos import noise, picture

from edge.drive import file as file_module
from edge.drive.file import MAGIC, RECORD_MAX_BYTES
from edge.errors import NotAVideo, SourceDamaged
from edge.sources.drive import Drive

WH = (64, 48)
SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, ATTACHMENT, METADATA = 3, 4, 5, 6, 7, 9, 12
END = struct.pack("<BQI", 15, 4, 0) + struct.pack("<BQQQI", 2, 20, 0, 0, 0) + MAGIC


def text(words: str | bytes) -> bytes:
    content = words.encode() if isinstance(words, str) else words
    return struct.pack("<I", len(content)) + content


def record(code: int, content: bytes) -> bytes:
    return struct.pack("<BQ", code, len(content)) + content


def topic(kind: str, encoding: str = "json", definition: str = "") -> bytes:
    return record(SCHEMA, struct.pack("<H", 1) + text(kind) + text("") + text(definition)) + record(
        CHANNEL, struct.pack("<HH", 1, 1) + text("/cam") + text(encoding) + struct.pack("<I", 0)
    )


def message(index: int, content: bytes) -> bytes:
    return record(MESSAGE, struct.pack("<HIQQ", 1, 0, index * 10**8, index * 10**8) + content)


def chunk(content: bytes) -> bytes:
    packed = zstandard.ZstdCompressor().compress(content)
    head = struct.pack("<QQQI", 0, 0, len(content), 0) + text("zstd")
    return record(CHUNK, head + struct.pack("<Q", len(packed)) + packed)


def image(index: int = 0, **changes: object) -> bytes:
    data = cv2.imencode(".png", picture(index, WH))[1].tobytes()
    return message(index, json.dumps({"data": base64.b64encode(data).decode(), "format": "png", **changes}).encode())


def raw(index: int = 0, **changes: object) -> bytes:
    data = base64.b64encode(picture(index, WH).tobytes()).decode()
    fields = {"width": 64, "height": 48, "step": 192, "encoding": "bgr8", "data": data, **changes}
    return message(index, json.dumps(fields).encode())


def written(path: Path, *records: bytes) -> Path:
    path.write_bytes(MAGIC + record(1, text("") + text("")) + b"".join(records) + END)
    return path


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("code", [SCHEMA, INDEX, METADATA])
def test_a_record_that_claims_gigabytes_is_not_read(code: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        file.write(MAGIC + topic("foxglove.CompressedImage") + image() + chunk(b""))
        file.write(struct.pack("<BQ", code, 20 << 30))
        file.seek(20 << 30, 1)  # a hole: the file takes no room on the disk
        file.write(END)
    used_kb = peak_kb()
    with pytest.raises(SourceDamaged, match=f"{20 << 30} bytes, expected at most"):
        Drive(str(path))
    assert peak_kb() - used_kb < 30_000


def test_attachments_of_others_are_passed_over_however_large(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        file.write(MAGIC + topic("foxglove.CompressedImage") + image())
        file.write(struct.pack("<BQ", ATTACHMENT, 20 << 30))
        file.seek(20 << 30, 1)
        file.write(END)
    with Drive(str(path)) as source:
        assert len(list(source)) == 1
    assert RECORD_MAX_BYTES < 20 << 30


def test_a_small_file_of_very_many_messages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MESSAGES_MAX", 1000)
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), image(), chunk(message(1, b"") * 1001))
    with pytest.raises(SourceDamaged, match="holds more than 1000 messages"):
        Drive(str(path))


def test_a_message_takes_a_few_bytes_of_memory(tmp_path: Path) -> None:
    entries = struct.pack("<QQ", 5, 7) * 500_000
    index = record(INDEX, struct.pack("<HI", 1, len(entries)) + entries)
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), image(), chunk(b""), index)
    used_kb = peak_kb()
    assert Drive(str(path)).frame_count == 500_001
    assert (peak_kb() - used_kb) * 1000 < 500_000 * 150


def test_zeros_in_a_chunk_are_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), image(), chunk(bytes(1 << 20)))
    with Drive(str(path)) as source, pytest.raises(SourceDamaged, match="1 chunks cannot be read"):
        list(source)


def test_a_channel_of_two_topics_is_damage(tmp_path: Path) -> None:
    other = record(CHANNEL, struct.pack("<HH", 1, 1) + text("/other") + text("json") + struct.pack("<I", 0))
    with pytest.raises(SourceDamaged, match="channel 1 has two topics"):
        Drive(str(written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), other, image())))


WRONG: list[tuple[str, Any]] = [
    *[(name, value) for name in ("width", "height", "step") for value in ("x", None, [], 1e400, 64.5, 10**30)],
    *[("encoding", value) for value in (None, [], {})],
    *[("data", value) for value in (None, 7, [1], "", "!!")],
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_field_of_another_type_is_damage_of_its_frame_alone(field: str, value: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.mcap", topic("foxglove.RawImage"), raw(0), raw(1, **{field: value}), raw(2))
    frames = []
    with Drive(str(path)) as source, pytest.raises(SourceDamaged, match="2 of 3 frames were decoded"):
        frames.extend(source)
    assert [frame.index for frame in frames] == [0, 2]


def test_brackets_nested_thousands_deep_are_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), image(), message(1, b"[" * 100_000))
    with Drive(str(path)) as source, pytest.raises(SourceDamaged, match="1 of 2 frames were decoded"):
        list(source)


def test_a_count_of_thousands_of_digits_is_no_count(tmp_path: Path) -> None:
    counted = record(METADATA, text("edge.end") + text(text("/cam") + text("9" * 5000)))
    with Drive(str(written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), counted, image()))) as source:
        assert len(list(source)) == 1


def test_a_video_that_claims_to_be_huge_is_damage_and_takes_no_memory(tmp_path: Path) -> None:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8000, 6000, "yuv420p", Fraction(1, 10)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    packets = [*encoder.encode(av.VideoFrame(8000, 6000, "yuv420p")), *encoder.encode(None)]
    data = base64.b64encode(b"".join(map(bytes, packets))).decode()
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedVideo"), image(data=data, format="h264"))
    with pytest.raises(NotAVideo, match=r"none of its 1 frames can be decoded.*does not decode"):
        Drive(str(path))


def ros_message(encoding: str, kind: str, *fields: str, values: dict[str, Any]) -> bytes:
    store = get_typestore(Stores.ROS1_NOETIC if encoding == "ros1" else Stores.LATEST)
    name = f"foxglove_msgs/msg/{kind}"
    definition = "\n".join(("builtin_interfaces/Time timestamp", "string frame_id", *fields))
    store.register(get_types_from_msg(definition, name))
    stamp = store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    content = store.types[name](timestamp=stamp, frame_id="", **values)
    return bytes(store.serialize_ros1(content, name) if encoding == "ros1" else store.serialize_cdr(content, name))


@pytest.mark.parametrize("encoding", ["ros1", "cdr"])
def test_foxgloves_images_are_read_as_ros_writes_them(encoding: str, tmp_path: Path) -> None:
    fields = ("uint32 width", "uint32 height", "string encoding", "uint32 step", "uint8[] data")
    values = {"width": 64, "height": 48, "encoding": "bgr8", "step": 192}
    images = [picture(index, WH) for index in range(3)]
    packed = [ros_message(encoding, "RawImage", *fields, values={**values, "data": i.reshape(-1)}) for i in images]
    kind = "foxglove_msgs/RawImage" if encoding == "ros1" else "foxglove_msgs/msg/RawImage"
    path = written(tmp_path / "a.mcap", topic(kind, encoding), *map(message, range(3), packed))
    with Drive(str(path)) as source:
        assert [np.array_equal(frame.image, images[frame.index]) for frame in source] == [True] * 3


@pytest.mark.parametrize("definition", ["foxglove_msgs/E[2000000000] a", "uint8 a\n" * 100_000, "(((", "int32 data"])
def test_a_definition_in_the_file_that_asks_for_anything_else_is_not_followed(definition: str, tmp_path: Path) -> None:
    nothing = "\n" + "=" * 80 + "\nMSG: foxglove_msgs/E\n"
    about = topic("foxglove_msgs/CompressedImage", "ros1", definition + nothing)
    used_kb = peak_kb()
    with pytest.raises(NotAVideo, match="frame 0 is damaged: not a foxglove_msgs"):
        Drive(str(written(tmp_path / "a.mcap", about, message(0, bytes(51)))))
    assert peak_kb() - used_kb < 50_000


def test_a_jpeg_with_a_hole_is_damage_of_its_frame(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", noise(0, (320, 240)))[1].tobytes()
    holed = whole[: len(whole) // 2] + whole[len(whole) // 2 + 2000 :]
    images = [image(i, data=base64.b64encode(data).decode()) for i, data in enumerate((whole, holed, whole))]
    path = written(tmp_path / "a.mcap", topic("foxglove.CompressedImage"), *images)
    with Drive(str(path)) as source, pytest.raises(SourceDamaged, match=r"2 of 3 frames.*a part of its image is miss"):
        list(source)
