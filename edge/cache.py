"""What can be computed again, kept in the user's cache directory: files of the owner alone, whole, sealed, few.

What is kept may be machine code in effect: whoever can write it runs what they like.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SEAL_BYTES = hashlib.sha256().digest_size


def cache_folder(kind: str) -> Path:
    """$XDG_CACHE_HOME/edge/KIND, or ~/.cache/edge/KIND; it need not be there yet. A user who has no home, as an unknown
    one in a container, gets a place where nothing can be kept.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(root) if Path(root).is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:  # neither $HOME nor an entry in passwd
        home = Path(os.devnull)
    return home / "edge" / kind


def key_of(*parts: object) -> str:
    """64 hex digits for a file's name, over all that its content depends on, which JSON takes."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def seal_of(path: Path, content: bytes | memoryview) -> bytes:
    """The file's last `SEAL_BYTES`. Over its name too, which is a key: so that none is taken for another."""
    digest = hashlib.sha256(path.name.encode())
    digest.update(content)
    return digest.digest()


def is_private(status: os.stat_result) -> bool:
    """Whether only this user, and root, may write it."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def may_be_trusted(file: IO[bytes], path: Path) -> bool:
    """Whether only this user, and root, can have written the open file or put it into its folder."""
    return is_private(os.fstat(file.fileno())) and is_private(path.parent.stat())


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` when the block is left in order.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(part, "wb") as file:
            yield file
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def evict_lru(folder: Path, suffix: str, kept: int) -> list[Path]:
    """Delete the files that were not used for longest, by their times, but for so many; which went."""
    by_age = sorted(folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[kept:]:
        path.unlink(missing_ok=True)
    return by_age[kept:]
