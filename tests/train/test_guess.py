"""What a folder of labelled frames is taken for, and the recipe that is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import labels_of, put, put_coco, put_frame, put_pairs, put_pets, put_yolo

from edge.config import load_yaml, parse_tree
from edge.errors import ConfigError, DataError
from edge.indexed_png import encode_indexed
from edge.train.data import load_folder
from edge.train.guess import VOC_CLASSES, guess_data
from edge.train.layouts import find_pairs
from edge.train.recipe import Folder, Recipe

DRIVES = [f"{drive}_{number}" for drive in ("mon", "tue", "wed", "thu", "fri", "sat") for number in range(3)]
FEW = [f"mon_{number}" for number in range(5)]
OWN = ["background", "cat", "dog"]
Put = Callable[[Path], None]


def put_camvid(root: Path) -> None:
    put_pairs(root, "train", "trainannot", FEW)
    put_pairs(root, "val", "valannot", ["tue_1"])


def put_comma(root: Path) -> None:
    for number in range(3):
        name = f"{number:04d}_0085e9e41513078a_2018-08-19--13-26-08_11_864.png"
        put_frame(root / "imgs" / name, number)
        put(root / "masks" / name, np.full((64, 96, 3), (32, 32, 64), np.uint8))


def put_voc(root: Path) -> None:
    put_pairs(root, "JPEGImages", "SegmentationClass", ["2007_1", "2007_2", "2007_3"])
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_1\n2007_2\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_3\n")


def put_official_coco(root: Path) -> None:
    put_coco(root, "train2017", "annotations/instances_train2017.json", FEW)
    put_coco(root, "val2017", "annotations/instances_val2017.json", ["tue_1"])
    captions = {"images": [], "annotations": [], "info": {}}
    (root / "annotations/captions_train2017.json").write_text(json.dumps(captions))


def put_roboflow_coco(root: Path) -> None:
    for part, names in (("train", FEW), ("valid", ["tue_1"]), ("test", ["wed_1"])):
        put_coco(root, part, f"{part}/_annotations.coco.json", names)


def put_parts_inside(root: Path) -> None:
    put_yolo(root, "images/train", "labels/train", FEW)
    put_yolo(root, "images/val", "labels/val", ["tue_1"])


def put_parts_outside(root: Path) -> None:
    put_yolo(root, "train/images", "train/labels", FEW)
    put_yolo(root, "valid/images", "valid/labels", ["tue_1"])


def put_named_pairs(root: Path) -> None:
    put_pairs(root, "images", "masks", DRIVES)
    (root / "classes.txt").write_text("room\ncat\ndog\n")


FOLDERS: list[tuple[str, Put, str, Any, tuple[int, int]]] = [  # name, the folder, layout, classes, frames of each part
    ("camvid", put_camvid, "camvid", "camvid", (5, 1)),
    ("comma10k", put_comma, "comma10k", "comma10k", (2, 1)),
    ("pet", lambda root: put_pets(root, 10), "pet", "pet", (8, 2)),
    ("voc", put_voc, "pairs", VOC_CLASSES, (2, 1)),
    ("COCO as published", put_official_coco, "coco", OWN, (5, 1)),
    ("COCO by Roboflow", put_roboflow_coco, "coco", OWN, (5, 1)),
    ("COCO, one file", lambda root: put_coco(root, "images", "export.json", FEW), "coco", OWN, (4, 1)),
    ("COCO, all in a folder", lambda root: put_coco(root, ".", "labels.json", DRIVES), "coco", OWN, (15, 3)),
    ("YOLO by Ultralytics", put_parts_inside, "yolo", OWN, (5, 1)),
    ("YOLO by Roboflow", put_parts_outside, "yolo", OWN, (5, 1)),
    ("YOLO, no parts", lambda root: put_yolo(root, "images", "labels", DRIVES), "yolo", OWN, (15, 3)),
    ("pairs", put_named_pairs, "pairs", ["room", "cat", "dog"], (15, 3)),
    ("pairs without names", lambda root: put_pairs(root, "frames", "labels", FEW), "pairs",
     ["class_0", "class_1", "class_2"], (4, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS, ids=[case[0] for case in FOLDERS])
def test_a_folder_is_taken_for_what_it_is_and_its_labels_are_read(tmp_path: Path, case: Any) -> None:
    _, make, layout, classes, counts = case
    make(tmp_path)
    guess = guess_data(tmp_path)
    assert guess.classes == classes
    assert guess.size_wh == (96, 64)
    assert guess.val is not None
    train, val = Folder(**guess.train), Folder(**guess.val)
    assert (train.layout, val.layout) == (layout, layout)
    found = [{pair.frame for pair in find_pairs(entry)} for entry in (train, val)]
    assert tuple(map(len, found)) == counts
    assert not found[0] & found[1]


def labels_read(root: Path, names: tuple[str, ...] = ()) -> tuple[list[str], np.ndarray]:
    """The classes that are guessed, and the mask ids of the first frame."""
    guess = guess_data(root, names)
    plan: dict[str, Any] = {"optimisation": {"steps": 1}, "licence": "none", "data_note": "none", "net": "unet"}
    tree = {**plan, "name": "x", "classes": guess.classes, "train": [guess.train], "val": guess.val}
    table = parse_tree(tree, Recipe, "guess").table
    return list(table.names), load_folder(Folder(**guess.train), table, (96, 64))[0][1]


@pytest.mark.parametrize("make", [put_official_coco, put_parts_inside], ids=["coco", "yolo"])
def test_of_polygons_the_classes_that_are_named_are_told_from_all_the_rest(tmp_path: Path, make: Put) -> None:
    make(tmp_path)
    names, ids = labels_read(tmp_path, ("dog",))
    assert names == ["background", "dog"]
    assert np.array_equal(ids == 1, labels_of(0) == 2)


def test_classes_may_be_picked_from_a_published_set(tmp_path: Path) -> None:
    put_camvid(tmp_path)
    names, ids = labels_read(tmp_path, ("Building",))
    assert names == ["background", "Building"]
    assert np.array_equal(ids, labels_of(0) == 1)


@pytest.mark.parametrize(
    ("values", "given", "names", "cat"),
    [
        ((0, 1, 2), ("room", "cat", "dog"), ["room", "cat", "dog"], 1),
        ((0, 1, 2), ("room", "cat", "dog", "fox"), ["room", "cat", "dog", "fox"], 1),
        ((0, 7, 9), ("room", "cat", "dog"), ["room", "cat", "dog"], 1),
        ((0, 70, 90), (), ["class_0", "class_70", "class_90"], 1),
        ((0, 255, 255), (), ["background", "object"], 1),
        ((0, 255, 255), ("animal",), ["background", "animal"], 1),
        ((255, 1, 0), ("room", "cat"), ["room", "cat"], 1),
    ],
)
def test_ids_in_masks_get_the_names_that_are_given(
    tmp_path: Path, values: tuple[int, ...], given: tuple[str, ...], names: list[str], cat: int
) -> None:
    put_pairs(tmp_path, "frames", "labels", FEW, values)
    found, ids = labels_read(tmp_path, given)
    assert found == names
    assert (ids[labels_of(0) == 1] == cat).all()


def test_masks_of_colours_get_a_map_whose_names_are_the_colours(tmp_path: Path) -> None:
    for number, name in enumerate(FEW):
        put_frame(tmp_path / f"frames/{name}.png", number)
        colours = np.array([[0, 0, 0], [0, 0, 255], [255, 128, 0]], np.uint8)  # BGR
        put(tmp_path / f"labels/{name}.png", colours[labels_of(number)])
    names, ids = labels_read(tmp_path)
    assert names == ["background", "class_0080ff", "class_ff0000"]
    assert (ids[labels_of(0) == 2] == 1).all()
    with pytest.raises(ConfigError, match="which colour is which class is not known"):
        guess_data(tmp_path, ["cat", "dog"])


def test_masks_may_be_indexed_png(tmp_path: Path) -> None:
    put_pairs(tmp_path, "frames", "labels", FEW)
    for number, name in enumerate(FEW):
        (tmp_path / f"labels/{name}.png").write_bytes(encode_indexed(labels_of(number), [(i, i, 9) for i in range(3)]))
    assert labels_read(tmp_path)[0] == ["class_0", "class_1", "class_2"]


def pairs_of(names: list[str], *values: int) -> Put:
    return lambda root: put_pairs(root, "frames", "labels", names, values)


@pytest.mark.parametrize(
    ("make", "names", "error", "words"),
    [
        (lambda root: None, (), DataError, r"holds no data set that edge knows, but nothing\. Expected, for example"),
        (lambda root: put_frame(root / "x.png", 1), (), DataError, "edge knows, but x.png"),
        (put_official_coco, ("cow",), ConfigError, "has no class 'cow'; there are background, cat, dog"),
        (put_camvid, ("cow",), ConfigError, "has no class 'cow'; there are Sky, Building"),
        (put_named_pairs, ("cat", "dog"), ConfigError, "hold the 3 ids 0, 1, 2; expected a name for each, got 2"),
        (pairs_of(["a_1"], 0, 1, 2), (), DataError, "expected 2 frames or more"),
        (pairs_of(FEW, 255, 255, 255), (), DataError, "no mask has a labelled pixel"),
        (pairs_of(FEW, 0, 255, 0), ("a", "b"), ConfigError, "expected one name, got a, b"),
        (lambda root: put_coco(root, "far", "x.json", FEW), (), DataError, r"names 'mon_0.jpg', which is in none"),
    ],
)
def test_what_cannot_be_guessed_says_what_was_expected(
    tmp_path: Path, make: Put, names: tuple[str, ...], error: type[Exception], words: str
) -> None:
    make(tmp_path)
    with pytest.raises(error, match=words):
        guess_data(tmp_path, names)


def test_a_frame_without_a_mask_is_named(tmp_path: Path) -> None:
    put_pairs(tmp_path, "frames", "labels", FEW)
    (tmp_path / "labels/mon_3.png").unlink()
    with pytest.raises(DataError, match=r"labels/mon_3.png: is missing; every frame needs a mask"):
        guess_data(tmp_path)


# -------------------------------------------------------------------------------------------------------- the recipe


def written(tmp_path: Path, **options: Any) -> tuple[str, Recipe]:
    """The text of the recipe that is written for these options, and what it is read as."""
    pytest.importorskip("torch", reason="the table of nets needs torch")
    from edge.train.written import Wish, make_recipe, write_recipe

    wish = Wish(**options)
    path = tmp_path / "run/recipe.yaml"
    write_recipe(make_recipe(wish), wish, path)
    return path.read_text(), load_yaml(path, Recipe)


def test_a_written_recipe_says_where_it_comes_from_and_reads_as_it_was_meant(tmp_path: Path) -> None:
    put_coco(tmp_path / "My Pets!", "images", "export.json", FEW)
    text, recipe = written(tmp_path, net="unet", data=tmp_path / "My Pets!", steps=2000, size="320x240")
    assert text.startswith("# Written by: edge train --net unet --data ")
    assert "# The folder was taken for: COCO's instances, export.json.\n" in text
    assert "# 5 frames of 1 drive(s). Held out to validate on: the last frames of each drive" in text
    assert (recipe.name, recipe.net, recipe.input_size) == ("my-pets", "unet", "320x240")
    assert (recipe.optimisation.steps, recipe.optimisation.warmup_steps) == (2000, 200)
    assert recipe.optimisation.learning_rate == 0.0002  # U-Net has no batch norm
    assert recipe.table.names == ("background", "cat", "dog")


@pytest.mark.parametrize("name", ["no", "1e5", "null", "12:30", "a: b", "ångström", "- x", "#1", "0x1F", "it's"])
def test_a_class_of_any_name_is_written_and_read(tmp_path: Path, name: str) -> None:
    put_pairs(tmp_path / "data", "frames", "labels", FEW)
    _, recipe = written(tmp_path, data=tmp_path / "data", classes=("room", name, "dog"))
    assert recipe.table.names == ("room", name, "dog")


def test_what_a_recipe_says_of_other_data_is_left_out_for_a_folder_of_ones_own(tmp_path: Path) -> None:
    put_parts_inside(tmp_path / "data")
    road = Path(__file__).parents[2] / "engines/road.yaml"
    _, recipe = written(tmp_path, recipe=road, data=tmp_path / "data", size="96x64")
    assert (recipe.rendered, recipe.build, recipe.checkpoint, recipe.rare_classes) == (None, None, None, ())
    assert recipe.augmentation.shapes == ()
    assert recipe.optimisation.learning_rate == 0.001
    assert recipe.table.names == ("background", "cat", "dog")


def test_a_recipe_in_the_runs_folder_that_says_something_else_is_never_replaced(tmp_path: Path) -> None:
    put_named_pairs(tmp_path / "data")
    text, _ = written(tmp_path, data=tmp_path / "data", steps=10)
    assert written(tmp_path, data=tmp_path / "data", steps=10)[0] == text
    with pytest.raises(ConfigError, match=r"is there already and says something else. Go on with it: edge train"):
        written(tmp_path, data=tmp_path / "data", steps=20)


@pytest.mark.parametrize("name", ["fcn", "pet", "segnet", "unet"])
def test_recipes_that_come_with_edge_are_in_order_and_written_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("EDGE_DATA", str(tmp_path))
    text, recipe = written(tmp_path, recipe=Path(name))
    assert recipe.name == name
    assert text.startswith("# ")
    assert f"edge train {name} --data" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected a recipe or --data FOLDER; the recipes that come with edge are: fcn, pet, segnet, unet"),
        ({"recipe": Path("pets")}, "pets: recipe not found; those that come with edge are: fcn, pet"),
        ({"recipe": Path("pet")}, "pet: its data was not named. Try: edge train pet --data FOLDER"),
        ({"recipe": Path("pet"), "net": "vit"}, "--net vit: there is no such net; there are: ddrnet23_slim"),
        ({"recipe": Path("pet"), "classes": ("cat",)}, "--classes: expected with --data"),
        ({"recipe": Path("engines/road.yaml"), "size": "320"}, "a size is WIDTHxHEIGHT"),
        ({"data": Path("nowhere")}, "nowhere: folder not found"),
    ],
)
def test_options_that_cannot_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises((ConfigError, DataError), match=words):
        written(tmp_path, **options)
