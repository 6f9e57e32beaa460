"""What the messages of a drive look like: Foxglove's where it has one, ours where it has none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from edge.errors import ConfigError
from edge.install import install_command
from edge.shortage import check_shortage

IMAGE, MASKS, OUTLINES = "/camera/image", "/masks", "/masks/outlines"
RESULTS, EVENTS = "/results", "/events"
CALIBRATION = "/camera/calibration"
POSITION, FIX = "/gps/position", "/gps/fix"
TRANSFORM, SCENE, GRID = "/road/camera", "/road/scene", "/road/grid"
OUTPUTS = "/outputs/"  # and the name of a further output
FRAME_ID = "camera"

ABOUT, END, TRIGGER = "edge.drive", "edge.end", "edge.trigger"  # metadata
CARD, CONFIG = "card.json", "config.yaml"  # attachments

VIDEO_SCHEMA, IMAGE_SCHEMA = "foxglove.CompressedVideo", "foxglove.CompressedImage"
CALIBRATION_SCHEMA = "foxglove.CameraCalibration"
FIX_SCHEMA = "foxglove.LocationFix"
TRANSFORM_SCHEMA, SCENE_SCHEMA, GRID_SCHEMA = "foxglove.FrameTransform", "foxglove.SceneUpdate", "foxglove.Grid"
ARRAY_SCHEMA = "edge.Array"
OLD_MASK_SCHEMA = "edge.Mask"  # of drives recorded before masks were PNG
OUTPUT = "output"  # a further output's channel metadata: what it is, as a card has it

_NUMBER, _TEXT, _COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer"}
_RESULT = {
    "frame": _COUNT,
    "media_s": {"type": ["number", "null"]},
    "captured_ns": _COUNT,
    "age_ms": _NUMBER,
    "shares": {"type": "object", "additionalProperties": _NUMBER},
    "dropped": _COUNT,
    "instances": {"type": "array", "items": {"type": "object"}},
    "free_space": {"type": "object"},
    "lane": {"type": "object"},
    "fix": {"type": "object"},
    "outputs": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _NUMBER}},
}
_FIX = {
    **dict.fromkeys(("latitude_deg", "longitude_deg", "altitude_m", "error_m", "speed_m_s", "heading_deg"), _NUMBER),
    "time": _TEXT,
}
_EVENT = {"event": _TEXT, "active": {"type": "boolean"}, "captured_ns": _COUNT, "frame": _COUNT, "value": _NUMBER}


_JSON = {RESULTS: ("edge.Result", _RESULT), EVENTS: ("edge.Event", _EVENT), FIX: ("edge.Fix", _FIX)}


class Schema(NamedTuple):
    """A schema as MCAP registers it, and the encoding of its messages."""

    name: str
    encoding: str
    data: bytes
    message_encoding: str


def schema_of(topic: str, codec: str, channel: Mapping[str, str] | None = None) -> Schema:
    """What is written to one of our topics; `codec`, h264 or jpeg, says how frames are coded, and `channel` is the
    metadata of a further output's.
    """
    if topic in _JSON:
        name, properties = _JSON[topic]
        text = json.dumps({"title": name, "type": "object", "properties": properties})
        return Schema(name, "jsonschema", text.encode(), "json")
    names = {
        IMAGE: VIDEO_SCHEMA if codec == "h264" else IMAGE_SCHEMA,
        MASKS: IMAGE_SCHEMA,
        CALIBRATION: CALIBRATION_SCHEMA,
        POSITION: FIX_SCHEMA,
        TRANSFORM: TRANSFORM_SCHEMA,
        SCENE: SCENE_SCHEMA,
        GRID: GRID_SCHEMA,
    }
    default = "foxglove.ImageAnnotations"
    if topic.startswith(OUTPUTS):
        default = IMAGE_SCHEMA if is_image(channel or {}) else ARRAY_SCHEMA
    kind = message_class(names.get(topic, default))
    return Schema(kind.DESCRIPTOR.full_name, "protobuf", _with_dependencies(kind), "protobuf")


def is_image(channel: Mapping[str, str]) -> bool:
    """Whether a further output is a map of bytes, which any reader of PNG shows; `channel` is its metadata."""
    output = json.loads(channel.get(OUTPUT, "{}"))
    return output.get("dtype") == "uint8" and len(output.get("shape", ())) == 2


@cache
def message_class(name: str) -> Any:
    """The protobuf class of a schema.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        if name in _OURS:
            return _our_class(name, _OURS[name])
        from foxglove_schemas_protobuf import (
            CameraCalibration_pb2,
            CompressedImage_pb2,
            CompressedVideo_pb2,
            FrameTransform_pb2,
            Grid_pb2,
            ImageAnnotations_pb2,
            LocationFix_pb2,
            RawImage_pb2,
            SceneUpdate_pb2,
        )
    except ImportError as error:
        raise missing(error) from error
    modules = (
        CompressedVideo_pb2,
        CompressedImage_pb2,
        RawImage_pb2,
        ImageAnnotations_pb2,
        CameraCalibration_pb2,
        LocationFix_pb2,
        FrameTransform_pb2,
        SceneUpdate_pb2,
        Grid_pb2,
    )
    classes = {f"foxglove.{kind}": getattr(m, kind) for m in modules for kind in m.DESCRIPTOR.message_types_by_name}
    return classes[name]


