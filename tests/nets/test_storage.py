"""How a bundle stores its weights: as half floats, unless that changes what the net sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
export = pytest.importorskip("edge.compile.export")

from edge.config import parse_tree  # noqa: E402
from edge.errors import EngineError  # noqa: E402
from edge.train.recipe import Recipe  # noqa: E402

OTHER_WH = (64, 48)


class Net(torch.nn.Sequential):
    """Class 1 wins everywhere over class 0, by a factor."""

    def __init__(self, factor: float) -> None:
        features, classify = torch.nn.Conv2d(3, 512, 3, padding=1), torch.nn.Conv2d(512, 11, 1)
        super().__init__(features, torch.nn.ReLU(), classify)
        with torch.no_grad():
            classify.bias.zero_()
            classify.weight.fill_(-1)
            classify.weight[0] = 1
            classify.weight[1] = factor


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    folder = {"frames": "none", "labels": "none"}
    tree = {
        "name": "tie",
        "net": "any",
        "input_size": "96x64",
        "train": [folder],
        "val": folder,
        "optimisation": {"steps": 1},
        "licence": "none",
        "data_note": "none",
    }
    return parse_tree(tree, Recipe, "test")


def bundle_of(factor: float, recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    torch.manual_seed(1)
    state = {"recipe": recipe.model_dump(mode="json"), "step": 1, "averaged": Net(factor).state_dict()}
    torch.save(state, folder / "last.pt")
    monkeypatch.setattr("edge.compile.export.make_net", lambda name, classes: Net(factor))
    return export.make_bundle(recipe, folder / "last.pt", folder / "bundle", **more)


def stored_in_halves(bundle: Any) -> bool:
    return export.holds_halves(bundle.read(bundle.card.graphs[0]))


def test_weights_are_halved_where_the_classes_stay(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_in_halves(bundle_of(1.5, recipe, tmp_path, monkeypatch))


def test_weights_stay_whole_where_halves_would_make_ties(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = 1 + 2.0**-13  # half floats have steps of 2 ** -11 and more
    assert not stored_in_halves(bundle_of(near, recipe, tmp_path, monkeypatch))
    with pytest.raises(EngineError, match=r"not exported, the graph agrees with the net on \d"):
        bundle_of(near, recipe, tmp_path, monkeypatch, halve=True)


def test_another_size_is_stored_as_it_is_told(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not stored_in_halves(bundle_of(1.5, recipe.at(OTHER_WH), tmp_path, monkeypatch, halve=False))
