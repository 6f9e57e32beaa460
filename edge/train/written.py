"""Recipes that are written for you: of a folder of data and a few options, or of a recipe that comes with edge."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge.config import parse_size_wh, parse_tree, parse_yaml, read_tree
from edge.errors import ConfigError
from edge.nets import NETS
from edge.sinks.files import write_text
from edge.train.guess import Guess, guess_data
from edge.train.recipe import Recipe

SHIPPED = Path(__file__).parent / "recipes"
BUILT = Path("engines/built")
DEFAULT_NET = "ddrnet23_slim"
STEPS = 2000
PIXELS = 480 * 360  # of the input, where no size was asked for
GRID = 32  # its width and height are multiples of this: what the nets' strides divide
SLOW_NETS = ("unet", "fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16")  # without batch norm: a fifth of the rate
OF_OTHER_DATA = ("rare_classes", "unlabelled", "rendered", "pasted", "start", "checkpoint", "qat", "build")


@dataclass(frozen=True)
class Wish:
    """What the command line says; None and () where it is silent."""

    recipe: Path | None = None
    net: str | None = None
    data: Path | None = None
    steps: int | None = None
    size: str | None = None
    classes: tuple[str, ...] = ()
    run: Path | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a recipe's file as it stands."""
        changes = (self.net, self.data, self.steps, self.size, *self.classes)
        return self.recipe is not None and self.recipe.is_file() and not any(changes)

    def command(self) -> str:
        """The same as one would type it."""
        options = {"net": self.net, "data": self.data, "steps": self.steps, "size": self.size}
        words = ["edge", "train", *([str(self.recipe)] if self.recipe else [])]
        for name, value in {**options, "classes": ",".join(self.classes) or None, "run": self.run}.items():
            words += [] if value is None else [f"--{name}", str(value)]
        return shlex.join(words)


@dataclass(frozen=True)
class Written:
    """A recipe on its way to a file: `notes` are the guess in words."""

    recipe: Recipe
    tree: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def run(self) -> Path:
        """The default folder of its run."""
        return BUILT / f"{self.recipe.name}.run"


def shipped_names() -> list[str]:
    """The recipes that come with edge."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_recipe(recipe: Path) -> Path:
    """The file of that path; else the recipe that comes with edge, of that name.

    Raises:
        ConfigError: there is neither.
    """
    known = SHIPPED / f"{recipe}.yaml"
    if not recipe.exists() and len(recipe.parts) == 1 and known.is_file():
        return known
    if not recipe.exists():
        raise ConfigError(f"{recipe}: recipe not found; those that come with edge are: {', '.join(shipped_names())}")
    return recipe


def make_recipe(wish: Wish) -> Written:
    """The recipe that the options ask for.

    Raises:
        ConfigError: they ask for nothing, or for what cannot be.
        DataError: the folder's data are not in order.
    """
    if wish.recipe is None and wish.data is None:
        raise ConfigError(
            f"expected a recipe or --data FOLDER; the recipes that come with edge are: {', '.join(shipped_names())}"
        )
    if wish.net is not None and wish.net not in NETS:
        raise ConfigError(f"--net {wish.net}: there is no such net; there are: {', '.join(NETS)}")
    if wish.classes and wish.data is None:
        raise ConfigError("--classes: expected with --data; a recipe names its own classes")
    origin = "the options" if wish.recipe is None else str(wish.recipe)
    tree: dict[str, Any] = {} if wish.recipe is None else read_tree(find_recipe(wish.recipe))
    if wish.recipe is not None:
        parse_tree(tree, Recipe, origin)
        _check_data_is_named(wish)
    guess = None if wish.data is None else guess_data(wish.data, wish.classes)
    tree = _with_options(tree, wish, guess)
    notes = () if guess is None else (f"The folder was taken for: {guess.what}.", *guess.notes)
    return Written(parse_tree(tree, Recipe, origin), tree, notes)


def _check_data_is_named(wish: Wish) -> None:
    """A recipe that comes with edge names no folder of yours."""
    is_shipped = wish.recipe is not None and find_recipe(wish.recipe).parent == SHIPPED
    if is_shipped and wish.data is None and not os.environ.get("EDGE_DATA"):
        raise ConfigError(f"{wish.recipe}: its data was not named. Try: edge train {wish.recipe} --data FOLDER")


def _with_options(tree: dict[str, Any], wish: Wish, guess: Guess | None) -> dict[str, Any]:
    tree = dict(tree)
    if guess is not None and wish.data is not None:
        tree = {key: value for key, value in tree.items() if key not in OF_OTHER_DATA}
        tree |= {"classes": guess.classes, "train": [guess.train], "val": guess.val, "licence": "not stated"}
        tree["data_note"] = f"{wish.data.resolve().name}: {guess.what}"
        tree.setdefault("name", _slug(wish.data.resolve().name))
        tree.setdefault("net", DEFAULT_NET)
        tree.setdefault("input_size", _input_size(guess.size_wh))
    if wish.net is not None:
        tree["net"] = wish.net
    if wish.size is not None and wish.size != tree.get("input_size"):
        width, height = parse_size_wh(wish.size)
        tree["input_size"] = f"{width}x{height}"
        tree["augmentation"] = {key: v for key, v in tree.get("augmentation", {}).items() if key != "shapes"}
    tree["optimisation"] = _optimisation(tree, wish)
    order = [key for key in Recipe.model_fields if key in tree]
    return {key: tree[key] for key in order if tree[key] != {}}


def _optimisation(tree: dict[str, Any], wish: Wish) -> dict[str, Any]:
    """With the steps that were asked for, and what goes by their number."""
    plan = dict(tree.get("optimisation", {}))
    if not plan:
        plan["learning_rate"] = 0.0002 if tree["net"] in SLOW_NETS else 0.001
    steps = wish.steps or plan.get("steps") or STEPS
    if steps != plan.get("steps"):
        plan |= {"steps": steps, "warmup_steps": min(plan.get("warmup_steps", 200), steps // 10)}
        plan["validate_every"] = min(plan.get("validate_every", 1000), max(1, steps // 4))
    return {"steps": plan.pop("steps"), **plan}


def _slug(name: str) -> str:
    """A name that an engine may have."""
    return re.sub(r"^[^a-z]+|[^a-z0-9_-]+", "", name.lower().replace(" ", "-")) or "own"


def _input_size(size_wh: tuple[int, int]) -> str:
    """As many pixels as the default's and no more than the frames have, in their shape."""
    scale = min(1.0, (PIXELS / (size_wh[0] * size_wh[1])) ** 0.5)
    width, height = (max(GRID, round(side * scale / GRID) * GRID) for side in size_wh)
    return f"{width}x{height}"