def missing(error: ImportError) -> ConfigError:
    """What to type where a library of drives is not there.

    Raises:
        ResourceError: it is there, and memory or open files ran out.
    """
    check_shortage(error)
    return ConfigError(f"drives need the library {error.name}. Try: {install_command('edge-segmentation[drives]')}")


# Fields of our own messages: name and protobuf type; "+" before it: repeated. Numbers count from 1.
_OURS = {
    # Any output but a map of bytes: dtype and shape in NumPy's words; data as edge.arrays has it.
    ARRAY_SCHEMA: {"timestamp": "time", "dtype": "string", "shape": "+uint32", "data": "bytes"},
    # `frame` is the camera's count, `source_*` its size in pixels, `content_xywh` the part of the mask that shows the
    # frame, the rest being black bars; data as edge.maskcodec has it.
    OLD_MASK_SCHEMA: {
        "timestamp": "time",
        "frame": "uint64",
        "source_width": "uint32",
        "source_height": "uint32",
        "content_xywh": "+uint32",
        "data": "bytes",
    },
}


def _our_class(name: str, fields: Mapping[str, str]) -> Any:
    from google.protobuf import descriptor_pool, message_factory, timestamp_pb2
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    timestamp, (package, _, short) = timestamp_pb2.DESCRIPTOR.name, name.partition(".")
    file = FileDescriptorProto(name=f"edge/{short}.proto", package=package, syntax="proto3", dependency=[timestamp])
    message = file.message_type.add(name=short)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        label = Field.LABEL_REPEATED if kind.startswith("+") else Field.LABEL_OPTIONAL
        if kind == "time":
            type_name = ".google.protobuf.Timestamp"
            message.field.add(name=field, number=number, label=label, type=Field.TYPE_MESSAGE, type_name=type_name)
        else:
            number_of = getattr(Field, f"TYPE_{kind.lstrip('+').upper()}")
            message.field.add(name=field, number=number, label=label, type=number_of)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _with_dependencies(kind: Any) -> bytes:
    """The message's file and all it imports, as MCAP wants a protobuf schema: a FileDescriptorSet."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    files = FileDescriptorSet()
    for file in dict.fromkeys(_files(kind.DESCRIPTOR.file)):
        file.CopyToProto(files.file.add())
    return files.SerializeToString()


def _files(file: Any) -> Iterator[Any]:
    for dependency in file.dependencies:
        yield from _files(dependency)
    yield file
