"""Paths that a config file names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expanded(key: str, text: str) -> Path:
    """The path that a config's `key` names: ~, ~USER, $NAME and ${NAME} are expanded, such as $CREDENTIALS_DIRECTORY.

    Raises:
        ConfigError: it is empty, holds a NUL, or names a user or variable that does not exist.
    """
    if not text.strip() or "\0" in text:
        raise ConfigError(f"{key}: expected a path, got {text!r}")
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ConfigError(f"{key}: {text!r}: the environment variable {name} is not set; write the path itself")
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError as error:  # no such user, or a user without a home
        raise ConfigError(f"{key}: {text!r}: {error}") from error


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
