"""A folder of labelled frames becomes an engine, by the commands that one would type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from folders import put_coco, put_pairs, put_pets, put_yolo

pytest.importorskip("torch", reason="training needs torch")

DRIVES = [f"{drive}_{number}" for drive in ("mon", "tue", "wed", "thu", "fri") for number in range(2)]


def edge(line: str, cwd: Path) -> str:
    """What `edge ...` prints, typed in a folder, without data that the machine may have."""
    environment = {key: value for key, value in os.environ.items() if key != "EDGE_DATA"}
    command = [sys.executable, "-m", "edge.cli", *line.split()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd, env=environment)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def test_a_folder_of_yolo_polygons_is_trained_checked_built_and_run_without_a_recipe(tmp_path: Path) -> None:
    put_yolo(tmp_path / "pets", "images", "labels", DRIVES)
    said = edge("edge train --net edge_small --data pets --steps 60 --size 96x64", tmp_path)
    assert "The folder was taken for: YOLO's polygons." in said
    assert "The recipe: engines/built/pets.run/recipe.yaml" in said
    checked = edge("edge data check engines/built/pets.run/recipe.yaml", tmp_path)
    assert "cat " in checked
    edge("edge build engines/built/pets.run/recipe.yaml --run engines/built/pets.run", tmp_path)
    edge("edge run pets/images --engine engines/built/pets --overlay painted", tmp_path)
    assert len(list((tmp_path / "painted").iterdir())) == len(DRIVES)
    card = json.loads((tmp_path / "engines/built/pets/card.json").read_text())
    assert [row["name"] for row in card["classes"]] == ["background", "cat", "dog"]
    scores = json.loads((tmp_path / "engines/built/pets.run/scores.json").read_text())
    assert scores["iou"]["dog"] > 0.3


def test_unet_learns_from_a_coco_export_by_the_line_of_the_readme(tmp_path: Path) -> None:
    put_coco(tmp_path / "frames-and-labels", "images", "instances.json", DRIVES)
    edge("edge train --net unet --data frames-and-labels --steps 1 --size 64x32", tmp_path)
    assert (tmp_path / "engines/built/frames-and-labels.run/last.pt").is_file()


@pytest.mark.parametrize("recipe", ["segnet", "unet", "fcn"])
def test_a_recipe_that_comes_with_edge_learns_from_masks_whose_ids_are_named(recipe: str, tmp_path: Path) -> None:
    put_pairs(tmp_path / "own", "frames", "labels", DRIVES)
    scores = edge(f"edge train {recipe} --data own --classes room,cat,dog --steps 1 --size 64x64 --json -", tmp_path)
    assert set(json.loads(scores)["iou"]) == {"room", "cat", "dog"}
    run = tmp_path / f"engines/built/{recipe}.run"
    assert "classes: [room, cat, dog]" in (run / "recipe.yaml").read_text()
    assert {"last.pt", "curves.png"} <= {path.name for path in run.iterdir()}


def test_the_pet_tutorial_runs_on_its_folder_and_leaves_dice_and_images(tmp_path: Path) -> None:
    put_pets(tmp_path / "oxford", 20)
    edge("edge train pet --data oxford --steps 2 --size 64x64", tmp_path)
    run = tmp_path / "engines/built/pet.run"
    recipe = (run / "recipe.yaml").read_text()
    for words in ("net: unet_resnet34", "bce_log_dice: 1", "optimiser: adam", "held_out: 0.2", "list.txt"):
        assert words in recipe
    scores = json.loads((run / "scores.json").read_text())
    assert scores["frames"] == 4
    assert set(scores["dice"]) == {"pet", "background"}
    assert 0 <= scores["mean_dice"] <= 1
    assert {"curves.png", "frames-random.png", "frames-best.png", "frames-worst.png"} <= {p.name for p in run.iterdir()}
