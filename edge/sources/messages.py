"""Image messages in MCAP files: Foxglove's and ROS's schemas, in protobuf, JSON and the encodings of both ROS."""

from __future__ import annotations

import base64
import json
import re
import reprlib
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge.drive.schema import message_class, missing
from edge.errors import SourceDamaged

if TYPE_CHECKING:
    from mcap.records import Schema

Kind = Literal["video", "image", "raw"]
# As https://github.com/foxglove/foxglove-sdk has them; a time of ROS 1 has the bytes of a Time of ROS 2.
_STAMP = ("builtin_interfaces/Time timestamp", "string frame_id")
_FOXGLOVE = {
    "CompressedVideo": ("uint8[] data", "string format"),
    "CompressedImage": ("uint8[] data", "string format"),
    "RawImage": ("uint32 width", "uint32 height", "string encoding", "uint32 step", "uint8[] data"),
}
_MALFORMED = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
Parse = Callable[["Schema", bytes], Any]

_FIELDS: dict[Kind, dict[str, type]] = {
    "video": {"format": str},
    "image": {},
    "raw": {"width": int, "height": int, "step": int, "encoding": str},
}

# By package and type: "foxglove.RawImage", "foxglove_msgs/msg/RawImage" and "foxglove_msgs/RawImage" are one.
_KINDS: dict[tuple[str, str], Kind] = {
    ("foxglove", "CompressedVideo"): "video",
    ("foxglove", "CompressedImage"): "image",
    ("foxglove", "RawImage"): "raw",
    ("sensor", "CompressedImage"): "image",
    ("sensor", "Image"): "raw",
}


def kind_of(schema_name: str) -> Kind | None:
    """What a schema's messages hold; None where that is no image."""
    parts = re.split(r"[./]", schema_name)
    return _KINDS.get((parts[0].removesuffix("_msgs"), parts[-1]))


def parse_message(encoding: str, schema: Schema, content: bytes, what: str) -> Any:
    """The message, with its schema's fields as attributes; `encoding` is one of `ENCODINGS`.

    Raises:
        SourceDamaged: it is not such a message.
        ConfigError: a library is missing.
    """
    parse = _PARSERS[encoding]
    try:
        message = parse(schema, content)
    except ImportError as error:
        raise missing(error) from error
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise SourceDamaged(f"{what} is damaged: {error}") from error
    if fault := _misfit(message, kind_of(schema.name) or "image"):
        raise SourceDamaged(f"{what} is damaged: {fault}")
    return message


def _misfit(message: Any, kind: Kind) -> str:
    """The first field that is missing or of another type, as a file's own definition or JSON may make it; or ""."""
    if not isinstance(getattr(message, "data", None), (bytes, bytearray, memoryview, np.ndarray)):
        return "its data are not bytes"
    for name, expected in _FIELDS[kind].items():
        value = getattr(message, name, None)
        if not isinstance(value, (int, np.integer) if expected is int else expected):
            return f"its {name} is {reprlib.repr(value)}"
    return ""


def _from_protobuf(schema: Schema, content: bytes) -> Any:
    from google.protobuf.message import DecodeError

    message = message_class(schema.name)()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(error) from error
    return message


def _from_json(_: Schema, content: bytes) -> Any:
    fields = json.loads(content)
    return SimpleNamespace(**{"format": "", **fields, "data": base64.b64decode(fields["data"], validate=True)})


def _from_ros1(schema: Schema, content: bytes) -> Any:
    return deserialize("ros1", schema.name, content)


def _from_cdr(schema: Schema, content: bytes) -> Any:
    return deserialize("cdr", schema.name, content)


def deserialize(encoding: Literal["ros1", "cdr"], type_name: str, content: bytes) -> Any:
    """A message of a type of images, as ROS or Foxglove defines it.

    The definition that a file holds is not used: it may ask for billions of fields that take no bytes.

    Raises:
        ValueError: it is not such a message.
    """
    package, *_, kind = type_name.split("/")
    name = f"{package}/msg/{kind}"
    store = _ros_store("ROS1_NOETIC" if encoding == "ros1" else "LATEST")
    try:
        return store.deserialize_ros1(content, name) if encoding == "ros1" else store.deserialize_cdr(content, name)
    except Exception as error:  # its generated parsers let through whatever damaged bytes make of them
        raise ValueError(f"not a {name} ({error})") from error


@cache
def _ros_store(release: str) -> Any:
    """The types of a release of ROS, and Foxglove's."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores[release])
    for kind, fields in _FOXGLOVE.items():
        name = f"foxglove_msgs/msg/{kind}"
        store.register(get_types_from_msg("\n".join((*_STAMP, *fields)), name))
    return store


_PARSERS: dict[str, Parse] = {"protobuf": _from_protobuf, "json": _from_json, "ros1": _from_ros1, "cdr": _from_cdr}
ENCODINGS = tuple(_PARSERS)
