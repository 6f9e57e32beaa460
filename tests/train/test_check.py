"""`edge data check`: what is in a recipe's data, and everything that is wrong with it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from edge.cli.data import data
from edge.errors import DataError

DATA = Path(os.environ.get("EDGE_DATA") or Path(__file__).parents[3] / "shared" / "data")


def put_pair(root: Path, name: str, labels: Any, brightness: int) -> None:
    for place, values in (("frames", np.full((2, 4, 3), brightness)), ("labels", labels)):
        (root / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / place / f"{name}.png"), np.array(values, np.uint8))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    put_pair(tmp_path / "train", "monday_1", [[0, 0, 3, 11]] * 2, 10)
    put_pair(tmp_path / "train", "tuesday_1", [[3, 3, 3, 3]] * 2, 20)
    put_pair(tmp_path / "val", "friday_1", [[0, 9, 3, 3]] * 2, 30)
    tree = {
        "name": "tiny",
        "net": "ddrnet23_slim",
        "train": [{"frames": str(tmp_path / "train/frames"), "labels": str(tmp_path / "train/labels")}],
        "val": {"frames": str(tmp_path / "val/frames"), "labels": str(tmp_path / "val/labels")},
        "optimisation": {"steps": 1},
        "licence": "none",
        "data_note": "made up",
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def check(recipe: Path) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(data, ["check", str(recipe)])
    return result.output, result.exception


def test_the_share_of_each_class_is_told_for_each_set(recipe: Path) -> None:
    text, error = check(recipe)
    assert error is None
    assert re.search(r"^frames +2 +1$", text, re.MULTILINE)
    assert re.search(r"^drives +2 +1$", text, re.MULTILINE)
    assert re.search(r"^Sky +25.00% +25.00%$", text, re.MULTILINE)
    assert re.search(r"^Road +62.50% +50.00%$", text, re.MULTILINE)
    assert re.search(r"^unlabelled +12.50% +0.00%$", text, re.MULTILINE)
    assert "no training frame shows Building, Pole," in text


def test_the_figures_are_written_as_json(recipe: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(data, ["check", str(recipe), "--json", str(tmp_path / "data.json")])
    assert result.exception is None
    found = json.loads((tmp_path / "data.json").read_text())
    assert [(one["part"], one["frames"], one["drives"]) for one in found["data_sets"]] == [
        ("train", 2, 2),
        ("val", 1, 1),
    ]
    pixels = found["data_sets"][0]["pixels"]
    assert pixels["Road"] == 2.5 * pixels["Sky"] > 0
    assert found["problems"] == []
    assert any("no training frame shows Building" in note for note in found["notes"])


def test_all_problems_are_listed_file_by_file(recipe: Path, tmp_path: Path) -> None:
    put_pair(tmp_path / "train", "monday_2", [[12, 0, 0, 0]] * 2, 40)
    put_pair(tmp_path / "train", "monday_3", [[0, 0, 0]] * 2, 50)
    put_pair(tmp_path / "train", "monday_4", [[0, 0, 0, 0]] * 2, 60)
    (tmp_path / "train/labels/monday_4.png").unlink()
    put_pair(tmp_path / "train", "monday_5", [[0, 0, 0, 0]] * 2, 70)
    (tmp_path / "train/frames/monday_5.png").write_bytes(b"not a picture")
    text, error = check(recipe)
    assert isinstance(error, DataError)
    assert "its data has 4 problem(s)" in str(error)
    for words in (
        "labels/monday_2.png: holds id 12",
        "labels/monday_3.png: has shape (2, 3)",
        "labels/monday_4.png: is missing",
        "frames/monday_5.png: is not an image that can be read",
    ):
        assert words in text


def test_a_missing_set_does_not_hide_what_is_wrong_with_the_others(recipe: Path, tmp_path: Path) -> None:
    put_pair(tmp_path / "val", "friday_2", [[12, 0, 0, 0]] * 2, 40)
    recipe.write_text(recipe.read_text().replace("train/frames", "nowhere"))
    text, _ = check(recipe)
    assert "nowhere: folder not found" in text
    assert "friday_2.png: holds id 12" in text


def test_a_validation_frame_that_is_trained_on_is_a_problem(recipe: Path, tmp_path: Path) -> None:
    put_pair(tmp_path / "train", "friday_9", [[0, 9, 3, 3]] * 2, 30)
    text, error = check(recipe)
    assert isinstance(error, DataError)
    assert "friday_1.png: is a validation frame, and is trained on as" in text
    assert "1 of 1 drives are trained on too (friday)" in text


def test_the_same_picture_twice_is_a_problem(recipe: Path, tmp_path: Path) -> None:
    put_pair(tmp_path / "train", "tuesday_2", [[3, 3, 3, 3]] * 2, 20)
    text, _ = check(recipe)
    assert re.search(r"tuesday_2.png: is the same image as .*tuesday_1.png", text)


def test_labels_that_a_map_leaves_out_are_told(recipe: Path) -> None:
    tree = yaml.safe_load(recipe.read_text())
    tree["train"][0]["map"] = {"Road": "Road"}
    recipe.write_text(yaml.safe_dump(tree))
    text, error = check(recipe)
    assert error is None
    assert "ignored are the labels Sky, Building" in text


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "camvid").is_dir(), reason=f"no CamVid in {DATA}")
def test_camvid_is_in_order_and_its_validation_drive_is_trained_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DATA", str(DATA))
    text, error = check(Path(__file__).parents[2] / "engines/small.yaml")
    assert error is None
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    first_and_last = {name: (row[0], row[-1]) for name, row in rows.items() if len(row) > 1}
    assert first_and_last["frames"] == ("367", "101")
    assert first_and_last["drives"] == ("3", "1")
    assert first_and_last["Road"] == ("31.66%", "28.95%")
    assert first_and_last["Pedestrian"] == ("0.64%", "0.65%")
    assert "1 of 1 drives are trained on too (0016E5)" in text
