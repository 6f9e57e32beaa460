"""What a check says, and where it reads from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what was looked at; found: what was there.
        level: "ok"; "note" for what works but could be better or is missing and not needed; "problem" for what makes
            some part of edge fail or fall behind.
        fix: the command to type; "" where nothing is to be done.
    """

    about: str
    found: str
    level: Level = "ok"
    fix: str = ""


@dataclass(frozen=True)
class Host:
    """A machine to look at: its files, below `root`, and what the probes of its libraries reported.

    `facts` holds a mapping per probe (`edge.doctor.probe`); one with the key "error" is of a probe that failed.
    """

    root: Path = Path("/")
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def path(self, name: str | Path) -> Path:
        """The path of an absolute name, below the root."""
        return self.root / str(name).lstrip("/")

    def text(self, name: str | Path) -> str:
        """A small file's text without blanks and zeros around it; "" where it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
        except OSError:  # absent, forbidden, or a sensor that is asleep: sysfs then answers EAGAIN or EINVAL
            return ""

    def number(self, name: str | Path) -> int | None:
        """A file that holds a whole number; None where it cannot be read or holds something else, such as "max"."""
        text = self.text(name)
        return int(text) if text.removeprefix("-").isdecimal() else None

    def exists(self, name: str | Path) -> bool:
        """Whether it is there, and in folders that this user may look into."""
        try:
            self.path(name).stat()
        except OSError:
            return False
        return True

    def glob(self, pattern: str) -> list[Path]:
        """Absolute names, as without a root, that match an absolute pattern; sorted."""
        found = self.root.glob(pattern.lstrip("/"))
        return sorted((Path("/", path.relative_to(self.root)) for path in found), key=_natural)

    @property
    def is_jetson(self) -> bool:
        """By Linux for Tegra's release file, or by the board's name in the device tree."""
        return bool(self.text("/etc/nv_tegra_release")) or "Jetson" in self.text("/proc/device-tree/model")

    @property
    def in_container(self) -> bool:
        """Docker's or Podman's, which leave a file that says so."""
        return self.exists("/.dockerenv") or self.exists("/run/.containerenv")

    @property
    def cores(self) -> int:
        """Processors that this process may run on."""
        return len(os.sched_getaffinity(0))


def in_virtual_environment() -> bool:
    """Whether this Python's packages are apart from the system's (PEP 405)."""
    return sys.prefix != sys.base_prefix


def _natural(path: Path) -> tuple[int, str]:
    """video2 before video10."""
    return len(path.name), str(path)
