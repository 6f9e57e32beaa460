"""What the messages of a drive look like: Foxglove's where it has one, ours where it has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from edge.errors import ConfigError

IMAGE, MASKS, OUTLINES = "/camera/image", "/masks", "/masks/outlines"
RESULTS, EVENTS = "/results", "/events"
FRAME_ID = "camera"

ABOUT, END, TRIGGER = "edge.drive", "edge.end", "edge.trigger"  # metadata
CARD, CONFIG = "card.json", "config.yaml"  # attachments

VIDEO_SCHEMA, IMAGE_SCHEMA = "foxglove.CompressedVideo", "foxglove.CompressedImage"
OLD_MASK_SCHEMA = "edge.Mask"  # of drives recorded before masks were PNG

_NUMBER, _TEXT, _COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer"}
_RESULT = {
    "frame": _COUNT,
    "media_s": {"type": ["number", "null"]},
    "captured_ns": _COUNT,
    "age_ms": _NUMBER,
    "shares": {"type": "object", "additionalProperties": _NUMBER},
    "dropped": _COUNT,
}
_EVENT = {"event": _TEXT, "active": {"type": "boolean"}, "captured_ns": _COUNT, "frame": _COUNT, "value": _NUMBER}


class Schema(NamedTuple):
    """A schema as MCAP registers it, and the encoding of its messages."""

    name: str
    encoding: str
    data: bytes
    message_encoding: str


def schema_of(topic: str, codec: str) -> Schema:
    """What is written to one of our topics; `codec`, h264 or jpeg, says how frames are coded."""
    if topic in (RESULTS, EVENTS):
        name, properties = ("edge.Result", _RESULT) if topic == RESULTS else ("edge.Event", _EVENT)
        text = json.dumps({"title": name, "type": "object", "properties": properties})
        return Schema(name, "jsonschema", text.encode(), "json")
    names = {IMAGE: VIDEO_SCHEMA if codec == "h264" else IMAGE_SCHEMA, MASKS: IMAGE_SCHEMA}
    kind = message_class(names.get(topic, "foxglove.ImageAnnotations"))
    return Schema(kind.DESCRIPTOR.full_name, "protobuf", _with_dependencies(kind), "protobuf")


@cache
def message_class(name: str) -> Any:
    """The protobuf class of a schema.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        if name == OLD_MASK_SCHEMA:
            return _old_mask_class()
        from foxglove_schemas_protobuf import (
            CompressedImage_pb2,
            CompressedVideo_pb2,
            ImageAnnotations_pb2,
            RawImage_pb2,
        )
    except ImportError as error:
        raise missing(error) from error
    modules = (CompressedVideo_pb2, CompressedImage_pb2, RawImage_pb2, ImageAnnotations_pb2)
    classes = {f"foxglove.{kind}": getattr(m, kind) for m in modules for kind in m.DESCRIPTOR.message_types_by_name}
    return classes[name]


def missing(error: ImportError) -> ConfigError:
    """What to type where a library of drives is not there."""
    return ConfigError(f"drives need the library {error.name}. Try: pip install 'edge-segmentation[drives]'")


def _old_mask_class() -> Any:
    """syntax = "proto3"; package edge;

    message Mask {
      google.protobuf.Timestamp timestamp = 1;
      uint64 frame = 2;                  // as the camera counted it
      uint32 source_width = 3;           // of the frame, in pixels
      uint32 source_height = 4;
      repeated uint32 content_xywh = 5;  // the part of the mask that shows the frame; the rest is black bars
      bytes data = 6;                    // edge.maskcodec
    }
    """
    from google.protobuf import descriptor_pool, message_factory, timestamp_pb2
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    timestamp = timestamp_pb2.DESCRIPTOR.name
    file = FileDescriptorProto(name="edge/Mask.proto", package="edge", syntax="proto3", dependency=[timestamp])
    mask = file.message_type.add(name="Mask")
    one, many = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED
    kind = Field.TYPE_MESSAGE
    mask.field.add(name="timestamp", number=1, type=kind, label=one, type_name=".google.protobuf.Timestamp")
    mask.field.add(name="frame", number=2, type=Field.TYPE_UINT64, label=one)
    mask.field.add(name="source_width", number=3, type=Field.TYPE_UINT32, label=one)
    mask.field.add(name="source_height", number=4, type=Field.TYPE_UINT32, label=one)
    mask.field.add(name="content_xywh", number=5, type=Field.TYPE_UINT32, label=many)
    mask.field.add(name="data", number=6, type=Field.TYPE_BYTES, label=one)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(OLD_MASK_SCHEMA))


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
