from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import DataError
from edge.train.data import read_image


def test_an_image_larger_than_allowed_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MAX_MEGAPIXELS", "1")
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((1001, 1001), np.uint8))
    with pytest.raises(DataError, match=r"large.png: 1001x1001 is 1\.0 megapixels, expected at most 1\.0"):
        read_image(path)
