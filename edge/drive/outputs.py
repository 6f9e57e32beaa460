"""Further outputs in a drive: each on a topic of its own, whose channel says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import cv2
from numpy.typing import NDArray

from edge.arrays import decode_array, encode_array
from edge.card import output_from_json, output_to_json
from edge.drive.schema import ARRAY_SCHEMA, FRAME_ID, IMAGE_SCHEMA, OUTPUT, OUTPUTS, message_class
from edge.errors import DataError, EngineError
from edge.indexed_png import decode_ids
from edge.outputs import OUTPUT_NAME, Output
from edge.prediction import Prediction

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def output_channel(output: Output) -> dict[str, str]:
    """What the metadata of an output's channel say."""
    return {OUTPUT: output_to_json(output)}


def output_message(result: Prediction, output: Output, time_ns: int) -> bytes:
    """A foxglove.CompressedImage (PNG) of a map of bytes, an edge.Array of anything else; without the letterbox's
    black bars.

    Raises:
        DataError: the array is not as its card says.
    """
    array = result.content(output.name)
    if _is_image(output):
        message = message_class(IMAGE_SCHEMA)(frame_id=FRAME_ID, format="png")
        message.data = cv2.imencode(".png", array, _PNG)[1].tobytes()
    else:
        message = message_class(ARRAY_SCHEMA)(dtype=array.dtype.name, shape=array.shape)
        message.data = encode_array(array)
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()


def output_of(topic: str, channel: Mapping[str, str]) -> Output | None:
    """What a topic's messages are, by its channel's metadata; None where it is no further output's.

    Raises:
        DataError: the metadata are damaged.
    """
    name = topic.removeprefix(OUTPUTS)
    if not topic.startswith(OUTPUTS) or not re.fullmatch(OUTPUT_NAME, name) or OUTPUT not in channel:
        return None
    try:
        output = output_from_json(channel[OUTPUT], topic)
    except EngineError as error:
        raise DataError(str(error)) from error
    if output.name != name:
        raise DataError(f"{topic}: expected an output called {name}, got {output.name}")
    return output


def output_array(output: Output, content: bytes) -> NDArray[Any]:
    """The array in a message that `output_message` made.

    Raises:
        DataError: it is damaged, or of another kind.
    """
    from google.protobuf.message import DecodeError

    try:
        data = message_class(IMAGE_SCHEMA if _is_image(output) else ARRAY_SCHEMA).FromString(content).data
    except DecodeError as error:
        raise DataError(f"output {output.name}: {error}") from error
    return decode_ids(data) if _is_image(output) else decode_array(data, output.dtype, len(output.shape))


def _is_image(output: Output) -> bool:
    """As `edge.drive.schema.is_image` finds of a channel."""
    return output.dtype == "uint8" and len(output.shape) == 2
