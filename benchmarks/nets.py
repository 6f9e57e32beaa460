"""The nets side by side: each trained by the same recipe on one budget, written in INT8, judged and timed.

    python -m benchmarks.nets                  # make what is missing of every net in out/nets, then print the table
    python -m benchmarks.nets --no-training    # the same with nets as far as they are trained
    python -m benchmarks.nets --times-only     # print the table of what is there, with times measured now

Judged is each net's INT8 graph as it comes, all layers but the last, against its own fp32 graph; nothing is refused and
no layer goes back to floating point: what a net loses is what the table is for. `edge build` on a net's recipe.yaml
makes an engine of it. A net's recipe, training, graphs and scores lie in `out/nets/NET`; what is there is not made
again, so that an interrupted comparison goes on with the same command. Another budget needs another folder.

Times are of a bare engine, image in to classes out, f32 and INT8 in turn; at the training's size and at 480x360, with
the same weights. They want a machine with nothing else to do, and some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from torch import nn

from edge.backends import open_engine
from edge.card import Graph
from edge.classes import ClassTable
from edge.compile.attempt import INT8_FILES
from edge.compile.calibration import load_set
from edge.compile.export import make_bundle
from edge.compile.judge import judge
from edge.compile.observe import Range, observe, ranges_at_size, read_scales
from edge.compile.quantize import to_bytes, write_int8
from edge.config import data_path, load_yaml
from edge.engine import MODEL_FILE, Bundle, Engine, load_bundle, write_bundle
from edge.errors import EdgeError
from edge.nets import NETS, make_net
from edge.nets.cost import count_macs, parameter_count
from edge.report import table
from edge.score import Score
from edge.train.recipe import Recipe

BUDGET = {"steps": 150, "batch": 4, "warmup_steps": 20}
RATE, RATE_WITHOUT_NORM = 0.0015, 0.0003  # chosen, not searched for: without batch norm, steps must be smaller
INPUT, LARGE_WH = "240x180", (480, 360)
GROUPS = ("road", "pedestrian")
ROUNDS, ROUND_S = 3, 0.5

Row = list[str]


# ------------------------------------------------------------------------------------------------------- one net


def write_recipe(base: Path, net: str, budget: dict[str, Any], size: str, folder: Path) -> Path:
    """The recipe for one net: the base's data and build, the budget of all, and nothing that it starts from."""
    tree: dict[str, Any] = load_yaml(base, Recipe).model_dump(mode="json", exclude_unset=True)
    for key in ("rendered", "start", "encoder_weights", "qat"):
        tree.pop(key, None)
    tree.get("augmentation", {}).pop("shapes", None)
    tree |= {"name": net.replace("_", "-"), "net": net, "input_size": size, "checkpoint": str(folder / "run/last.pt")}
    tree["optimisation"] = {**budget, "learning_rate": rate_of(net)}
    tree["build"] |= {"targets": ["openvino"], "sizes": []}
    tree["build"]["calibration"]["scales"] = str(folder / "scales.json")
    tree["build"]["gate"]["limits"] = {"miou": 100}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def rate_of(net: str) -> float:
    with torch.device("meta"):
        has_norm = any(isinstance(module, nn.BatchNorm2d) for module in make_net(net, 2).modules())
    return RATE if has_norm else RATE_WITHOUT_NORM


def make(recipe: Path, train: bool) -> None:
    """Train the net by the command that everybody uses, and judge it, unless that is done."""
    folder = recipe.parent
    plan = load_yaml(recipe, Recipe)
    if train and steps_of(folder) < plan.optimisation.steps:
        subprocess.run([sys.executable, "-m", "edge.cli", "train", recipe, "--run", folder / "run"], check=True)
    if judged_at(folder) < steps_of(folder):
        judge_run(folder, plan)
    if not (folder / "large").is_dir():
        ranges = read_scales(folder / "scales.json").tensors
        with_int8(make_bundle(plan.at(LARGE_WH), folder / "run/last.pt", folder / "large"), ranges)


def steps_of(folder: Path) -> int:
    """How many steps the net is trained for."""
    path = folder / "run/last.pt"
    return torch.load(path, weights_only=True, mmap=True)["step"] if path.is_file() else 0


def judged_at(folder: Path) -> int:
    """How many steps the net had been trained for when it was judged; 0 for one that was not."""
    path = folder / "scores.json"
    return json.loads(path.read_text())["step"] if path.is_file() else 0


def judge_run(folder: Path, plan: Recipe) -> None:
    """Write the net's graphs, as far as it is trained, and score them."""
    assert plan.build is not None
    chosen = load_set(plan.build.calibration.set_path)
    bundle = make_bundle(plan, folder / "run/last.pt", folder / "engine")
    scales = observe(bundle.read(bundle.graph("f32", "openvino")), bundle.card, chosen, "max")
    (folder / "scales.json").write_text(scales.to_json())
    with_int8(bundle, scales.tensors)
    scores = {"step": bundle.card.trained_steps, **scores_of(folder / "engine", plan)}
    (folder / "scores.json").write_text(json.dumps(scores) + "\n")


