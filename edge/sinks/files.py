"""Files that appear under their final name only when they are complete."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import OutputError


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full. What was begun is removed. Free space, see: df -h {path.parent}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{path}: may not be written by this user. Name another place, or see: ls -ld {path.parent}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(f"{path}: a file stands where a folder is wanted. Name another place.")
    return OutputError(f"{path}: cannot be written: {error.strerror or error}")


class PendingFile:
    """A file being written beside its final name: `partial` while it grows, `path` once it is committed."""

    def __init__(self, path: Path) -> None:
        """Makes the folder and tries the place, so that a bad one is known before any work is done."""
        self.path = path
        self.partial = path.with_name(f".{path.name}.part")
        with writing(path):
            if path.is_dir():
                raise OutputError(f"{path}: is a folder; name a file in it")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.partial.touch()
            self.partial.unlink()  # nothing is left behind by a run that fails before it begins

    def commit(self) -> None:
        """Give the file its name, over an older one of that name.

        Raises:
            OutputError: it cannot be renamed; it is removed.
        """
        try:
            with writing(self.path):
                self.partial.replace(self.path)
        except OutputError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written; nothing where nothing was."""
        self.partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text as a whole file, or no file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The bytes as a whole file, or no file."""
    pending = PendingFile(path)
    try:
        with writing(path):
            pending.partial.write_bytes(content)
        pending.commit()
    except BaseException:  # Ctrl-C too: nothing half-written stays behind
        pending.discard()
        raise
