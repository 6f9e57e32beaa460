"""Paths that a config file names."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import socket
import stat
import struct
from itertools import islice
from pathlib import Path
from typing import Any

from edge.errors import ConfigError, OutputError

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SOCKET_BYTES = 107  # unix(7): sun_path
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expanded(key: str, text: str) -> Path:
    """The path that a config's `key` names: ~, ~USER, $NAME and ${NAME} are expanded, such as $CREDENTIALS_DIRECTORY.

    Raises:
        ConfigError: it is no path, or names a user or variable that does not exist. No message shows an address.
    """
    if not is_path(text):
        raise ConfigError(f"{key}: expected a path, got {shown(text)}")
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ConfigError(f"{key}: {text!r}: the environment variable {name} is not set; write the path itself")
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError as error:  # no such user, or a user without a home
        raise ConfigError(f"{key}: {text!r}: {error}") from error


def socket_path(key: str, text: str) -> Path:
    """The path of a Unix socket that a config's `key` names; nothing needs to be there yet.

    Raises:
        ConfigError: as `expanded`, it is too long for a socket, or something else lies there.
    """
    path = expanded(key, text)
    if (length := len(os.fsencode(path))) > _SOCKET_BYTES:
        raise ConfigError(f"{key}: expected a path of at most {_SOCKET_BYTES} bytes, got {length}")
    with contextlib.suppress(OSError):  # not there, or in a folder that this user may not look into
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{key}: {path}: something else lies there, which is not a socket")
    return path


def check_unheard(key: str, path: Path) -> None:
    """Refuse the path of a Unix socket on which a program listens: to take it would cut that program off.

    Raises:
        OutputError: one listens there now.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tried:
        try:
            tried.connect(str(path))
        except BlockingIOError:  # with more callers than it takes
            pass
        except OSError:  # none is there, or a killed service left it
            return
        else:
            pid, _, _ = struct.unpack("3i", tried.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if pid == os.getpid():  # of an output that is about to end
                return
    raise OutputError(f"{key}: {path}: another program listens there. Who has it: ss -xlp src {path}")


def is_path(text: str) -> bool:
    """Whether a text may be a path: not blank, printable, no address, and each of its parts at most 255 bytes."""
    fits = all(len(part.encode(errors="replace")) <= 255 for part in text.split("/"))
    return bool(text.strip()) and text.isprintable() and fits and not _ADDRESS.match(text)


def no_such_file(path: Path) -> str:
    """What to report of a file that does not exist: the name in its folder that is most like it, and what to type."""
    import difflib  # late: for a mistake alone

    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except (OSError, ValueError):  # no folder either, or a name with a NUL
        names = []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    meant = f"; did you mean {str(path.with_name(close[0]))!r}?" if close else "."
    return f"{path}: there is no such file{meant} Look at what is there: ls {shlex.quote(str(path.parent))}"


def check_private(key: str, path: Path, mode: int) -> None:
    """Refuse a file with a secret that others may read or replace, and warn of one that its group may change; `mode` is
    its st_mode.

    Raises:
        ConfigError: with what to type.
    """
    what = "read" if mode & stat.S_IROTH else "change" if mode & stat.S_IWOTH else ""
    if what:
        raise ConfigError(f"{key}: {path}: every user of this machine may {what} it. Run: chmod o-rwx {path}")
    if (folder := open_folder(path)) is not None:
        raise ConfigError(f"{key}: {path}: every user of this machine may replace it. Run: chmod o-w {folder}")
    if mode & stat.S_IWGRP:
        log.warning("%s: %s: every user of its group may change it. Run: chmod g-w %s", key, path, path)


def open_folder(path: Path) -> Path | None:
    """The folder of a file, or of what it is a link to, where every user may replace the file in it; else None."""
    for folder in (path.absolute().parent, path.resolve().parent):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # with the sticky bit, as /tmp has it: its owner alone
            return folder
    return None


def shown(value: Any) -> str:
    """A wrong value as it may stand in a log: of a text that may be an address or a secret, the length alone."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        plain = all(isinstance(item, (int, float)) for item in value) and len(value) <= 8
        return repr(value) if plain else f"a list of {len(value)}"
    if isinstance(value, str) and not re.fullmatch(r"[\w ./+-]{0,20}", value):
        return f"a text of {len(value)} characters"
    found = repr(value)
    return found if len(found) <= 80 else f"{found[:77]}..."


def make_folder(key: str, folder: Path) -> None:
    """Make a folder, for this user alone, where it is not there yet.

    Raises:
        ConfigError: it cannot be made, or may not be written by this user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{key}: {folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}: {folder}: may not be written by this user. See: ls -ld {folder}")
