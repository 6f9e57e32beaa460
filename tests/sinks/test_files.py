from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.errors import OutputError
from edge.sinks.files import PendingFile, dated, open_descriptor, output_error, prepare_folder, write_text, writing


@contextmanager
def with_attribute(path: Path, attribute: str) -> Iterator[None]:
    """Of ext4 and its like: i, immutable, or a, append-only; root alone may set them."""
    if subprocess.run(["chattr", f"+{attribute}", path], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("chattr takes root and a disk that has attributes")
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{attribute}", path], check=True)


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
    with pytest.raises(OutputError, match="expected a folder, got a file"):
        PendingFile(tmp_path / "file" / "a.mp4")


def test_a_file_whose_name_was_taken_meanwhile_is_kept_and_said_where(tmp_path: Path) -> None:
    for name in ("a-2.mp4", "a-3.mp4"):
        pending = PendingFile(tmp_path / "a.mp4")
        pending.partial.write_text("content")
        (tmp_path / "a.mp4").mkdir()
        with pytest.raises(OutputError, match=rf"a\.mp4: .*It is complete, and kept: {tmp_path}/{name}"):
            pending.commit()
        assert (tmp_path / name).read_text() == "content"
        (tmp_path / "a.mp4").rmdir()
    assert names(tmp_path) == ["a-2.mp4", "a-3.mp4"]


@pytest.mark.parametrize("attribute", ["i", "a"])
def test_a_file_that_cannot_be_replaced_is_refused_before_any_work(tmp_path: Path, attribute: str) -> None:
    (tmp_path / "a.mp4").touch()
    with with_attribute(tmp_path / "a.mp4", attribute), pytest.raises(OutputError, match=r"lsattr .*a\.mp4"):
        PendingFile(tmp_path / "a.mp4")


@pytest.mark.parametrize("attribute", ["i", "a"])
def test_a_file_that_cannot_be_replaced_any_more_costs_nothing_of_what_was_written(
    tmp_path: Path, attribute: str
) -> None:
    (tmp_path / "a.mp4").write_text("old")
    pending = PendingFile(tmp_path / "a.mp4")
    pending.partial.write_text("content")
    with with_attribute(tmp_path / "a.mp4", attribute), pytest.raises(OutputError, match=r"kept: .*a-2\.mp4"):
        pending.commit()
    assert [(tmp_path / name).read_text() for name in ("a.mp4", "a-2.mp4")] == ["old", "content"]


def test_in_a_folder_that_may_only_grow_the_complete_file_is_said_by_the_name_it_has(tmp_path: Path) -> None:
    pending = PendingFile(tmp_path / "a.mp4")
    pending.partial.write_text("content")
    with with_attribute(tmp_path, "a"), pytest.raises(OutputError, match=r"kept: .*/\.a\.mp4\.part"):
        pending.commit()
    assert pending.partial.read_text() == "content"


def test_another_users_file_in_a_shared_folder_is_refused_before_any_work(as_nobody: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for this user alone
        shared = Path(folder, "a.mp4")
        shared.touch()
        shared.parent.chmod(0o1777)
        with as_nobody(), pytest.raises(OutputError, match="is another user's"):
            PendingFile(shared)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "may not be written by this user"),
        (errno.EROFS, "may not be written by this user"),
        (errno.ENOTDIR, "expected a folder, got a file"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
def test_each_complaint_of_the_system_is_put_in_words(number: int, words: str) -> None:
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


# ------------------------------------------------------------------------------------- what is no file of its own


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to("far/real.txt")
    write_text(link, "first")
    write_text(link, "second")
    assert link.is_symlink()
    assert (tmp_path / "far" / "real.txt").read_text() == "second"
    assert names(tmp_path / "far") == ["real.txt"]


def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match=r"b: (is a link that leads to itself|cannot be written: Too many levels)"):
        PendingFile(tmp_path / "b")


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        write_text(pipe, "line\n")
        assert reader.communicate(timeout=30)[0] == b"line\n"
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_device_takes_the_bytes_and_says_when_it_does_not() -> None:
    write_text(Path(os.devnull), "anything")
    with pytest.raises(OutputError, match="/dev/full: no room is left where it leads to"):
        write_text(Path("/dev/full"), "anything")
    assert Path(os.devnull).is_char_device()
    assert Path("/dev/full").is_char_device()


def test_a_pipe_that_is_no_longer_read_is_an_output_error(tmp_path: Path) -> None:
    code = "from pathlib import Path; from edge.sinks.files import write_text; write_text(Path('-'), 'x' * 10**6)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"OutputError: standard output: the program that reads it has ended" in process.stderr.read()


def test_standard_output_is_appended_to_where_the_shell_appends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    code = "from pathlib import Path; from edge.sinks.files import write_text; write_text(Path('{}'), 'after\\n')"
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        with log.open("a") as file:
            subprocess.run([sys.executable, "-c", code.format(name)], stdout=file, check=True, timeout=60)
    assert log.read_text() == "before\n" + 4 * "after\n"
    assert names(tmp_path) == ["log"]


@pytest.mark.parametrize(("name", "number"), [("-", 1), ("/dev/stderr", 2), ("/dev/fd/63", 63), ("./-", None)])
def test_a_descriptor_is_known_by_its_names(name: str, number: int | None, tmp_path: Path) -> None:
    assert open_descriptor(tmp_path / "-" if name == "./-" else Path(name)) == number


def test_a_socket_is_refused_and_stays(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OutputError, match="is a socket"):
            write_text(tmp_path / "socket", "x")
        assert (tmp_path / "socket").is_socket()


def test_permissions_of_the_file_that_was_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch(mode=0o600)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_not_utf8_is_escaped_in_a_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", os.fsdecode(b"drive-\xb3\xb5.mp4"))
    assert (tmp_path / "a.txt").read_text() == r"drive-\udcb3\udcb5.mp4"


def test_images_do_not_go_to_standard_output_one_by_one() -> None:
    with pytest.raises(OutputError, match="takes one file"):
        prepare_folder(Path("-"))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("results.jsonl", "results-20261130T131542Z.jsonl", "results-20261130T131542Z-2.jsonl"),
        ("masks", "masks/20261130T131542Z", "masks/20261130T131542Z-2"),
        ("-", "-", "-"),
        ("/dev/stdout", "/dev/stdout", "/dev/stdout"),
        ("/dev/null", "/dev/null", "/dev/null"),
    ],
)
def test_each_start_of_a_service_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: str, second: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *words: "20261130T131542Z")
    assert dated(Path(name)) == Path(first)
    if first != name:
        Path(first).parent.mkdir(exist_ok=True)
        Path(first).touch()
    assert dated(Path(name)) == Path(second)
