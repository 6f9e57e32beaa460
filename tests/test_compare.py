"""The comparison with what people use measures what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks import compare
from edge.sources.scene import SceneSource


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """A short video, and the rendered street's own labels of its frames."""
    folder = tmp_path_factory.mktemp("drive")
    video, labels = folder / "drive.mp4", []
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (320, 240))
    street = SceneSource("scene:street?seed=7&frames=6&size=320x240")
    for frame in street:
        writer.write(frame.image)
        labels.append(folder / f"{frame.index}.png")
        cv2.imwrite(str(labels[-1]), street.truth(frame.index)[0])
    writer.release()
    return str(video), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "OpenCV loop, edge's graph"])
def test_a_contender_finds_the_road_and_writes_every_frame(
    name: str, drive: tuple[str, list[Path]], tmp_path: Path
) -> None:
    video, labels = drive
    measure = compare.Measure(labels)
    compare.CONTENDERS[name](video, tmp_path / "out.mp4", Path(), measure)
    assert measure.frames == len(labels)
    assert measure.iou > 0.6
    written = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == len(labels)


def test_lines_are_those_that_a_user_writes() -> None:
    assert compare.lines_of(compare.edge_run) == 1
    assert compare.lines_of(compare.opencv_loop) == compare.lines_of(compare.intel_loop) > 10
