"""Labels from a teacher: what it is sure of, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
openvino = pytest.importorskip("openvino")

from edge.classes import CAMVID  # noqa: E402
from edge.errors import ConfigError, SourceError  # noqa: E402
from edge.train.recipe import Unlabelled  # noqa: E402
from edge.train.teacher import labels_of, pseudo_labelled, varied_frames  # noqa: E402
from edge.train.unions import Unions, parse_meaning  # noqa: E402

ROAD = 3
NOT_ROAD = parse_meaning("not Road", CAMVID)
UNIONS = Unions(CAMVID, [NOT_ROAD])


def plan(**changes: Any) -> Unlabelled:
    tree = {"drives": ("drive.avi",), "teacher": "teacher.xml", "map": {"0": "not Road", "1": "Road", "3": "Road"}}
    return Unlabelled.model_validate({**tree, "confidence": 0.8, "share": 0.1, **changes})


@pytest.mark.parametrize(
    ("probabilities", "wanted"),
    [
        ((0.9, 0.1, 0.0, 0.0), UNIONS.ids[NOT_ROAD]),
        ((0.1, 0.5, 0.0, 0.4), ROAD),  # two channels of one meaning add up
        ((0.3, 0.7, 0.0, 0.0), CAMVID.ignore_id),  # unsure
        ((0.05, 0.05, 0.9, 0.0), CAMVID.ignore_id),  # sure of what the map leaves out
    ],
)
def test_a_pixel_gets_the_meaning_that_the_teacher_is_sure_of(probabilities: tuple[float, ...], wanted: int) -> None:
    given = np.array(probabilities, np.float32)[:, None, None]
    assert labels_of(given, plan(), UNIONS)[0, 0] == wanted


def test_a_channel_that_the_teacher_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected channels 0 to 1, got '3'"):
        labels_of(np.ones((2, 1, 1), np.float32), plan(), UNIONS)


def make_drive(path: Path, frames: int = 7) -> Path:
    """Frames whose left half is dark, whose right half is light."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(frames):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, 32:] = 255
        writer.write(image)
    writer.release()
    return path


def make_teacher(path: Path) -> Path:
    """Takes light for channel 1, dark for channel 0."""
    ops = openvino.opset13
    light = ops.multiply(ops.reduce_mean(image := ops.parameter([1, 3, 24, 32]), [1], True), np.float32(1 / 255))
    both = ops.concat([ops.subtract(np.float32(1), light), light], 1)
    openvino.save_model(openvino.Model([both], [image]), str(path), compress_to_fp16=False)
    return path


def test_frames_of_a_drive_are_labelled_at_network_size(tmp_path: Path) -> None:
    wish = plan(
        drives=(str(make_drive(tmp_path / "drive.avi")),),
        teacher=str(make_teacher(tmp_path / "teacher.xml")),
        map={0: "not Road", 1: "Road"},
        frames=3,
    )
    pairs = pseudo_labelled(wish, UNIONS, (64, 64))
    assert len(pairs) == 3
    image, labels = pairs[0]
    assert image.shape == (64, 64, 3)
    assert (labels[:8] == CAMVID.ignore_id).all()  # the letterbox's bars
    assert (labels[8:56, :24] == UNIONS.ids[NOT_ROAD]).all()
    assert (labels[8:56, 40:] == ROAD).all()


def test_frames_that_differ_are_taken_and_no_more_than_there_are(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in [0] * 20 + [120] + [250] * 9:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    drive = str(tmp_path / "drive.avi")
    taken = [round(float(image.mean()), -1) for image in varied_frames(drive, 3)]
    assert taken == [0, 120, 250]  # evenly spaced ones would be dark, dark and light
    assert len(list(varied_frames(drive, 50))) == 30


def test_the_end_of_a_drive_is_held_out(tmp_path: Path) -> None:
    drive = make_drive(tmp_path / "drive.avi", 10)
    assert len(list(varied_frames(str(drive), 50, held_out=0.3))) == 7


def test_without_a_teacher_of_their_own_frames_have_no_labels(tmp_path: Path) -> None:
    drive = str(make_drive(tmp_path / "drive.avi"))
    pairs = pseudo_labelled(Unlabelled(drives=(drive,), frames=2, share=0.5), UNIONS, (64, 64))
    assert [set(labels.flat) for _, labels in pairs] == [{CAMVID.ignore_id}] * 2


def test_a_missing_teacher_a_missing_drive_and_a_camera_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher.xml: teacher not found"):
        pseudo_labelled(plan(teacher=str(tmp_path / "teacher.xml")), UNIONS, (64, 64))
    with pytest.raises(SourceError, match=r"drive.avi"):
        list(varied_frames(str(tmp_path / "drive.avi"), 3))
    with pytest.raises(ConfigError, match=r"is a camera\. Record a drive"):
        list(varied_frames("/dev/video0", 3))
