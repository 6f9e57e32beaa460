"""Further heads: what they are taught, that they learn it, and that the net below them stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import edge
from edge.classes import CAMVID
from edge.config import load_yaml, parse_tree
from edge.errors import ConfigError
from edge.metrics import ThinScore
from edge.nets import make_net
from edge.nets.heads import Headed
from edge.train.head_frames import CURB, FIRST, MARKING, NO_OBJECT, SOME_OBJECT, UNKNOWN, read_known
from edge.train.head_plan import HeadFolder, HeadsPlan
from edge.train.heads import HeadTrainer, centre_loss, marking_loss, object_targets
from edge.train.loop import Trainer
from edge.train.recipe import Recipe

ROAD, CAR, PEDESTRIAN = 3, 8, 9


@pytest.mark.parametrize("size", [(360, 480), (288, 480), (200, 320), (268, 476), (270, 480), (33, 65)])
def test_maps_of_every_size_of_image_are_of_a_quarter_of_it(size: tuple[int, int]) -> None:
    headed = Headed(make_net("efficientnet_lite0_fine", len(CAMVID))).eval()
    with torch.no_grad():
        found = headed(torch.rand(1, 3, *size))
    assert {value.shape[-2:] for value in found} == {(-(-size[0] // 4), -(-size[1] // 4))}


def test_each_object_has_a_centre_and_offsets_that_point_there() -> None:
    known = np.zeros((64, 96), np.uint8)
    known[8:40, 10:22], known[8:40, 22:34] = FIRST, FIRST + 1
    heat, pull, weight, counts = object_targets(known)
    assert heat.shape == (16, 24)
    assert np.argwhere(heat == 1).tolist() == [[5, 3], [5, 6]]
    rows, columns = np.nonzero(weight)
    aims = {
        (round(float(c + pull[0, r, c]), 3), round(float(r + pull[1, r, c]), 3))
        for r, c in zip(rows, columns, strict=True)
    }
    assert aims == {((15.5 - 2) / 4, (23.5 - 2) / 4), ((27.5 - 2) / 4, (23.5 - 2) / 4)}
    assert counts.all()


def test_what_is_unknown_or_too_small_does_not_count() -> None:
    known = np.zeros((32, 32), np.uint8)
    known[:8, :8], known[8:16, :8], known[18:20, 18:20] = UNKNOWN, SOME_OBJECT, FIRST
    heat, _, weight, counts = object_targets(known)
    assert not heat.any()
    assert not weight.any()
    assert np.argwhere(~counts).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1], [4, 4]]


def test_perfect_maps_cost_hardly_anything_and_empty_ones_much() -> None:
    known = np.zeros((64, 96), np.uint8)
    known[8:40, 10:22], known[48:56] = FIRST, MARKING
    heat, _, _, counts = (torch.from_numpy(part)[None] for part in object_targets(known))
    right, wrong = torch.where(heat == 1, 12.0, -12.0), torch.full_like(heat, -12.0)
    assert float(centre_loss(right, heat, counts)) < 1e-3 < 5 < float(centre_loss(wrong, heat, counts))
    at_quarter = torch.from_numpy(known).float()[None, None, ::4, ::4]
    grades = torch.cat([(at_quarter == MARKING) * 24.0 - 12, torch.full_like(at_quarter, -12.0)], 1)
    truth = torch.from_numpy(known)[None]
    assert float(marking_loss(grades, truth)) < float(marking_loss(torch.full_like(grades, -12.0), truth)) / 2


@pytest.mark.parametrize("value", [UNKNOWN, NO_OBJECT])
def test_unknown_markings_cost_nothing(value: int) -> None:
    known = torch.full((1, 16, 16), value, dtype=torch.uint8)
    assert float(marking_loss(torch.ones(1, 2, 4, 4), known)) == 0


def test_f1_within_two_pixels_forgives_two_pixels_and_not_three() -> None:
    truth, unknown = np.zeros((20, 20), np.bool_), np.zeros((20, 20), np.bool_)
    truth[:, 5] = True
    for shift, plain, tolerant in ((0, 1.0, 1.0), (2, 0.0, 1.0), (3, 0.0, 0.0)):
        scores = ThinScore(0), ThinScore(2)
        for score in scores:
            score.add(truth, np.roll(truth, shift, axis=1), unknown)
        assert [score.f1 for score in scores] == [plain, tolerant]


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_region_that_can_only_be_one_person_is_one_and_a_crowd_is_of_unknown_number(tmp_path: Path) -> None:
    classes = np.full((96, 128), ROAD, np.uint8)
    classes[20:60, 10:25], classes[20:60, 50:110], classes[70:72] = PEDESTRIAN, PEDESTRIAN, CAMVID.ignore_id
    marks = np.zeros_like(classes)
    marks[80:82], marks[84:86] = MARKING, CURB
    folder = written(tmp_path, np.zeros((96, 128, 3), np.uint8), labels=classes, markings=marks)
    ((_, _, known),) = read_known(folder, CAMVID, (128, 96), "letterbox")
    assert set(known[20:60, 10:25].ravel()) == {FIRST}
    assert set(known[20:60, 50:110].ravel()) == {SOME_OBJECT}
    assert (known[71, 0], known[81, 0], known[85, 0]) == (UNKNOWN, MARKING, CURB)


def test_without_markings_these_are_unknown_and_objects_have_their_numbers(tmp_path: Path) -> None:
    objects = np.zeros((48, 64), np.uint8)
    objects[4:20, 4:12], objects[4:20, 30:40] = 7, 3
    folder = written(tmp_path, np.zeros((48, 64, 3), np.uint8), instances=objects)
    ((_, _, known),) = read_known(folder, CAMVID, (64, 48), "letterbox")
    assert (known[5, 5], known[5, 35], known[40, 40]) == (FIRST + 1, FIRST, NO_OBJECT)


def written(place: Path, image: np.ndarray, **masks: np.ndarray) -> HeadFolder:
    for name, content in {"frames": image, **masks}.items():
        (place / name).mkdir()
        cv2.imwrite(str(place / name / "a.png"), content)
    return HeadFolder(frames=str(place / "frames"), share=1, **{name: str(place / name) for name in masks})


# -------------------------------------------------------------------------------------------------------------- a run

RECIPE = """
name: tiny
net: efficientnet_lite0_fine
input_size: 128x96
train: [{{frames: {place}/frames, labels: {place}/labels}}]
val: {{frames: {place}/frames, labels: {place}/labels}}
optimisation: {{steps: 1, batch: 2, warmup_steps: 0, precision: fp32}}
checkpoint: {place}/net/last.pt
licence: Apache-2.0
data_note: drawn by a test
heads:
  train: [{{frames: {place}/frames, labels: {place}/labels, markings: {place}/markings, share: 0.5}}]
  rendered: {{streets: 1, frames: 2, share: 0.5}}
  optimisation: {{steps: {steps}, batch: 2, learning_rate: 0.01, warmup_steps: 0, ema_decay: 0, precision: fp32}}
  val: {{frames: {place}/frames, labels: {place}/labels, markings: {place}/markings, share: 1}}
  checkpoint: {place}/heads/last.pt
