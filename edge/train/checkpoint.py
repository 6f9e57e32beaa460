"""Checkpoints: written atomically, read with an error that names the problem."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.errors import ConfigError
from edge.train.recipe import Recipe


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` atomically."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def read_checkpoint(path: Path, recipe: Recipe, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a file, of the recipe's net and classes.

    Raises:
        ConfigError: the file is missing, is not a checkpoint of `edge train`, or holds another net or other classes.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: checkpoint not found. Train first: edge train RECIPE")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        held = {"net": state["recipe"]["net"], "classes": _class_names(state["recipe"].get("classes", "camvid"))}
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise ConfigError(f"{path}: is not a checkpoint of edge train: {type(error).__name__}") from error
    for key, expected in (("net", recipe.net), ("classes", _class_names(recipe.classes))):
        if held[key] != expected:
            raise ConfigError(f"{path}: expected {key} {expected}, got {held[key]}; use another --run folder")
    return state


def _class_names(classes: str | Mapping[str, Any]) -> str:
    """What decides which class an id is: the known table's name, or own names in their order, but not their colours."""
    return classes if isinstance(classes, str) else ", ".join(classes)


def weights_sha256(state: dict[str, Tensor]) -> str:
    """A hash of names and values, independent of how they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
