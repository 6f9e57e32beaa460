"""A training that starts from an encoder's weights, in a made-up file of torchvision's names and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
import yaml
from test_train import make_frames
from typer.testing import CliRunner

from edge.cli import make_app
from edge.config import parse_tree
from edge.errors import ConfigError, DataError
from edge.nets.fcn import Fcn, fcn_resnet18
from edge.nets.resnet import RESNET18, ResNet
from edge.nets.unet import UNet
from edge.train.loop import Trainer
from edge.train.recipe import Recipe

WIDTH = 8


@pytest.fixture(autouse=True)
def narrow_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, classes: int) -> torch.nn.Module:
        return UNet(classes, WIDTH) if name == "unet" else fcn_resnet18(classes, WIDTH, stride=32)

    monkeypatch.setattr("edge.train.loop.make_net", make)
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """As `resnet18-*.pth`: the encoder's numbers under torchvision's names, and a classifier."""
    torch.manual_seed(8)
    encoder = ResNet(RESNET18, WIDTH)
    names, values = encoder.torchvision_names(), encoder.state_dict()
    state = {theirs: values[ours] for ours, theirs in names.items()} | {"fc.weight": torch.rand(10, 8 * WIDTH)}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    return path


def tree_of(root: Path, **more: Any) -> dict[str, Any]:
    data = {"frames": str(root / "data/frames"), "labels": str(root / "data/labels")}
    if not (root / "data").exists():
        make_frames(root / "data", 4)
    return {
        "name": "tiny",
        "net": "fcn32s_resnet18",
        "input_size": "96x64",
        "train": [data],
        "val": dict(data),
        "optimisation": {"steps": 2, "batch": 2, "warmup_steps": 0, "precision": "fp32"},
        "licence": "none",
        "data_note": "made up",
        **more,
    }


def recipe(root: Path, **more: Any) -> Recipe:
    return parse_tree(tree_of(root, **more), Recipe, "test")


def first_kernels(net: torch.nn.Module) -> torch.Tensor:
    assert isinstance(net, Fcn)
    return net.encoder.state_dict()["stem.0.weight"]


@pytest.mark.train
def test_a_run_begins_with_the_weights_of_the_file(weights: Path, tmp_path: Path) -> None:
    begun = Trainer(recipe(tmp_path, encoder_weights=str(weights)), tmp_path / "run", "cpu")
    theirs = torch.load(weights, weights_only=True)
    for net in (begun.net, begun.averaged):
        assert torch.equal(first_kernels(net), theirs["conv1.weight"].flip(1))  # RGB to BGR
        assert torch.equal(net.state_dict()["encoder.stages.3.1.body.1.0.weight"], theirs["layer4.1.conv2.weight"])


@pytest.mark.train
def test_what_matched_is_kept_with_the_run_and_loaded_once(weights: Path, tmp_path: Path) -> None:
    plan = recipe(tmp_path, encoder_weights=str(weights))
    trained = Trainer(plan, tmp_path / "run", "cpu")
    list(trained.run())
    (note,) = trained.journal.notes
    assert note == f"{weights}: 100 matched, 1 left over: fc.weight"
    assert (tmp_path / "run/notes.txt").read_text() == f"{note}\n"
    weights.unlink()
    resumed = Trainer(plan, tmp_path / "run", "cpu")
    assert torch.equal(first_kernels(resumed.net), first_kernels(trained.net))
    assert resumed.journal.notes == [note]


@pytest.mark.train
def test_the_command_says_what_matched(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree_of(tmp_path, encoder_weights=str(weights))))
    found = CliRunner().invoke(make_app(), ["train", str(tmp_path / "tiny.yaml"), "--run", str(tmp_path / "run")])
    assert found.exit_code == 0, found.output
    assert "100 matched, 1 left over: fc.weight" in " ".join(found.output.split())


def test_a_net_without_such_an_encoder_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"net unet has no encoder with published weights; efficientnet"):
        Trainer(recipe(tmp_path, net="unet", encoder_weights=str(weights)), tmp_path / "run", "cpu")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth: weights not found"):
        Trainer(recipe(tmp_path, encoder_weights=str(tmp_path / "none.pth")), tmp_path / "run", "cpu")


def test_a_file_of_which_nothing_matches_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(
        DataError, match=r"vgg\.pth: holds the weights of another net; expected .*, got features\.0\.weight"
    ):
        Trainer(recipe(tmp_path, encoder_weights=str(tmp_path / "vgg.pth")), tmp_path / "run", "cpu")


def test_first_weights_come_from_one_place(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start and encoder_weights: each brings the first weights; leave"):
        recipe(tmp_path, encoder_weights=str(weights), start="engines/road.pt")