"""


def recipe_in(place: Path, steps: int) -> Recipe:
    path = place / "tiny.yaml"
    path.write_text(RECIPE.format(place=place, steps=steps))
    return load_yaml(path, Recipe)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A folder with a labelled frame."""
    rng = np.random.default_rng(0)
    classes = np.full((96, 128), ROAD, np.uint8)
    classes[20:60, 10:25] = PEDESTRIAN
    marks = np.zeros_like(classes)
    marks[80:84] = MARKING
    image = rng.integers(60, 90, (96, 128, 3)).astype(np.uint8)
    image[marks == MARKING] = 230
    written(tmp_path, image, labels=classes, markings=marks)
    return tmp_path


@pytest.fixture
def place(labelled: Path) -> Path:
    """That folder, with a net that was trained for one step."""
    list(Trainer(recipe_in(labelled, 1), labelled / "net").run())
    return labelled


@pytest.mark.train
@pytest.mark.slow
def test_heads_learn_resume_and_go_into_the_bundle_beside_a_net_that_did_not_move(place: Path) -> None:
    from edge.compile.export import make_bundle

    recipe = recipe_in(place, 12)
    first = HeadTrainer(recipe, place / "heads")
    losses = []
    for report in first.run():
        losses.append(report.loss)
        if report.step == 6:
            break
    resumed = HeadTrainer(recipe, place / "heads")
    assert resumed.step == 6
    losses += [report.loss for report in resumed.run()]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    plain = make_bundle(recipe.model_copy(update={"heads": None}), place / "net" / "last.pt", place / "plain")
    headed = make_bundle(recipe, place / "net" / "last.pt", place / "headed")
    assert [o.name for o in headed.card.outputs][2:] == ["centres", "offsets", "marking_grades"]
    assert plain.card.weights_sha256 != headed.card.weights_sha256
    image = np.random.default_rng(1).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    before, after = (next(iter(edge.segment(image, str(bundle.folder)))).semantic for bundle in (plain, headed))
    assert np.array_equal(before, after)
    (result,) = edge.segment(image, str(headed.folder), outputs=["instances", "markings"])
    assert set(result.outputs) == {"semantic", "instances", "markings"}


@pytest.mark.train
@pytest.mark.slow
def test_heads_of_another_net_are_refused(place: Path) -> None:
    recipe = recipe_in(place, 1)
    list(HeadTrainer(recipe, place / "heads").run())
    torch.manual_seed(1)
    other = torch.load(place / "net" / "last.pt", weights_only=True)
    other["averaged"]["up4.0.weight"] += 1
    torch.save(other, place / "net" / "last.pt")
    with pytest.raises(ConfigError, match="learned on another net"):
        HeadTrainer(recipe, place / "heads")


@pytest.mark.train
@pytest.mark.slow
def test_the_command_trains_them_and_prints_how_well_markings_are_found(place: Path) -> None:
    recipe_in(place, 2)
    command = [sys.executable, "-m", "edge.cli", "train", place / "tiny.yaml", "--heads", "--run", place / "heads"]
    done = subprocess.run([*map(str, command), "--json", str(place / "f1.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Copy it to" in done.stdout
    assert set(json.loads((place / "f1.json").read_text())) == {"markings F1 plain", "markings F1 within 2 px"}


def test_a_recipe_without_heads_is_refused(labelled: Path) -> None:
    recipe = recipe_in(labelled, 1).model_copy(update={"heads": None})
    with pytest.raises(ConfigError, match="expected `heads:`"):
        HeadTrainer(recipe, labelled / "heads")


def test_heads_need_something_to_learn_from(labelled: Path) -> None:
    plan = recipe_in(labelled, 1).heads
    assert plan is not None
    tree = {**plan.model_dump(mode="json", exclude_none=True), "train": []}
    tree.pop("rendered", None)
    tree.pop("teacher", None)
    with pytest.raises(ConfigError, match="expected something to learn from: train, rendered or teacher"):
        parse_tree(tree, HeadsPlan, "heads")
