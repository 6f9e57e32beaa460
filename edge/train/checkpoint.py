"""Checkpoints: written whole or not at all, read with words for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edge.errors import ConfigError
from edge.train.recipe import Recipe


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """`state` as `path`, whole or not at all."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def read_checkpoint(path: Path, recipe: Recipe, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a file, of the recipe's net and classes.

    Raises:
        ConfigError: there is none, it is no checkpoint of `edge train`, or of another net.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such checkpoint. Train first: edge train RECIPE")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        held = {"net": state["recipe"]["net"], "classes": state["recipe"].get("classes", "camvid")}
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise ConfigError(f"{path}: is not a checkpoint of edge train: {type(error).__name__}") from error
    for key, wanted in (("net", recipe.net), ("classes", recipe.classes)):
        if held[key] != wanted:
            what = "a " if key == "net" else "the classes "
            raise ConfigError(
                f"{path}: holds {what}{held[key]}, the recipe wants {what}{wanted}; name another --run folder"
            )
    return state
