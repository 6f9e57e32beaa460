"""Files that others name, opened only where they are regular files: else a pipe is waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

IMAGE_BYTES = 1 << 28  # of an image of 8K, uncompressed
TEXT_BYTES = 1 << 26  # of a report or list, which in memory takes about ten times as much


def open_regular(path: Path) -> BinaryIO:
    """A file, open for reading in binary; links are followed.

    Raises:
        OSError: it cannot be opened, or is a folder, pipe, socket or device, which `strerror` says.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: a pipe opens without a writer
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"expected a file, got a {_kind(mode)}", str(path))
    except OSError:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb")


def read_regular(path: Path, limit_bytes: int = IMAGE_BYTES) -> bytes:
    """All bytes of a file, which may have at most `limit_bytes`.

    Raises:
        OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        # Not all that is allowed at once: memory is taken for what is asked for, before it is read.
        content = b"" if size_bytes > limit_bytes else file.read(size_bytes + 1)
        if len(content) > size_bytes:  # it grows, or says 0, as those of /proc do
            content += file.read(limit_bytes - size_bytes)
    if max(size_bytes, len(content)) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes, which is not to be expected of it", str(path))
    return content


def _kind(mode: int) -> str:
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
