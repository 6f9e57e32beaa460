"""Labels that say "one of these classes": what they mean, what they cost, and how sources with them share a batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge.classes import CAMVID  # noqa: E402
from edge.errors import ConfigError, DataError  # noqa: E402
from edge.train.check import check_data  # noqa: E402
from edge.train.data import CYCLE, batches, load_folder, source_slots  # noqa: E402
from edge.train.label_sets import COMMA10K  # noqa: E402
from edge.train.losses import class_weights, pixel_losses, summed_loss  # noqa: E402
from edge.train.recipe import Folder, Recipe  # noqa: E402
from edge.train.unions import Unions, parse_meaning  # noqa: E402

WH = (16, 12)
ROAD, PAVEMENT, CAR, PEDESTRIAN = 3, 4, 8, 9
MEANS = {
    "0": "not Road or Pavement",
    "1": "Car or Pedestrian",
    "2": "Road",
    "3": "Pavement",
    "4": "Road",
    "5": "ignore",
}


def source(folder: Path, values: list[int], **keys: Any) -> dict[str, Any]:
    """A data set with a frame for each value, whose mask holds nothing else; frame n is n grey levels bright."""
    for name in ("frames", "labels"):
        (folder / name).mkdir(parents=True)
    for n, value in enumerate(values):
        cv2.imwrite(str(folder / "frames" / f"{n:03d}.png"), np.full((WH[1], WH[0], 3), n + 1, np.uint8))
        cv2.imwrite(str(folder / "labels" / f"{n:03d}.png"), np.full((WH[1], WH[0]), value, np.uint8))
    return {"frames": str(folder / "frames"), "labels": str(folder / "labels"), **keys}


def make_recipe(train: list[dict[str, Any]], val: dict[str, Any], batch: int = 4, **keys: Any) -> Recipe:
    still = {"scale": (1.0, 1.0), "aspect": 1.0, "rotation_deg": 0.0, "flip": 0.0, "colour": 0.0, "blur": 0.0}
    tree = {
        "name": "test",
        "net": "edge_small",
        "input_size": f"{WH[0]}x{WH[1]}",
        "train": tuple(train),
        "val": val,
        "augmentation": {**still, "noise": 0.0, "mix_rare": 0.0},
        "optimisation": {"steps": 2, "batch": batch},
        "licence": "test",
        "data_note": "test",
        **keys,
    }
    return Recipe.model_validate(tree)


# ------------------------------------------------------------------------------------------------------------ meaning


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Road", {"Road"}),
        ("Car or Pedestrian", {"Car", "Pedestrian"}),
        ("vehicle or pedestrian", {"Car", "Pedestrian"}),  # groups
        ("not Road", set(CAMVID.names) - {"Road"}),
        ("not Road or Pavement", set(CAMVID.names) - {"Road", "Pavement"}),
        ("ignore", set()),
    ],
)
def test_a_meaning_is_a_set_of_classes(text: str, names: set[str]) -> None:
    assert {CAMVID.names[i] for i in parse_meaning(text, CAMVID)} == names


def test_a_class_is_meant_before_a_group_of_its_name() -> None:
    assert parse_meaning("road", COMMA10K) == {0}  # the group holds lane markings too


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rode", "no group or class 'Rode'"),
        ("Road or", "no group or class"),
        ("not " + " or ".join(CAMVID.names), "excludes every class"),
    ],
)
def test_a_meaning_that_names_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_meaning(text, CAMVID)


def test_ids_of_unions_depend_on_the_set_of_unions_alone() -> None:
    sets = [parse_meaning(text, CAMVID) for text in MEANS.values()]
    assert Unions(CAMVID, sets).ids == Unions(CAMVID, [*reversed(sets), *sets]).ids
    ids = Unions(CAMVID, sets).ids
    assert sorted(ids.values()) == [253, 254]
    members = Unions(CAMVID, sets).members
    for union, mask_id in ids.items():
        assert set(np.flatnonzero(members[mask_id])) == union
    assert not members[[CAMVID.ignore_id, 255]].any()


def test_masks_become_ids_of_classes_and_unions(tmp_path: Path) -> None:
    folder = Folder.model_validate(source(tmp_path, [0, 1, 2, 3, 4, 5, 255], map=MEANS))
    unions = Unions(CAMVID, [parse_meaning(text, CAMVID) for text in MEANS.values()])
    values = [int(labels[0, 0]) for _, labels in load_folder(folder, CAMVID, WH, unions=unions)]
    background = unions.ids[frozenset(range(11)) - {ROAD, PAVEMENT}]
    obstacle = unions.ids[frozenset({CAR, PEDESTRIAN})]
    assert values == [background, obstacle, ROAD, PAVEMENT, ROAD, CAMVID.ignore_id, CAMVID.ignore_id]


def test_an_id_without_a_meaning_names_the_mask(tmp_path: Path) -> None:
    folder = Folder.model_validate(source(tmp_path, [7], map={0: "Road", 1: "Car"}))
    with pytest.raises(DataError, match=r"000.png: holds id 7; known are 0 to 1 and 255"):
        load_folder(folder, CAMVID, WH)


def test_validation_takes_no_unions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"map: .* expected labels of one class each"):
        load_folder(Folder.model_validate(source(tmp_path, [1], map=MEANS)), CAMVID, WH)


def test_the_data_check_counts_pixels_labelled_with_a_union(tmp_path: Path) -> None:
    recipe = make_recipe([source(tmp_path / "a", [0, 2, 5, 2], map=MEANS)], source(tmp_path / "v", [3]))
    train = check_data(recipe).sets[0]
    assert (train.counts[ROAD], train.several, train.unlabelled) == (2 * 192, 192, 192)


# --------------------------------------------------------------------------------------------------------------- loss

PROBABILITIES = (0.6, 0.25, 0.15)  # of three classes, in every pixel
MEMBERS = torch.zeros(256, 3, dtype=torch.bool)
MEMBERS[:3] = torch.eye(3, dtype=torch.bool)
MEMBERS[254, [0, 2]] = True
IGNORE = 255


def flat(labels: list[int]) -> tuple[Any, Any]:
    logits = torch.tensor(PROBABILITIES).log()[None, :, None, None].expand(1, 3, 1, len(labels)).clone()
    return logits.requires_grad_(), torch.tensor(labels)[None, None]


def test_a_pixel_of_a_union_costs_the_log_of_its_summed_probability() -> None:
    logits, labels = flat([1, 254, IGNORE])
    losses = pixel_losses(logits, labels, IGNORE, MEMBERS)[0, 0].tolist()
    assert losses == pytest.approx([-math.log(0.25), -math.log(0.75), 0])


def test_the_gradient_of_a_union_leaves_its_classes_in_proportion() -> None:
    logits, labels = flat([254])
    pixel_losses(logits, labels, IGNORE, MEMBERS).sum().backward()
    # p_c - p_c / (0.6 + 0.15) inside the union, p_c outside it.
    assert logits.grad[0, :, 0, 0].tolist() == pytest.approx([0.6 - 0.6 / 0.75, 0.25, 0.15 - 0.15 / 0.75])


def test_confident_logits_of_a_union_stay_finite() -> None:
    logits = torch.tensor([-200.0, 200.0, -300.0])[None, :, None, None].requires_grad_()
    loss = pixel_losses(logits, torch.full((1, 1, 1), 254), IGNORE, MEMBERS).sum()
    loss.backward()
    assert loss.item() == pytest.approx(400)
    assert bool(logits.grad.isfinite().all())


def test_cross_entropy_is_the_weighted_mean_over_classes_and_unions() -> None:
    logits, labels = flat([1, 254, IGNORE])
    weights = torch.ones(256)
    weights[254] = 3
    loss = summed_loss(logits, labels, {"cross_entropy": 1.0}, weights, IGNORE, 0.35, MEMBERS)
    assert loss.item() == pytest.approx((-math.log(0.25) - 3 * math.log(0.75)) / 4)


def test_hard_pixels_are_chosen_among_classes_and_unions() -> None:
    logits, labels = flat([0, 1, 2, 254])  # the last has 0.75 and is easy, as long as a third are harder
    loss = summed_loss(logits, labels, {"ohem": 1.0}, torch.ones(256), IGNORE, 0.35, MEMBERS)
    assert loss.item() == pytest.approx(-sum(math.log(p) for p in PROBABILITIES) / 3)


@pytest.mark.parametrize("name", ["dice", "jaccard", "bce_jaccard", "bce_log_dice"])
def test_losses_of_regions_and_sigmoids_read_exact_labels_alone(name: Any) -> None:
    with_union, ignored = flat([0, 1, 254]), flat([0, 1, IGNORE])
    losses = [summed_loss(*pair, {name: 1.0}, torch.ones(256), IGNORE, 0.35, MEMBERS) for pair in (with_union, ignored)]
    torch.testing.assert_close(*losses)


def test_a_union_weighs_as_a_class_of_its_summed_share() -> None:
    shares = torch.tensor([0.6, 0.3, 0.1])
    weights = class_weights(shares, 0.5, MEMBERS)
    torch.testing.assert_close(weights[:3], class_weights(shares, 0.5))
    assert float(weights[254] / weights[0]) == pytest.approx((0.7 / 0.6) ** -0.5)


# -------------------------------------------------------------------------------------------------------------- shares


def test_a_batch_mixes_sources_by_their_shares(tmp_path: Path) -> None:
    recipe = make_recipe(
        [
            source(tmp_path / "a", [ROAD] * 3),
            source(tmp_path / "b", [1] * 9, map=MEANS, share=0.25),
            source(tmp_path / "c", [3] * 2, map=MEANS, share=0.1),
        ],
        source(tmp_path / "v", [ROAD]),
    )
    frames = [load_folder(folder, CAMVID, WH, unions=recipe.unions) for folder in recipe.train]
    slots = source_slots(frames, recipe, 4)
    assert np.bincount(slots).tolist() == [42, 16, 6]  # of 64: 0.65, 0.25 and 0.1
    stream = batches(frames, [], recipe, CAMVID, 0)
    taken = [int(labels[0, 0]) for _ in range(CYCLE) for labels in next(stream)[1]]
    union = recipe.unions.ids[frozenset({CAR, PEDESTRIAN})]
    assert [taken.count(value) for value in (ROAD, union, PAVEMENT)] == [42, 16, 6]


def test_every_frame_of_a_source_is_seen_once_before_any_is_seen_twice(tmp_path: Path) -> None:
    recipe = make_recipe(
        [source(tmp_path / "a", [ROAD] * 8), source(tmp_path / "b", [3] * 5, map=MEANS, share=0.25)],
        source(tmp_path / "v", [ROAD]),
    )
    frames = [load_folder(folder, CAMVID, WH, unions=recipe.unions) for folder in recipe.train]
    stream = batches(frames, [], recipe, CAMVID, 0)
    taken = [pair for _ in range(5) for pair in zip(*next(stream), strict=True)]
    seen = [int(image[0, 0, 0]) for image, labels, _ in taken if labels[0, 0] == PAVEMENT]
    assert sorted(seen) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("step", [1, CYCLE - 1, CYCLE, 3 * CYCLE + 5])
def test_a_resumed_run_sees_what_an_unbroken_one_would(tmp_path: Path, step: int) -> None:
    recipe = make_recipe(
        [source(tmp_path / "a", [ROAD] * 7), source(tmp_path / "b", [3] * 5, map=MEANS, share=0.3)],
        source(tmp_path / "v", [ROAD]),
    )
    frames = [load_folder(folder, CAMVID, WH, unions=recipe.unions) for folder in recipe.train]
    unbroken = batches(frames, [], recipe, CAMVID, 0)
    for _ in range(step):
        next(unbroken)
    np.testing.assert_array_equal(next(unbroken)[0], next(batches(frames, [], recipe, CAMVID, step))[0])


@pytest.mark.parametrize(("shares", "words"), [((0.7, 0.4), "add up to 1.1, expected at most 1"), ((0.3, 0.4), "0.7")])
def test_shares_that_do_not_add_up_are_refused(tmp_path: Path, shares: tuple[float, float], words: str) -> None:
    entries = [{"frames": "a", "labels": "b", "share": share} for share in shares]
    with pytest.raises(ValueError, match=words):
        make_recipe(entries, {"frames": "a", "labels": "b"})


def test_the_card_names_the_licence_of_every_source(tmp_path: Path) -> None:
    entries = [{"frames": "a", "labels": "b", "licence": "CC BY 4.0, A"}, {"frames": "c", "labels": "d"}]
    recipe = make_recipe(entries, {"frames": "a", "labels": "b"})
    assert recipe.training_data == "test. Licences: CC BY 4.0, A"
    assert make_recipe(entries[1:], {"frames": "a", "labels": "b"}).training_data == "test"


def test_a_star_stands_for_all_ids_that_the_map_does_not_name(tmp_path: Path) -> None:
    """Masks with an id for each person: any of them is a person."""
    folder = Folder(**source(tmp_path, [0, 1, 7, 254, 255], map={"0": "Road", "*": "Pedestrian"}))
    masks = [int(mask[0, 0]) for _, mask in load_folder(folder, CAMVID, WH)]
    assert masks == [ROAD, PEDESTRIAN, PEDESTRIAN, PEDESTRIAN, CAMVID.ignore_id]
