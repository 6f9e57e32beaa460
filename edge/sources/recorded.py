"""What a drive's masks, figures and further outputs say of its frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edge.drive.file import DriveFile, Message, Messages
from edge.drive.outputs import output_array, output_of
from edge.drive.schema import ABOUT, IMAGE_SCHEMA, MASKS, OLD_MASK_SCHEMA, OUTPUTS, RESULTS, message_class
from edge.errors import DataError, SourceDamaged
from edge.frame import Image, Letterbox
from edge.geometry.free_space import FreeSpace, free_space_from_json
from edge.geometry.lane import EgoLane, lane_from_json
from edge.indexed_png import decode_ids
from edge.instances import Instance, instances_from_json
from edge.maskcodec import decode_mask
from edge.outputs import Output
from edge.paths import shown


@dataclass(frozen=True)
class Recorded:
    """What was seen in a frame when it was recorded.

    Attributes:
        classes: uint8 (h, w) class ids at network size; see `letterbox`.
        letterbox: network pixels <-> frame pixels.
        frame: the camera's count, whose gaps are frames that were dropped.
        captured_ns: on the monotonic clock of the machine that recorded.
        age_ms: from capture to mask.
        shares: parts of the image by class.
        dropped: frames dropped until then.
        instances: its objects; None where they were not asked for.
        free_space, lane: the free road ahead and the car's lane in metres; None without a camera model.
        outputs: what else the engine gave, by name, without black bars; specs: what each of them is.
    """

    classes: Image
    letterbox: Letterbox
    frame: int
    captured_ns: int
    age_ms: float
    shares: Mapping[str, float]
    dropped: int
    instances: tuple[Instance, ...] | None = None
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    specs: Mapping[str, Output] = field(default_factory=dict)
    free_space: FreeSpace | None = None
    lane: EgoLane | None = None


class RecordedResults:
    """The results in the files of one drive, by the time of the frame that each belongs to."""

    def __init__(self, files: Sequence[DriveFile], name: str) -> None:
        self._name = name
        topics = {topic for file in files for topic in file.places if topic.startswith(OUTPUTS)}
        self._messages = {topic: Messages(files, topic) for topic in (MASKS, RESULTS, *sorted(topics))}

    def at(self, time_ns: int) -> Recorded | None:
        """What was seen in the frame of that time; None where nothing was.

        Raises:
            SourceDamaged: that cannot be read.
        """
        there = ((topic, messages.at_time(time_ns)) for topic, messages in self._messages.items())
        found = {topic: message for topic, message in there if message is not None}
        if MASKS not in found or RESULTS not in found:
            return None
        read = {topic: message.file.read(topic, message.place) for topic, message in found.items()}
        try:
            classes, box = _mask(found[MASKS].file, read[MASKS], self._name)
            figures = json.loads(read[RESULTS])
            outputs, specs = _outputs(found, read)
            known = _known(figures)
            instances = instances_from_json(figures["instances"]) if "instances" in figures else None
            free = free_space_from_json(figures["free_space"]) if "free_space" in figures else None
            lane = lane_from_json(figures["lane"]) if "lane" in figures else None
            return Recorded(
                classes, box, **known, instances=instances, outputs=outputs, specs=specs, free_space=free, lane=lane
            )
        except (DataError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise SourceDamaged(f"{self._name}: what was recorded with a frame is damaged: {error}") from error


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures that every result has.

    Raises:
        ValueError: one is of another kind.
        KeyError: one is missing.
    """
    counts = {name: figures[name] for name in ("frame", "captured_ns", "dropped")}
    numbers = {"age_ms": figures["age_ms"], **figures["shares"]}
    wrong = [name for name, value in counts.items() if not isinstance(value, int) or abs(value) >= 1 << 63]
    wrong += [name for name, value in numbers.items() if not isinstance(value, (int, float)) or not abs(value) < 1e300]
    if wrong:
        raise ValueError(f"{wrong[0]}: expected a number, got {shown({**counts, **numbers}[wrong[0]])}")
    return {**counts, "age_ms": figures["age_ms"], "shares": figures["shares"]}


def _outputs(
    found: Mapping[str, Message], read: Mapping[str, bytes]
) -> tuple[dict[str, NDArray[Any]], dict[str, Output]]:
    """The further outputs of a frame and what they are, by name."""
    arrays, specs = dict[str, NDArray[Any]](), dict[str, Output]()
    for topic, message in found.items():
        if (output := output_of(topic, message.file.channels[topic].metadata)) is not None:
            arrays[output.name], specs[output.name] = output_array(output, read[topic]), output
    return arrays, specs


def _parse(message: Any, content: bytes, what: str) -> None:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise SourceDamaged(f"{what} is damaged: {error}") from error


def _mask(file: DriveFile, content: bytes, name: str) -> tuple[Image, Letterbox]:
    """Class ids and where they lie on the frame: all over it, but in edge.Mask, which has bars."""
    message = message_class(OLD_MASK_SCHEMA if _is_old(file) else IMAGE_SCHEMA)()
    _parse(message, content, f"{name}: a mask")
    if not _is_old(file):
        classes = decode_ids(message.data)
        input_wh = (classes.shape[1], classes.shape[0])
        width, height = map(int, file.metadata[ABOUT]["size"].split("x"))
        return classes, Letterbox((width, height), input_wh, (0, 0, *input_wh))
    classes = decode_mask(message.data)
    x, y, width, height = message.content_xywh
    box = (x, y, width, height)
    return classes, Letterbox((message.source_width, message.source_height), classes.shape[::-1], box)


def _is_old(file: DriveFile) -> bool:
    return MASKS in file.schemas and file.schemas[MASKS].name == OLD_MASK_SCHEMA
