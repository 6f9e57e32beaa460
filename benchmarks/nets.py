"""Several nets on one budget: each trained by the same recipe for as many steps, built in INT8, and measured.

    python -m benchmarks.nets engines/road.yaml --nets ddrnet23_slim edge_small --steps 2000 --to out/nets

The recipe needs a `build:` section. INT8 is judged on its gate's frames, but nothing is refused: what a net loses is
what the table is for. A net's training and engine lie in `out/nets/NET`; what is there already is not made again, so an
interrupted comparison goes on with the same command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from edge.card import Card
from edge.config import load_yaml
from edge.engine import load_bundle
from edge.errors import ConfigError
from edge.nets import NETS, make_net
from edge.nets.cost import count_macs, parameter_count
from edge.report import table
from edge.train.recipe import Recipe

PRECISIONS = ("f32", "int8")


def recipe_of(base: Path, net: str, steps: int, folder: Path) -> Path:
    """The recipe for one net, with a copy of the calibration set, whose scales lie beside it and are the net's own."""
    plan = load_yaml(base, Recipe)
    if plan.build is None:
        raise ConfigError(f"{base}: has no `build:` section; INT8 cannot be compared without")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = shutil.copy(plan.build.calibration.set_path, folder / "set.yaml")
    tree: dict[str, Any] = plan.model_dump(mode="json", exclude_unset=True)
    tree |= {"name": net.replace("_", "-"), "net": net, "checkpoint": str(folder / "run/last.pt")}
    tree["optimisation"]["steps"] = steps
    tree["build"]["calibration"]["set"] = str(chosen)
    tree["build"] |= {"targets": ["openvino"], "sizes": []}
    tree["build"]["gate"]["limits"] = {"miou": 100}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def make_engine(recipe: Path, rendered: Path) -> Card:
    """Train and build by the commands that everybody uses; the card of what came of it."""
    folder = recipe.parent
    run, bundle = folder / "run", folder / "engine"
    run.mkdir(exist_ok=True)
    if rendered.is_file() and not (run / "rendered.npz").exists():
        os.link(rendered, run / "rendered.npz")  # streets are the same for all nets
    if not bundle.exists():
        edge("train", recipe, "--run", run)
        edge("build", recipe, "--to", bundle)
    if not rendered.exists() and (run / "rendered.npz").is_file():
        os.link(run / "rendered.npz", rendered)
    return load_bundle(bundle).card


def edge(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "edge.cli", *map(str, words)], check=True)


def row(net: str, card: Card) -> list[str]:
    """Cells for one net; a dash for what its card does not hold."""
    with torch.device("meta"):
        made = make_net(net, len(card.table))
    miou = {found.precision: f"{100 * found.miou:.2f}" for found in card.measured.accuracy}
    p50 = {found.precision: f"{found.p50_ms:.2f}" for found in card.measured.speed}
    cells = [net, f"{parameter_count(made) / 1e6:.2f}", f"{count_macs(made, card.input_wh) / 1e9:.2f}"]
    cells += [miou.get(precision, "-") for precision in PRECISIONS]
    return cells + [p50.get(precision, "-") for precision in PRECISIONS]


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--nets", nargs="+", choices=sorted(NETS), default=["ddrnet23_slim", "edge_small"])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--to", type=Path, default=Path("out/nets"))
    wish = parser.parse_args()
    rows = []
    for net in wish.nets:
        recipe = recipe_of(wish.recipe, net, wish.steps, wish.to / net)
        rows.append(row(net, make_engine(recipe, wish.to / "rendered.npz")))
    figures = [*(f"mIoU {p}" for p in PRECISIONS), *(f"ms {p}" for p in PRECISIONS)]
    print(table(("net", "M params", "GMAC", *figures), rows))
    print(f"{wish.steps} steps each by {wish.recipe}; one run of one seed, so a point of mIoU more or less says little")


if __name__ == "__main__":
    main()
