"""What other cameras do to an image, done to training frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

pytest.importorskip("torch")

from edge.frame import Image
from edge.train.augment import (
    add_noise,
    blur_along,
    darken,
    lower_resolution,
    recompress,
    vary_colour,
    vary_light,
    warp,
)
from edge.train.lens import add_drops, add_glare, borrow_style, expose, through_h264
from edge.train.recipe import Augmentation

CAMERAS: dict[str, Callable[[Image, Generator], Image]] = {
    "night": darken,
    "motion blur": blur_along,
    "low resolution": lower_resolution,
    "jpeg": recompress,
    "noise": lambda image, rng: add_noise(image, 5, rng),
    "colour": lambda image, rng: vary_colour(image, 0.4, rng),
    "exposure": expose,
    "glare": add_glare,
    "drops": add_drops,
    "h264": through_h264,
    "style": lambda image, rng: borrow_style(image, np.full((60, 70, 3), (40, 90, 160), np.uint8), rng),
}
every_camera = pytest.mark.parametrize("name", CAMERAS)


def checkered(low: int = 60, high: int = 200) -> Image:
    rows, columns = np.indices((90, 120)) // 4
    return np.repeat(np.where((rows + columns) % 2, high, low).astype(np.uint8)[..., None], 3, 2)


def detail(image: Image) -> float:
    return float(np.abs(np.diff(image.astype(int), axis=1)).mean())


@every_camera
@pytest.mark.parametrize("seed", range(5))
def test_a_camera_changes_an_image_and_not_its_form(name: str, seed: int) -> None:
    image = checkered()
    changed = CAMERAS[name](image, np.random.default_rng(seed))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, checkered())  # the frame itself is used again


@every_camera
@pytest.mark.parametrize("seed", range(3))
def test_a_camera_leaves_the_bars_of_a_letterbox_black(name: str, seed: int) -> None:
    changed = CAMERAS[name](np.zeros((90, 120, 3), np.uint8), np.random.default_rng(seed))
    assert changed.max() <= 1  # a codec may round


@pytest.mark.parametrize("seed", range(5))
def test_night_is_darker_and_blur_and_low_resolution_lose_detail(seed: int) -> None:
    image = checkered()
    assert darken(image, np.random.default_rng(seed)).mean() < 0.8 * image.mean()
    for lose in (blur_along, lower_resolution):
        assert detail(lose(image, np.random.default_rng(seed))) < detail(image)


def test_the_new_ways_are_off_unless_a_recipe_asks() -> None:
    plan = Augmentation(colour=0.0, blur=0.0, noise=0.0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(vary_light(checkered(), plan, rng, checkered()), checkered())


def test_ways_that_are_off_draw_no_random_number() -> None:
    rng, other = (np.random.default_rng(7) for _ in range(2))
    vary_light(checkered(), Augmentation(colour=0.4, blur=0.0, noise=0.0), rng, checkered())
    vary_colour(checkered(), 0.4, other)
    other.random(2)  # blur and noise, which came first, draw theirs all the same
    assert rng.random() == other.random()


@pytest.mark.parametrize("name", ["exposure", "glare", "drops", "h264", "style"])
def test_a_way_that_a_recipe_asks_for_happens(name: str) -> None:
    plain = Augmentation(colour=0.0, blur=0.0, noise=0.0)
    asked = plain.model_copy(update={name: 1.0})
    assert not np.array_equal(checkered(), vary_light(checkered(), asked, np.random.default_rng(7), 200 - checkered()))


def test_glare_leaves_no_black_dots_of_the_scene() -> None:
    image = checkered()
    image[10, 10] = image[40:42, 50:53] = 0
    assert add_glare(image, np.random.default_rng(1)).min() > 0


def test_a_frame_of_odd_size_goes_through_h264() -> None:
    image = checkered()[:89, :119]
    changed = through_h264(image, np.random.default_rng(0))
    assert changed.shape == image.shape
    assert np.abs(changed.astype(int) - image).mean() < 40


def test_a_frame_takes_the_colours_of_another_and_keeps_its_form() -> None:
    rng = np.random.default_rng(4)
    warm = rng.integers(0, 60, (60, 70, 3), np.uint8) + np.array([20, 80, 150], np.uint8)
    changed = borrow_style(checkered(), warm, rng)
    assert changed[..., 2].mean() > changed[..., 0].mean() + 20  # grey before
    assert detail(changed) > 0.2 * detail(checkered())


@pytest.mark.parametrize("seed", range(8))
def test_image_and_labels_nod_together(seed: int) -> None:
    plan = Augmentation(scale=(1.0, 1.0), aspect=1.0, rotation_deg=0.0, flip=0.0, pitch_deg=12.0)
    labels = np.zeros((90, 120), np.uint8)
    labels[45:] = 1
    image = np.repeat(labels[..., None] * 200 + 50, 3, 2).astype(np.uint8)
    moved, moved_labels = warp((image, labels), plan, 11, np.random.default_rng(seed))
    inside = moved_labels != 11
    agree = (moved[..., 0] > 150) == (moved_labels == 1)
    assert inside.mean() > 0.5
    assert agree[inside].mean() > 0.97  # all but the edge
    assert not np.array_equal(moved_labels, labels)
