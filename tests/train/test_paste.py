"""Objects pasted into frames: where they stand, how large they are, and what their pixels are labelled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edge.classes import CAMVID
from edge.errors import DataError
from edge.train.paste import Paster, load_cutouts
from edge.train.plans import Pasted

ROAD, SKY, PEDESTRIAN = 3, 0, 9
HORIZON = 60


@pytest.fixture
def plan(tmp_path: Path) -> Pasted:
    """One image with three objects: one that stands, one that is cut off below, one that is too small."""
    for name in ("frames", "instances"):
        (tmp_path / name).mkdir()
    image, ids = np.full((200, 200, 3), 30, np.uint8), np.zeros((200, 200), np.uint8)
    ids[20:140, 20:60], ids[100:200, 100:130], ids[10:30, 150:160] = 1, 2, 3
    image[ids == 1] = (0, 0, 250)
    cv2.imwrite(str(tmp_path / "frames" / "a.png"), image)
    cv2.imwrite(str(tmp_path / "instances" / "a.png"), ids)
    return Pasted(
        frames=str(tmp_path / "frames"),
        instances=str(tmp_path / "instances"),
        label="Pedestrian",
        on=("Road",),
        chance=1.0,
        most=1,
        height_m=(1.7, 1.7),
        camera_height_m=(1.7, 1.7),
    )


def street() -> tuple[np.ndarray, np.ndarray]:
    labels = np.full((240, 320), SKY, np.uint8)
    labels[HORIZON:] = ROAD
    return np.full((240, 320, 3), 90, np.uint8), labels


def test_only_objects_that_are_whole_and_large_are_taken(plan: Pasted) -> None:
    (cutout,) = load_cutouts(plan)
    assert cutout.mask.shape == (120, 40)
    assert (cutout.image == (0, 0, 250)).all()


@pytest.mark.parametrize("seed", range(20))
def test_an_object_as_tall_as_the_camera_is_high_ends_at_the_horizon(plan: Pasted, seed: int) -> None:
    image, labels = Paster(plan, CAMVID)(street(), np.random.default_rng(seed))
    rows = np.flatnonzero((labels == PEDESTRIAN).any(1))
    if not rows.size:  # its foot was within ten pixels of the horizon
        return
    assert abs(int(rows[0]) - HORIZON) <= 2
    reds = image[labels == PEDESTRIAN].astype(int)
    assert (reds[:, 2] > reds[:, 0] + 30).mean() > 0.9


def test_the_frame_that_is_pasted_into_is_left_as_it_is(plan: Pasted) -> None:
    pair = street()
    before = pair[0].copy(), pair[1].copy()
    views = [Paster(plan, CAMVID)(pair, np.random.default_rng(seed)) for seed in range(5)]
    assert any((labels == PEDESTRIAN).any() for _, labels in views)
    np.testing.assert_array_equal(pair[0], before[0])
    np.testing.assert_array_equal(pair[1], before[1])


def test_a_frame_without_ground_gets_no_objects(plan: Pasted) -> None:
    image, labels = street()
    labels[:] = SKY
    assert Paster(plan, CAMVID)((image, labels), np.random.default_rng(0))[0] is image


def test_a_mask_of_another_size_names_the_image(plan: Pasted) -> None:
    cv2.imwrite(f"{plan.instances}/a.png", np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match=r"a.png: expected an image with a mask of its size"):
        load_cutouts(plan)