def with_int8(bundle: Bundle, ranges: Mapping[str, Range]) -> None:
    """Put OpenVINO's INT8 graph into the bundle."""
    model = bundle.read(bundle.graph("f32", "openvino"))
    graph = onnx.load_from_string(model)
    int8 = write_int8(graph, ranges_at_size(ranges, graph), "openvino")
    graphs = {MODEL_FILE: model, INT8_FILES["openvino"]: to_bytes(int8)}
    kinds = {MODEL_FILE: ("fp32", "any"), INT8_FILES["openvino"]: ("int8", "openvino")}
    listed = tuple(Graph(name, *kinds[name], hashlib.sha256(data).hexdigest()) for name, data in graphs.items())
    write_bundle(bundle.folder, graphs, dataclasses.replace(bundle.card, graphs=listed))


def scores_of(folder: Path, plan: Recipe) -> dict[str, dict[str, float]]:
    """IoU on all validation frames by precision: of the mean and of the groups, 0..1."""
    gate = plan.build.gate if plan.build else None
    assert gate is not None
    assert gate.labels is not None
    with opened(folder, "f32") as reference, opened(folder, "int8") as candidate:
        own, found = judge(reference, {"int8": candidate}, str(data_path(gate.frames)), data_path(gate.labels))
    return {"f32": ious(own, plan.table), "int8": ious(found["int8"], plan.table)}


def ious(score: Score, classes: ClassTable) -> dict[str, float]:
    confusion = score.confusion
    return {"miou": confusion.miou(), **{name: confusion.group_iou(classes.ids(name)) for name in GROUPS}}


def opened(folder: Path, precision: str) -> Engine:
    return open_engine(folder, precision=precision, backend="openvino")


# --------------------------------------------------------------------------------------------------------- times


def p50_ms(folder: Path) -> dict[str, float]:
    """Milliseconds for a frame by precision: the median of rounds that take turns, of each its median."""
    width, height = load_bundle(folder).card.input_wh
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found: dict[str, list[float]] = {"f32": [], "int8": []}
    with opened(folder, "f32") as f32, opened(folder, "int8") as int8:
        engines = {"f32": f32, "int8": int8}
        for engine in engines.values():
            engine.infer(image)
        for _ in range(ROUNDS):
            for precision, engine in engines.items():
                found[precision].append(median(frame_times_ms(engine, image)))
    return {precision: median(rounds) for precision, rounds in found.items()}


def frame_times_ms(engine: Engine, image: np.ndarray) -> Iterator[float]:
    """Of as many frames as fit into a round, at least one."""
    end = time.perf_counter() + ROUND_S
    while True:
        start = time.perf_counter()
        engine.infer(image)
        now = time.perf_counter()
        yield (now - start) * 1e3
        if now >= end:
            return


# --------------------------------------------------------------------------------------------------------- table


def row(net: str, folder: Path) -> Row:
    """A net's cells. INT8's are the points that it lost."""
    plan = load_yaml(folder / "recipe.yaml", Recipe)
    with torch.device("meta"):
        made = make_net(net, len(plan.table))
    scores = json.loads((folder / "scores.json").read_text())
    f32, int8 = scores["f32"], scores["int8"]
    times = [p50_ms(folder / name) if (folder / name).is_dir() else {} for name in ("engine", "large")]
    return [
        net,
        str(scores["step"]),
        f"{parameter_count(made) / 1e6:.2f}",
        *(f"{count_macs(made, size_wh) / 1e9:.2f}" for size_wh in (plan.input_wh, LARGE_WH)),
        *(f"{100 * f32[name]:.1f}" for name in ("miou", *GROUPS)),
        *(f"{100 * (f32[name] - int8[name]):.2f}" for name in ("miou", *GROUPS)),
        *(f"{found[precision]:.1f}" if found else "-" for found in times for precision in ("f32", "int8")),
    ]


def print_table(nets: list[str], root: Path, size: str, budget: dict[str, Any]) -> None:
    large = f"{LARGE_WH[0]}x{LARGE_WH[1]}"
    head = ("net", "steps", "M params", f"GMAC {size}", large, "mIoU", *GROUPS, "INT8 loses: mIoU", *GROUPS)
    head += (f"ms {size}: f32", "INT8", f"ms {large}: f32", "INT8")
    print(table(head, [row(net, root / net) for net in nets]))
    print(
        f"{budget['steps']} steps of {budget['batch']} frames at {size} for each net, from random weights, one run of"
        " one seed: how fast they learn, not what they become; a point more or less says little"
    )


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("engines/road.yaml"))
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--steps", type=int, default=BUDGET["steps"])
    parser.add_argument("--batch", type=int, default=BUDGET["batch"])
    parser.add_argument("--size", default=INPUT)
    parser.add_argument("--to", type=Path, default=Path("out/nets"))
    parser.add_argument("--no-training", action="store_true", help="judge the nets as far as they are trained")
    parser.add_argument("--times-only", action="store_true", help="make nothing; nets that are not there are left out")
    wish = parser.parse_args()
    budget = {**BUDGET, "steps": wish.steps, "batch": wish.batch}
    try:
        for net in [] if wish.times_only else wish.nets:
            make(write_recipe(wish.recipe, net, budget, wish.size, wish.to / net), not wish.no_training)
        there = [net for net in wish.nets if (wish.to / net / "scores.json").is_file()]
        print_table(there, wish.to, wish.size, budget)
    except EdgeError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
