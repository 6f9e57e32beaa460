from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, SKY, result_of
from videos import picture

from edge.errors import OutputError
from edge.sinks.masks import MaskFiles
from edge.timing import Stages


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_many(folder: Path) -> None:
    """A hundred masks that no PNG encoder can make small."""
    chance = np.random.default_rng(0)
    with MaskFiles(folder, Stages()) as sink:
        for index in range(100):
            classes = chance.integers(0, 256, (96, 128), np.uint8)
            sink.write(result_of(index, classes, image=picture(0, (128, 96))), 0)


def test_a_mask_is_a_one_channel_png_of_class_ids_at_the_size_of_the_picture(tmp_path: Path) -> None:
    classes = np.full((12, 16), SKY, np.uint8)
    classes[6:] = ROAD
    classes[4:8, 3:5] = PEDESTRIAN
    with MaskFiles(tmp_path / "masks", Stages()) as sink:
        sink.write(result_of(0, classes, image=picture(0)), 0)
    mask = cv2.imread(str(tmp_path / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (48, 64)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, classes.repeat(4, axis=0).repeat(4, axis=1))


def test_any_class_id_survives(tmp_path: Path) -> None:
    classes = np.arange(192, dtype=np.uint8).reshape(12, 16) + 64
    with MaskFiles(tmp_path, Stages()) as sink:
        sink.write(result_of(0, classes, image=np.zeros((12, 16, 3), np.uint8)), 0)
    assert np.array_equal(cv2.imread(str(tmp_path / "000000.png"), cv2.IMREAD_UNCHANGED), classes)


def test_each_mask_is_named_after_the_index_of_its_frame(tmp_path: Path) -> None:
    classes = np.zeros((12, 16), np.uint8)
    with MaskFiles(tmp_path, Stages()) as sink:
        for index in (0, 3, 12, 1_000_000):
            sink.write(result_of(index, classes, image=picture(0)), 0)
    assert names(tmp_path) == ["000000.png", "000003.png", "000012.png", "1000000.png"]


def test_frames_of_several_sizes_have_masks_of_their_own_size(tmp_path: Path) -> None:
    classes = np.zeros((12, 16), np.uint8)
    with MaskFiles(tmp_path, Stages()) as sink:
        sink.write(result_of(0, classes, image=picture(0, (64, 48))), 0)
        sink.write(result_of(1, classes, image=picture(0, (33, 77))), 0)
    assert cv2.imread(str(tmp_path / "000001.png"), cv2.IMREAD_UNCHANGED).shape == (77, 33)


@pytest.mark.parametrize("name", ["000000.png", "drive-7.JPG"])
def test_a_folder_that_holds_images_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(OutputError, match="holds 1 images already"):
        MaskFiles(tmp_path, Stages())
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_folder_that_holds_something_else_takes_masks(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with MaskFiles(tmp_path, Stages()) as sink:
        sink.write(result_of(0, np.full((12, 16), ROAD, np.uint8), image=picture(0)), 0)
    assert names(tmp_path) == ["000000.png", "notes.txt"]


def test_a_full_disk_is_told_and_no_mask_is_left_half_written(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64)
    with pytest.raises(OutputError, match=r"\.png: the disk is full"):
        write_many(disk / "masks")
    written = len(names(disk / "masks"))
    assert 1 <= written < 100
    assert names(disk / "masks") == [f"{index:06d}.png" for index in range(written)]
    for path in (disk / "masks").iterdir():
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (96, 128)


def test_a_folder_that_may_not_be_written_is_known_before_the_first_frame(tmp_path: Path, as_nobody: Callable) -> None:
    with as_nobody(), pytest.raises(OutputError, match="may not be written by this user"):
        MaskFiles(tmp_path, Stages())
    assert names(tmp_path) == []


def test_a_file_is_no_folder_for_masks(tmp_path: Path) -> None:
    (tmp_path / "masks").touch()
    for place in (tmp_path / "masks", tmp_path / "masks" / "deeper"):
        with pytest.raises(OutputError, match="expected a folder, got a file"):
            MaskFiles(place, Stages())


def test_a_folder_that_vanishes_is_an_output_error(tmp_path: Path) -> None:
    sink = MaskFiles(tmp_path / "masks", Stages())
    (tmp_path / "masks").rmdir()
    with pytest.raises(OutputError, match=r"000007\.png: cannot be written: No such file or directory"):
        sink.write(result_of(7, np.zeros((12, 16), np.uint8), image=picture(0)), 0)


def test_encoding_and_writing_are_timed(tmp_path: Path) -> None:
    stages = Stages()
    with MaskFiles(tmp_path, stages) as sink:
        sink.write(result_of(0, np.zeros((12, 16), np.uint8), image=picture(0)), 0)
    assert {name: times.count for name, times in stages.by_name.items()} == {"encode": 1, "write": 1}
