from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="edge-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
