from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SmallDisk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Makes a disk of so many KiB: `small_disk(64)` is its folder. A real one, which takes root to mount."""
    disks: list[Path] = []

    def make(size_kib: int) -> Path:
        folder = tmp_path / f"disk-{len(disks)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a small disk cannot be mounted here: {getattr(error, 'stderr', error)}")
        disks.append(folder)
        return folder

    yield make
    for disk in disks:
        subprocess.run(["umount", str(disk)], check=True)
