"""Output files, which get their final name when they are complete. Pipes, devices and `-` are written to directly."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edge.errors import OutputError

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
STDOUT = Path("-")  # as an output: standard output
_DESCRIPTOR = re.compile(r"/(?:proc/(?:self|thread-self|\d+)|dev)/fd/(\d+)")
_MAX_LINKS = 40  # as the kernel follows


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an OutputError that says what to do."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """The system's complaint about `path`, with the way out."""
    name = "standard output" if path == STDOUT else path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if path == STDOUT or path.is_char_device() or path.is_fifo():  # nothing was begun there
            return OutputError(f"{name}: no room is left where it leads to. What was written before stays there.")
        return OutputError(f"{name}: the disk is full. What was begun is removed. Free space, see: df -h {path.parent}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{name}: may not be written by this user. Name another place, or see: ls -ld {path.parent}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(f"{name}: expected a folder, got a file. Name another place.")
    if error.errno == errno.EPIPE:
        return OutputError(f"{name}: the program that reads it has ended")
    if error.errno == errno.EFBIG:
        return OutputError(
            f"{name}: has grown to the limit on a file's size. What was begun is removed. See: ulimit -f"
        )
    return OutputError(f"{name}: cannot be written: {error.strerror or error}")


def limit_command(path: Path, error: OSError) -> str:
    """The command that shows what ended the writing of `path`."""
    return "ulimit -f" if error.errno == errno.EFBIG else f"df -h {path.parent}"


def open_descriptor(path: Path) -> int | None:
    """The number of the open descriptor that a path stands for: 1 for `-` and /dev/stdout, 63 for /dev/fd/63; or None.

    Links are followed one by one: resolved as a whole, /dev/stdout is the file that a shell has redirected it to.
    """
    if path == STDOUT:
        return 1
    place = os.path.abspath(path)  # noqa: PTH100 Path.absolute keeps "..", Path.resolve follows links
    for _ in range(_MAX_LINKS):
        if match := _DESCRIPTOR.fullmatch(place):
            return int(match[1])
        try:
            target = Path(place).readlink()
        except OSError:  # no link
            return None
        place = os.path.normpath(Path(place).parent / target)
    return None


def refuse_terminal(path: Path) -> None:
    """Refuse to fill a terminal with the bytes of an image or a video.

    Raises:
        OutputError: the path leads to one.
    """
    descriptor = open_descriptor(path)
    if descriptor is not None and os.isatty(descriptor):
        raise OutputError(f"{path}: is a terminal, which shows no image. Pipe it, as into `| ffplay -`, or name a file")


class PendingFile:
    """An output that is being written. A regular file grows as `partial` beside its final name, and gets that name when
    it is committed; a link is followed, so that the file appears where it points. A pipe, a terminal or another
    character device, and `-`, which is standard output, take the bytes as they come.

    Attributes:
        path: as the user named it.
        partial: of a regular file.
        is_stream: whether the bytes go out as they come: there is no partial file.
    """

    def __init__(self, path: Path, *, grows: bool = False) -> None:
        """Makes the folder and tries the place, so that a bad one is known before any work is done. With `grows`, a
        regular file has its name from the start, and keeps what is in it whatever ends the program.

        Raises:
            OutputError: it cannot be written.
        """
        self.path = path
        self._descriptor = open_descriptor(path)
        with writing(path):
            self._final = _resolved(path)
            self.is_stream = self._descriptor is not None or _is_stream(path)
            self.partial = self._final.with_name(f".{self._final.name}.part")
            if self.is_stream:
                self._try_stream()
                return
            self._final.parent.mkdir(parents=True, exist_ok=True)
            _refuse_what_stays(self._final)
            self.is_stream = grows
            self.partial.touch()
            self.partial.unlink()  # nothing is left behind by a run that fails before it begins

    def _try_stream(self) -> None:
        """Without opening it: a pipe opens only once it has a reader."""
        if self._descriptor is not None:
            os.fstat(self._descriptor)
        elif not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def open(self) -> BinaryIO:
        """For writing, from the start. A pipe opens when it has a reader.

        Raises:
            OSError: it cannot be opened.
        """
        if self._descriptor is not None:
            return os.fdopen(os.dup(self._descriptor), "wb")  # shares the offset of what a shell has redirected
        return (self.path if self.is_stream else self.partial).open("wb")

    def commit(self) -> None:
        """Give the file its name, over an older one of that name, whose permissions it takes.

        Raises:
            OutputError: it cannot have that name, and has the one that is said.
        """
        if self.is_stream:
            return
        with suppress(OSError):  # none is there, or it belongs to another user
            shutil.copymode(self._final, self.partial)
        try:
            self.partial.replace(self._final)
        except OSError as error:  # its place changed while it was written, perhaps for hours
            raise OutputError(f"{output_error(self.path, error)} It is complete, and kept: {self._kept()}") from error

    def _kept(self) -> Path:
        """Where a complete file is whose name cannot be had: beside it as a-2.mp4, if it can be renamed at all."""
        names = (self._final.with_name(f"{self._final.stem}-{n}{self._final.suffix}") for n in itertools.count(2))
        with suppress(OSError):
            return self.partial.rename(next(name for name in names if not os.path.lexists(name)))
        return self.partial

    def discard(self) -> None:
        """Remove what was written; nothing where nothing was, and nothing of what has gone down a pipe."""
        if not self.is_stream:
            self.partial.unlink(missing_ok=True)


def dated(path: Path) -> Path:
    """A name of its own for each start of a service: `results-20261130T131542Z.jsonl` for `results.jsonl`, and for a
    folder one of that time inside it. What is no file or folder keeps its name.
    """
    if open_descriptor(path) is not None or (path.exists() and not (path.is_file() or path.is_dir())):
        return path
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for place in itertools.count(1):
        stamp = now if place == 1 else f"{now}-{place}"
        is_folder = path.is_dir() or not path.suffix
        name = path / stamp if is_folder else path.with_name(f"{path.stem}-{stamp}{path.suffix}")
        if not name.exists() and not name.with_name(f".{name.name}.part").exists():
            return name
    raise AssertionError  # count() does not end


def _resolved(path: Path) -> Path:
    """Where a regular file of that name is, or will be."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links: RuntimeError up to Python 3.12
        raise OutputError(f"{path}: is a link that leads to itself. See: ls -l {path}") from None


def _refuse_what_stays(path: Path) -> None:
    """Refuse a file that no other can replace, before hours of work are done for it.

    Raises:
        OutputError: it is immutable or append-only, or another user's in a folder such as /tmp.
    """
    try:
        folder, file = path.parent.stat(), path.stat()
    except FileNotFoundError:
        return
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, file.st_uid):
        raise OutputError(f"{path}: is another user's, who alone may replace it there. Name another file")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EPERM:  # a file that is read-only by its mode can be replaced, and says EACCES
            raise OutputError(
                f"{path}: is immutable or append-only, and cannot be replaced. Name another, or see: lsattr {path}"
            ) from error


def _is_stream(path: Path) -> bool:
    """Whether bytes written to it are gone: a pipe or a character device.

    Raises:
        OutputError: it is nothing that a file can be written to.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a folder; name a file in it")
    if stat.S_ISBLK(mode):
        raise OutputError(f"{path}: is a disk. Writing would destroy what is on it; name a file")
    if stat.S_ISSOCK(mode):
        raise OutputError(f"{path}: is a socket, which cannot be written as a file. Name a file, or a pipe")
    return not stat.S_ISREG(mode)


def prepare_folder(folder: Path) -> None:
    """Make a folder for images, one a frame.

    Raises:
        OutputError: it cannot be written, or has images already: those of a shorter run would stand among older ones.
    """
    if folder == STDOUT:
        raise OutputError(f"{folder}: is standard output, which takes one file; of many frames, name a folder")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = [entry.name for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in IMAGES]
        if held:
            raise OutputError(
                f"{folder}: holds {len(held)} images already, such as {min(held)}, which new ones would mix with."
                " Empty it, or name another folder."
            )
        probe = folder / ".edge-probe"
        probe.touch()
        probe.unlink()


def escaped(name: str) -> str:
    r"""A name that UTF-8 can hold: bytes of a file name that it cannot are written as \udcff, as Python shows them."""
    return name.encode(errors="backslashreplace").decode()


def write_text(path: Path, text: str) -> None:
    """The text, `escaped`, as a whole UTF-8 file, or no file."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """The bytes as a whole file, or no file; or down a pipe."""
    pending = PendingFile(path)
    try:
        with writing(path), pending.open() as file:
            file.write(content)
    except BaseException:  # Ctrl-C too: nothing half-written stays behind
        pending.discard()
        raise
    pending.commit()
