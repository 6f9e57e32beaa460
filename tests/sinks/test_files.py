from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import OutputError
from edge.sinks.files import PendingFile, output_error, write_text, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_written_as_a_whole_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "figures.json"
    write_text(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert names(path.parent) == ["figures.json"]


def test_a_text_takes_the_place_of_the_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_pending_file_leaves_nothing_before_it_is_begun(tmp_path: Path) -> None:
    PendingFile(tmp_path / "new" / "a.mp4")
    assert names(tmp_path / "new") == []


def test_a_pending_file_has_its_final_name_only_once_it_is_committed(tmp_path: Path) -> None:
    pending = PendingFile(tmp_path / "a.mp4")
    pending.partial.write_text("content")
    assert names(tmp_path) == [".a.mp4.part"]
    pending.commit()
    assert names(tmp_path) == ["a.mp4"]


def test_a_discarded_file_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    pending = PendingFile(tmp_path / "a.mp4")
    pending.partial.write_text("begun")
    pending.discard()
    pending.discard()
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "old"


def test_a_full_disk_leaves_neither_file_nor_rest(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(16)
    write_text(disk / "a.txt", "old")
    with pytest.raises(OutputError, match=rf"{disk}/a\.txt: the disk is full\. .*df -h {disk}"):
        write_text(disk / "a.txt", "x" * 100_000)
    assert names(disk) == ["a.txt"]
    assert (disk / "a.txt").read_text() == "old"


def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path, as_nobody: Callable) -> None:
    with as_nobody(), pytest.raises(OutputError, match=rf"may not be written by this user\. .*ls -ld {tmp_path}"):
        PendingFile(tmp_path / "a.mp4")
    with as_nobody(), pytest.raises(OutputError, match="may not be written"):
        PendingFile(tmp_path / "new" / "a.mp4")
    assert names(tmp_path) == []


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        PendingFile(tmp_path)
    with pytest.raises(OutputError, match="a file stands where a folder is wanted"):
        PendingFile(tmp_path / "file" / "a.mp4")


def test_a_folder_that_took_the_place_meanwhile_leaves_no_rest(tmp_path: Path) -> None:
    pending = PendingFile(tmp_path / "a.mp4")
    pending.partial.write_text("content")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(OutputError, match=r"a\.mp4: "):
        pending.commit()
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "may not be written by this user"),
        (errno.EROFS, "may not be written by this user"),
        (errno.ENOTDIR, "a file stands where a folder is wanted"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
def test_each_complaint_of_the_system_is_put_in_words(number: int, words: str) -> None:
    import os

    error = output_error(Path("/out/a.mp4"), OSError(number, os.strerror(number)))
    assert str(error).startswith(f"/out/a.mp4: {words}")


def test_our_own_complaint_is_not_wrapped_again() -> None:
    own = OutputError("said already")
    with pytest.raises(OutputError) as caught, writing(Path("a.mp4")):
        raise own
    assert caught.value is own


def test_what_is_no_complaint_of_the_system_passes() -> None:
    with pytest.raises(ZeroDivisionError), writing(Path("a.mp4")):
        _ = 1 / 0
