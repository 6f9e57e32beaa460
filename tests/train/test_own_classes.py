"""Classes that a recipe names itself, from the recipe to masks, figures and the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bundles import Edge

from edge.card import Card
from edge.config import parse_tree
from edge.engine import load_bundle
from edge.errors import ConfigError
from edge.train.data import street_meaning
from edge.train.recipe import Recipe
from edge.web.feed import layers

WH = (96, 64)
TREE: dict[str, Any] = {
    "name": "pets",
    "net": "edge_small",
    "classes": ["background", "cat", "dog"],
    "input_size": "96x64",
    "train": [{"frames": "frames", "labels": "labels"}],
    "val": {"frames": "frames", "labels": "labels"},
    "optimisation": {"steps": 50, "batch": 4, "warmup_steps": 0, "learning_rate": 0.01},
    "licence": "none",
    "data_note": "made up",
}


def read(**changes: Any) -> Recipe:
    return parse_tree({**TREE, **changes}, Recipe, "test")


def test_names_alone_make_a_table_with_a_group_each_but_for_the_background() -> None:
    table = read().table
    assert table.names == ("background", "cat", "dog")
    assert table.groups == {"cat": ("cat",), "dog": ("dog",)}
    assert set(table.tints) == {"cat", "dog"}
    assert len(set(table.colours_rgb)) == 3
    assert table.ignore_id == 255


def test_rows_say_colour_and_group() -> None:
    rows = {
        "Road": {"colour": "#804080", "group": "road"},
        "Kerb": {"group": "road"},
        "Person": {"group": "pedestrian"},
    }
    table = read(classes={**rows, "Sky": {"colour": [1, 2, 3]}, "void": None}).table
    assert table.colours_rgb[0] == (128, 64, 128)
    assert table.groups == {"road": ("Road", "Kerb"), "pedestrian": ("Person",), "sky": ("Sky",)}
    assert table.tints == {"road": (128, 64, 128), "pedestrian": (255, 60, 60), "sky": (1, 2, 3)}


def test_a_recipe_with_own_classes_is_the_same_after_a_checkpoint() -> None:
    recipe = read(classes={"a": {"colour": "#010203"}, "b": None})
    assert parse_tree(recipe.model_dump(mode="json"), Recipe, "checkpoint") == recipe


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["cat"], r"expected 2 classes or more, got 1.*classes: \[background, cat\]"),
        (["cat", "cat"], "'cat' occurs twice"),
        (["cat", 7], "expected names, got 7"),
        ("pets", "'camvid', 'cityscapes', 'comma10k' or 'pet', found 'pets'"),
        ({"a": {"colour": "red"}, "b": None}, r'classes.a.colour: expected a colour, "#rrggbb".*found .red'),
        ({"a": {"colour": [0, 0, 256]}, "b": None}, "classes.a.colour: expected a colour"),
        ({"a": {"color": [0, 0, 25]}, "b": None}, r"classes\.a\.color: no such key; did you mean 'colour'"),
        ([f"class {place}" for place in range(254)], "expected at most 253 classes, got 254"),
    ],
)
def test_what_is_wrong_with_classes_is_said_with_its_place(classes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(classes=classes)
    assert "1 problem(s)" in str(caught.value)


def test_rendered_streets_have_the_classes_of_camvid_and_need_a_map_to_others() -> None:
    with pytest.raises(ConfigError, match=r"rendered: streets are drawn with the classes of camvid; say by `map`"):
        read(rendered={"streets": 1, "frames": 1})


def test_the_map_of_rendered_streets_says_what_each_of_their_classes_means() -> None:
    meanings = {"Road": "road", "Sky": "rest", "Car": "rest or person", "Pole": "ignore", "Pedestrian": "person"}
    recipe = read(classes=["rest", "road", "person"], rendered={"streets": 1, "frames": 1, "map": meanings})
    assert recipe.rendered is not None
    meaning = street_meaning(recipe.rendered, recipe.table, recipe.unions)
    camvid = np.array(
        [[0, 2, 3, 5], [8, 9, 11, 10]], np.uint8
    )  # Sky, Pole, Road, Tree; Car, Pedestrian, none, Bicyclist
    either = recipe.unions.id_of(frozenset((0, 2)))
    assert meaning(camvid).tolist() == [[0, 255, 1, 255], [either, 2, 255, 255]]


def test_the_map_of_rendered_streets_names_classes_that_streets_have() -> None:
    recipe = read(classes=["rest", "road"], rendered={"streets": 1, "frames": 1, "map": {"Kerb": "road"}})
    assert recipe.rendered is not None
    with pytest.raises(ConfigError, match=r"the rendered street has no label 'Kerb'; there are: Sky, Building"):
        street_meaning(recipe.rendered, recipe.table, recipe.unions)


# ---------------------------------------------------------------------------------------------------- all the way down


def edge(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=cwd)


def put_frames(folder: Path) -> None:
    """A red cat on the left and a blue dog on the right of a grey room."""
    for place in ("frames", "labels"):
        (folder / place).mkdir()
    for number in range(4):
        labels = np.zeros(WH[::-1], np.uint8)
        labels[16 + 4 * number :, 8:40] = 1
        labels[8:48, 52 + 4 * number : 84] = 2
        image = np.array([[90, 90, 90], [20, 20, 220], [220, 30, 20]], np.uint8)[labels]
        cv2.imwrite(str(folder / f"frames/{number}.png"), image)
        cv2.imwrite(str(folder / f"labels/{number}.png"), labels)


@pytest.mark.train
def test_own_classes_reach_data_check_card_masks_overlay_evaluation_and_page(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    put_frames(tmp_path)
    rows = {"background": None, "cat": {"colour": "#ff0000", "group": "animal"}, "dog": {"colour": "#0000ff"}}
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump({**TREE, "classes": rows}, sort_keys=False))
    commands = [
        "train pets.yaml --run run --device cpu",
        "build pets.yaml --run run --to pets",
        "run frames -e pets --masks ids --masks-as palette --overlay painted --results found.jsonl",
        "evaluate frames --labels labels -e pets --json score.json",
    ]
    for command in commands:
        done = edge(*command.split(), cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    card: Card = load_bundle(tmp_path / "pets").card
    assert card.table == parse_tree({**TREE, "classes": rows}, Recipe, "test").table
    page: Any = SimpleNamespace(card=card)
    assert [row["name"] for row in layers(page)] == ["animal", "dog", "background"]
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["iou"]["cat"] > 0.5
    assert score["iou"]["dog"] > 0.5
    masks = cv2.imread(str(tmp_path / "ids/0.png"))
    assert {tuple(colour) for colour in masks.reshape(-1, 3).tolist()} >= {(0, 0, 255), (255, 0, 0)}
    shares = json.loads((tmp_path / "found.jsonl").read_text().splitlines()[0])
    assert re.search("cat", json.dumps(shares))


def test_data_check_counts_own_classes(edge_here: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_frames(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump(TREE))
    done = edge_here("data", "check", "pets.yaml")
    assert done.returncode == 65  # training and validation frames are the same here
    assert re.search(r"^cat +\d+\.\d+% +\d+\.\d+%$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^dog +\d+\.\d+%", done.stdout, re.MULTILINE)
