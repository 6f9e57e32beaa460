"""Frames of unlabelled drives, chosen by content; labelled by another net where it is sure (hard, partial labels), or
left without labels for the soft ones of `edge.train.soft`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.backends.openvino import get_core
from edge.config import data_path, drive_name
from edge.content import CELL_WH, describe, most_different
from edge.errors import ConfigError
from edge.frame import Frame, Image, Letterbox, ResizePolicy
from edge.segmenter import Canvas
from edge.sources.open import is_camera, open_source
from edge.sources.seek import open_recording
from edge.sources.source import Source
from edge.train.augment import Pair
from edge.train.data import fit_pair
from edge.train.recipe import Unlabelled
from edge.train.unions import Unions, parse_meaning


def pseudo_labelled(
    plan: Unlabelled, unions: Unions, input_wh: tuple[int, int], resize: ResizePolicy = "letterbox"
) -> list[Pair]:
    """Frames of the plan's drives, at network size, with the mask ids that its teacher gives them; without labels where
    it has none.

    Raises:
        ConfigError: the teacher is missing, or the map does not fit its channels.
        SourceError: a drive cannot be read.
    """
    infer = open_teacher(data_path(plan.teacher)) if plan.teacher else None
    pairs = []
    for drive in plan.drives:
        for image in varied_frames(drive, plan.frames, plan.held_out):
            if infer is None:
                labels = np.full(image.shape[:2], unions.table.ignore_id, np.uint8)
            else:
                labels = labels_of(infer(image), plan, unions)
                labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            pairs.append(fit_pair(image, np.asarray(labels, np.uint8), unions.table.ignore_id, input_wh, resize))
    return pairs


def open_teacher(path: Path, threads: int = 1) -> Callable[[Image], NDArray[np.float32]]:
    """A function from uint8 (H, W, 3) BGR to probabilities, float32 (C, h, w).

    Raises:
        ConfigError: the file is missing or is not a net of that kind.
        EngineError: OpenVINO is not installed.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: teacher not found")
    core = get_core()
    try:
        model: Any = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_NUM_THREADS": threads})
    except RuntimeError as error:  # all that OpenVINO raises
        raise ConfigError(f"{path}: OpenVINO cannot read this teacher: {str(error).splitlines()[0]}") from error
    shape = model.input(0).partial_shape
    if len(model.inputs) != 1 or shape.is_dynamic or len(shape) != 4 or shape[1] != 3:
        raise ConfigError(f"{path}: expected a teacher with one input, (1, 3, h, w), got {shape}")
    height, width = model.input(0).shape[2:]

    def infer(image: Image) -> NDArray[np.float32]:
        fitted = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
        return np.asarray(model(fitted.transpose(2, 0, 1)[None].astype(np.float32))[0][0], np.float32)

    return infer


def varied_frames(drive: str, count: int, held_out: float = 0.0) -> Iterator[Image]:
    """Up to `count` frames of a drive, uint8 (H, W, 3) BGR: those that differ most in content and light
    (`edge.content`), in order. Of its end, the part `held_out` is not taken. The drive is read twice.

    Raises:
        ConfigError: it is a camera, whose frames do not come twice.
        SourceError: it cannot be read, or not to its end.
    """
    name = drive_name(drive)
    if is_camera(name):
        raise ConfigError(f"{drive}: is a camera. Record a drive and name that: edge record {drive} drive.mcap")
    with open_drive(name) as source:
        points = [_described(frame) for frame in source]
    points = points[: max(1, round(len(points) * (1 - held_out)))]
    places = set(most_different(np.stack(points), min(count, len(points)))[0])
    with open_drive(name) as source:
        for place, frame in enumerate(source):
            if place in places:
                yield frame.image.copy()
            if place == max(places):
                break


def _described(frame: Frame) -> NDArray[np.float32]:
    canvas = Canvas(Letterbox.fit(frame.size_wh, CELL_WH, "stretch"))
    canvas.draw(frame)
    return describe(canvas.image)


def open_drive(name: str) -> Source:
    """The drive from its first frame to its last; a rendered street on its recorded clock, alike every time."""
    return cast(Source, open_recording(name)) if name.startswith("scene:") else open_source(name)


def labels_of(probabilities: NDArray[np.float32], plan: Unlabelled, unions: Unions) -> Image:
    """uint8 (h, w) mask ids: the most probable meaning where it reaches the plan's confidence, ignored elsewhere.

    Raises:
        ConfigError: the map names a channel that the teacher does not have.
    """
    meanings = list(dict.fromkeys((plan.map or {}).values()))
    sums = np.zeros((len(meanings), *probabilities.shape[1:]), np.float32)
    for channel, text in (plan.map or {}).items():
        if not channel.isdecimal() or int(channel) >= len(probabilities):
            raise ConfigError(f"unlabelled.map: expected channels 0 to {len(probabilities) - 1}, got {channel!r}")
        sums[meanings.index(text)] += probabilities[int(channel)]
    ids = np.array([unions.id_of(parse_meaning(text, unions.table)) for text in meanings], np.uint8)
    sure = sums.max(0) >= plan.confidence
    return np.where(sure, ids[sums.argmax(0)], np.uint8(unions.table.ignore_id))