# ------------------------------------------------------------------------------------------------------------ the file

COMMENTS = {
    "net": "docs/nets.md says which",
    "classes": "the first has id 0; each may have a colour and a group: docs/training.md",
    "input_size": "what the net sees of a frame, width x height",
    "train": "what it learns from",
    "val": "measured, never trained on",
    "optimisation": "docs/training.md has every key and its default",
    "licence": "of the weights: say it before you pass them on",
}


def write_recipe(written: Written, wish: Wish, path: Path) -> None:
    """Write the recipe with comments; one that is there already stays, if it says the same.

    Raises:
        ConfigError: the file is there and says something else.
        OutputError: it cannot be written.
    """
    if path.exists():
        if read_tree(path) != json.loads(json.dumps(written.tree)):
            raise ConfigError(
                f"{path}: is there already and says something else. Go on with it: edge train {path} --run"
                f" {path.parent}; or begin another run: --run FOLDER"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, recipe_text(written, wish, path))


def recipe_text(written: Written, wish: Wish, path: Path) -> str:
    """YAML, a comment above what is worth one; a recipe that comes with edge and was not changed, as it came."""
    if wish.recipe is not None and read_tree(source := find_recipe(wish.recipe)) == written.tree:
        return source.read_text(encoding="utf-8")
    lines = [f"Written by: {wish.command()}", *written.notes]
    lines += ["Change what you like before the first step, or in a copy for another run:"]
    lines += [f"  edge data check {path}", f"  edge train {path} --run {path.parent}"]
    text = "".join(f"# {_printable(line)}\n" for line in lines)
    return text + yaml_of(written.tree)


def yaml_of(tree: Mapping[str, Any]) -> str:
    """A recipe's keys in YAML, a comment above what is worth one."""
    return "".join((f"# {COMMENTS[key]}\n" if key in COMMENTS else "") + _dumped(key, tree[key]) for key in tree)


def _printable(line: str) -> str:
    """A folder's name may hold a line break, which would end the comment."""
    return "".join(c if c.isprintable() else "?" for c in line)


def _dumped(key: str, value: Any) -> str:
    """One key in YAML, as it is read back: where plain words would be read as numbers, in JSON, which is YAML too."""
    value = json.loads(json.dumps(value))
    flow = None if isinstance(value, (dict, list)) else False  # the innermost in one line; never the whole
    text: str = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=flow, width=110, allow_unicode=True)
    return text if _reads_back(text, {key: value}) else f"{key}: {json.dumps(value, ensure_ascii=False)}\n"


def _reads_back(text: str, tree: dict[str, Any]) -> bool:
    try:
        return parse_yaml(text) == tree
    except (yaml.YAMLError, ValueError):
        return False


def names_of(text: str | None) -> tuple[str, ...]:
    """Of "cat, dog"."""
    names: Sequence[str] = [] if text is None else [name.strip() for name in text.split(",")]
    if text is not None and not all(names):
        raise ConfigError(f"--classes: expected names with commas between, such as cat,dog; got {text!r}")
    return tuple(names)
