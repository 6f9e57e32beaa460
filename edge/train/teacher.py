"""Frames of unlabelled drives, labelled by another net where it is sure (distillation by hard, partial labels)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import data_path
from edge.errors import ConfigError, DataError
from edge.frame import Image, ResizePolicy
from edge.train.augment import Pair
from edge.train.data import fit_pair
from edge.train.recipe import Unlabelled
from edge.train.unions import Unions, parse_meaning


def pseudo_labelled(
    plan: Unlabelled, unions: Unions, input_wh: tuple[int, int], resize: ResizePolicy = "letterbox"
) -> list[Pair]:
    """Frames spread over the plan's drives, at network size, with the mask ids that the teacher gives them.

    Raises:
        ConfigError: the teacher is missing, OpenVINO is not installed, or the map does not fit its channels.
        DataError: a drive cannot be read.
    """
    infer = open_teacher(data_path(plan.teacher))
    pairs = []
    for drive in plan.drives:
        for image in spread_frames(data_path(drive), plan.frames):
            labels = labels_of(infer(image), plan, unions)
            labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            pairs.append(fit_pair(image, np.asarray(labels, np.uint8), unions.table.ignore_id, input_wh, resize))
    return pairs


def open_teacher(path: Path) -> Callable[[Image], NDArray[np.float32]]:
    """A function from uint8 (H, W, 3) BGR to probabilities, float32 (C, h, w).

    Raises:
        ConfigError: the file or OpenVINO is missing.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: teacher not found")
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(f"{path}: a teacher needs OpenVINO. Try: pip install openvino") from error
    core = openvino.Core()
    model: Any = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    height, width = model.input(0).shape[2:]

    def infer(image: Image) -> NDArray[np.float32]:
        fitted = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
        return np.asarray(model(fitted.transpose(2, 0, 1)[None].astype(np.float32))[0][0], np.float32)

    return infer


def spread_frames(drive: Path, count: int) -> Iterator[Image]:
    """Up to `count` frames of a video, at equal distances.

    Raises:
        DataError: it cannot be read, or holds no frame.
    """
    video = cv2.VideoCapture(str(drive))
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if not video.isOpened() or total < 1:
        raise DataError(f"{drive}: is not a readable video")
    places = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    for place in range(total):
        read, image = video.read()
        if not read:
            break
        if place in places:
            yield np.asarray(image, np.uint8)
    video.release()


def labels_of(probabilities: NDArray[np.float32], plan: Unlabelled, unions: Unions) -> Image:
    """uint8 (h, w) mask ids: the most probable meaning where it reaches the plan's confidence, ignored elsewhere.

    Raises:
        ConfigError: the map names a channel that the teacher does not have.
    """
    meanings = list(dict.fromkeys(plan.map.values()))
    sums = np.zeros((len(meanings), *probabilities.shape[1:]), np.float32)
    for channel, text in plan.map.items():
        if not channel.isdecimal() or int(channel) >= len(probabilities):
            raise ConfigError(f"unlabelled.map: expected channels 0 to {len(probabilities) - 1}, got {channel!r}")
        sums[meanings.index(text)] += probabilities[int(channel)]
    ids = np.array([unions.id_of(parse_meaning(text, unions.table)) for text in meanings], np.uint8)
    sure = sums.max(0) >= plan.confidence
    return np.where(sure, ids[sums.argmax(0)], np.uint8(unions.table.ignore_id))
