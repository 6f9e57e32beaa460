from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

NOBODY = 65534


class AsNobody(Protocol):
    def __call__(self) -> AbstractContextManager[None]: ...


@pytest.fixture
def as_nobody() -> AsNobody:
    """Root may read everything; within this block the process is somebody who may not."""

    @contextmanager
    def become() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return become


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="edge-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
