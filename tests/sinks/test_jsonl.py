from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stand_in import ROAD, SKY, result_of
from videos import open_files, picture

from edge.errors import OutputError
from edge.sinks.jsonl import JsonLines
from edge.timing import Stages

CLASSES = np.full((12, 16), SKY, np.uint8)
CLASSES[9:] = ROAD


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_many(path: Path) -> None:
    with JsonLines(path, Stages()) as sink:
        for index in range(1000):
            sink.write(result_of(index, CLASSES, image=picture(0)), 0)


def test_each_result_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with JsonLines(path, Stages()) as sink:
        sink.write(result_of(3, CLASSES, image=picture(0), media_ns=100_000_000), 0)
        sink.write(result_of(5, CLASSES, image=picture(0), captured_ns=7_000_000_001), 2)
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["shares"].pop("Road") == 0.25
    assert first["shares"].pop("Sky") == 0.75
    assert set(first.pop("shares").values()) == {0.0}
    assert first == {"frame": 3, "media_s": 0.1, "captured_ns": 5_000_000_000, "age_ms": 20.0, "dropped": 0}
    assert (second["frame"], second["media_s"], second["captured_ns"], second["dropped"]) == (5, None, 7_000_000_001, 2)


def test_the_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    sink = JsonLines(path, Stages())
    assert names(tmp_path) == []
    with sink:
        sink.write(result_of(0, CLASSES, image=picture(0)), 0)
        assert names(tmp_path) == [".results.jsonl.part"]
    assert names(tmp_path) == ["results.jsonl"]
    assert open_files(tmp_path) == []


def test_a_file_that_grows_holds_each_line_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with JsonLines(path, Stages(), grows=True) as sink:
        sink.write(result_of(0, CLASSES, image=picture(0)), 0)
        assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [0]
    assert names(tmp_path) == ["results.jsonl"]


def test_without_a_frame_the_file_is_empty(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "results.jsonl", Stages()):
        pass
    assert (tmp_path / "results.jsonl").read_text() == ""


def test_another_ones_error_leaves_the_lines_that_were_written(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "results.jsonl", Stages()).__enter__()
    sink.write(result_of(0, CLASSES, image=picture(0)), 0)
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("size_kib", [4, 8, 20])
def test_a_full_disk_is_told_and_nothing_is_left(size_kib: int, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(size_kib)
    with pytest.raises(OutputError, match=rf"{disk}/results\.jsonl: the disk is full"):
        write_many(disk / "results.jsonl")
    assert names(disk) == []
    assert open_files(disk) == []


def test_a_disk_that_is_full_only_when_the_last_lines_are_flushed_is_told_too(
    small_disk: Callable[[int], Path],
) -> None:
    disk = small_disk(4)
    sink = JsonLines(disk / "results.jsonl", Stages()).__enter__()
    (disk / "other").write_bytes(b"x" * 4096)
    sink.write(result_of(0, CLASSES, image=picture(0)), 0)  # lies in the buffer
    with pytest.raises(OutputError, match="the disk is full"):
        sink.__exit__(None, None, None)
    assert names(disk) == ["other"]
    assert open_files(disk) == []


def test_a_place_that_may_not_be_written_is_known_before_the_first_frame(tmp_path: Path, as_nobody: Callable) -> None:
    with as_nobody(), pytest.raises(OutputError, match="may not be written by this user"):
        JsonLines(tmp_path / "results.jsonl", Stages())
    with pytest.raises(OutputError, match="is a folder"):
        JsonLines(tmp_path, Stages())
    assert names(tmp_path) == []
