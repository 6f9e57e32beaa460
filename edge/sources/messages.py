"""Image messages in MCAP files: Foxglove's and ROS's schemas, in protobuf, JSON and the encodings of both ROS."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from edge.drive.schema import message_class, missing
from edge.errors import SourceDamaged

if TYPE_CHECKING:
    from mcap.records import Schema

Kind = Literal["video", "image", "raw"]
Parse = Callable[["Schema", bytes], Any]

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
        return parse(schema, content)
    except ImportError as error:
        raise missing(error) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, AssertionError) as error:
        raise SourceDamaged(f"{what} is damaged: {error}") from error


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
    return SimpleNamespace(**{**fields, "data": base64.b64decode(fields["data"], validate=True)})


def _from_ros1(schema: Schema, content: bytes) -> Any:
    store, name = _ros_store("ROS1_NOETIC", schema.name, schema.data)
    return _deserialized(store.deserialize_ros1, content, name)


def _from_cdr(schema: Schema, content: bytes) -> Any:
    store, name = _ros_store("LATEST", schema.name, schema.data)
    return _deserialized(store.deserialize_cdr, content, name)


def _deserialized(deserialize: Callable[[bytes, str], Any], content: bytes, name: str) -> Any:
    try:
        return deserialize(content, name)
    except Exception as error:  # its generated parsers let through whatever damaged bytes make of them
        raise ValueError(f"not a {name} ({error})") from error


@cache
def _ros_store(release: str, schema_name: str, definition: bytes) -> tuple[Any, str]:
    """The types of a release of ROS, with this one as its file defines it, and its name there."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    package, *_, kind = schema_name.split("/")
    store, name = get_typestore(Stores[release]), f"{package}/msg/{kind}"
    if name not in store.types:
        known = store.types
        types = get_types_from_msg(definition.decode(), name)
        store.register({key: value for key, value in types.items() if key not in known})
    return store, name


_PARSERS: dict[str, Parse] = {"protobuf": _from_protobuf, "json": _from_json, "ros1": _from_ros1, "cdr": _from_cdr}
ENCODINGS = tuple(_PARSERS)
