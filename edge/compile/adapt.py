"""An engine adapted to a camera by its drives, without labels: trained on by what it thinks itself, judged, and built
only if that helped.

    found = edge.adapt("road", ["monday.mp4", "night.mp4"], to="my-road")
    print(found)                                  # what changed, and the build's report
    engine = edge.open_engine("my-road")

The net is restored from the bundle's graph, and trained by a recipe that is written for the purpose: the frames of the
drives that differ most, with soft labels of the engine as it was and of the moving average of the net, both averaged
with what they say of the mirror image, and of larger teachers if any are named; held to what it knew by rendered
streets, or by the labelled frames of a recipe. The end of each drive is kept for judging.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edge.compile.adapt_judge import HELD_OUT, LEAST_FRAMES, Verdict, compare
from edge.compile.build import Steps
from edge.compile.calibration import choose, find_candidates, make_set
from edge.compile.export import make_bundle
from edge.compile.library import BUILT, Built, silent
from edge.compile.library import build as build_engine
from edge.compile.restore import restore
from edge.config import drive_name, load_yaml, parse_tree, read_tree
from edge.engine import Bundle, find_bundle, load_bundle
from edge.errors import ConfigError, GateRefused
from edge.sinks.collisions import check_replaced
from edge.sinks.files import write_text
from edge.sources.seek import open_recording
from edge.street.render import StreetScene
from edge.train.checkpoint import write_checkpoint
from edge.train.label_sets import TABLES
from edge.train.loop import Report, Trainer
from edge.train.plans import OWN, Teacher
from edge.train.recipe import Recipe
from edge.train.written import yaml_of

STEPS = 300
STREETS, FRAMES = 12, 8  # rendered for training: a street takes as long to lay out as a few frames of it to draw
TRUTH_STREETS, TRUTH_FRAMES, TRUTH_SEED = 8, 6, 7001  # and for judging, of other seeds
CALIBRATION_FRAMES = 64
LIMITS = {"miou": 0.5}  # points, of an engine whose card has no gate
AS_IT_WAS: dict[str, Any] = {"mirrored": True, "temperature": 1.0, "weight": 0.5}
AS_IT_IS: dict[str, Any] = {"mirrored": True, "temperature": 1.0, "weight": 1.0, "frames": "unlabelled"}
AUGMENTATION: dict[str, Any] = {"jpeg": 0.2, "low_resolution": 0.1}
# A folded batch norm has no statistics to go on with, and a short run shall not move far.
OPTIMISATION: dict[str, Any] = {
    "batch": 4,
    "learning_rate": 0.0001,
    "ema_decay": 0.99,
    "freeze_norms": True,
    "auxiliary_weight": 0.0,  # auxiliary heads are not in a bundle, and would begin anew
}
_LOOKED_AT = 1000  # frames of all drives, at most, that calibration chooses from


@dataclass(frozen=True)
class Adaptation:
    """What to adapt to what. `recipe` is one whose labelled frames hold the net to what it knew, in place of rendered
    streets; `run` is the folder of the training, engines/built/NAME.run if None.
    """

    engine: str
    drives: tuple[str, ...]
    name: str
    steps: int = STEPS
    teachers: tuple[Teacher, ...] = ()
    recipe: Path | None = None
    run: Path | None = None

    @property
    def folder(self) -> Path:
        """Of the training."""
        return self.run or BUILT / f"{self.name}.run"


@dataclass(frozen=True)
class Prepared:
    """An adaptation that is ready to be trained: `recipe` is the file `path`. `notes` are for people."""

    wish: Adaptation
    bundle: Bundle
    recipe: Recipe
    path: Path
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Adapted:
    """An engine that was adapted: what changed, and the build."""

    verdict: Verdict
    built: Built

    def __str__(self) -> str:
        """For people."""
        return f"{self.verdict}\n\n{self.built}"


def adapt(
    engine: str | Path,
    drives: Sequence[str | Path],
    to: str,
    *,
    steps: int = STEPS,
    teachers: Sequence[Teacher] = (),
    recipe: str | Path | None = None,
    run: str | Path | None = None,
    device: str = "auto",
    on_report: Callable[[Report], object] = lambda report: None,
    show: Steps = silent,
) -> Adapted:
    """Adapt an engine to unlabelled drives, in so many steps, and build it as engines/built/`to`. A run that was
    interrupted goes on.

    Raises:
        ConfigError: the engine cannot be trained on, or the run folder holds another adaptation.
        SourceError: a drive cannot be read.
        GateRefused: it did not help, with the figures in `report`; or INT8 lost more than it may. No engine is written.
    """
    read = None if recipe is None else Path(recipe)
    folder = None if run is None else Path(run)
    wish = Adaptation(str(engine), tuple(map(str, drives)), to, steps, tuple(teachers), read, folder)
    prepared = prepare(wish, show)
    trainer = Trainer(prepared.recipe, wish.folder, device)
    for report in trainer.run():
        on_report(report)
    return finish(prepared, show)


# --------------------------------------------------------------------------------------------------------- preparation


def prepare(wish: Adaptation, show: Steps = silent) -> Prepared:
    """Write what the training needs into its folder: the recipe, the net's weights, the truth to judge by. What is
    there already, of the same adaptation, stays.

    Raises:
        ConfigError, SourceError: as `adapt`.
    """
    bundle = find_bundle(wish.engine)
    folder, path = wish.folder, wish.folder / "recipe.yaml"
    check_replaced(BUILT / wish.name, [bundle.folder])
    for drive in wish.drives:
        _check_drive(drive)
    anchor = load_yaml(wish.recipe, Recipe) if wish.recipe else None
    tree = json.loads(json.dumps(_recipe_tree(wish, bundle, anchor)))  # as it is read back
    recipe = parse_tree(tree, Recipe, f"the adaptation of {wish.engine}")
    if path.exists() and read_tree(path) != tree:
        raise ConfigError(
            f"{path}: is there already, of another adaptation. Go on with that one by its own options, or begin"
            " another: --run FOLDER"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (start := folder / "start.pt").is_file():
        show("the net's weights, from its graph", None)
        state = {"recipe": tree, "step": bundle.card.trained_steps, "averaged": restore(bundle).state_dict()}
        write_checkpoint(start, state)
    if anchor is None:
        _draw_truth(folder / "truth", recipe, show)
    if recipe.build is not None and not recipe.build.calibration.set_path.is_file():
        _choose_calibration(wish, recipe, show)
    if not path.exists():  # last: what it names is there
        write_text(path, f"# Written by edge adapt {wish.engine} ... --to {wish.name}\n{yaml_of(tree)}")
    return Prepared(wish, bundle, recipe, path, tuple(_notes(bundle, recipe)))


def _check_drive(drive: str) -> None:
    """Raises:
    ConfigError: the drive is too short to hold frames back for judging.
    SourceError: it cannot be read, or is a camera.
    """
    if drive.startswith("scene:"):
        raise ConfigError(f"{drive}: is a rendered scene, expected a drive of your camera")
    with open_recording(drive_name(drive)) as source:
        if source.frame_count < LEAST_FRAMES:
            raise ConfigError(
                f"{drive}: has {source.frame_count} frames, expected {LEAST_FRAMES} or more, so that some can be held"
                " back for judging"
            )


def _notes(bundle: Bundle, recipe: Recipe) -> list[str]:
    further = [o.name for o in bundle.card.outputs if o.name not in ("semantic", "confidence")]
    names = ", ".join(further)
    lost = f"{bundle.card.name} has {names} too; the adapted engine will not, since heads know their net"
    return [lost] if further else []


def _recipe_tree(wish: Adaptation, bundle: Bundle, anchor: Recipe | None) -> dict[str, Any]:
    """The recipe of the training and of the build, as YAML holds it."""
    card, folder = bundle.card, wish.folder
    _check_fits(anchor, bundle, wish)
    sizes = sorted({g.input_wh for g in card.graphs if g.input_wh}, reverse=True)
    names = ", ".join(Path(drive).name for drive in wish.drives)
    teachers = [teacher.model_dump(mode="json", exclude_defaults=True) for teacher in wish.teachers]
    tree: dict[str, Any] = {
        "name": wish.name,
        "net": card.net,
        "classes": anchor.model_dump(mode="json")["classes"] if anchor else "camvid",
        "input_size": "{}x{}".format(*card.input_wh),
        "resize": card.resize,
        **(_labelled(anchor) if anchor else _rendered(folder)),
        "unlabelled": {"drives": list(wish.drives), "frames": 120, "held_out": HELD_OUT, "share": 0.5},
        "teacher": [{"engine": wish.engine, **AS_IT_WAS}, {"engine": OWN, **AS_IT_IS}, *teachers],
        "start": str(folder / "start.pt"),
        "augmentation": {**AUGMENTATION, "shapes": [f"{w}x{h}" for w, h in _shapes(card.input_wh, sizes)]},
        "optimisation": {
            "steps": wish.steps,
            **OPTIMISATION,
            "warmup_steps": wish.steps // 10,
            "validate_every": wish.steps,
        },
        "licence": card.licence,
        "data_note": f"{card.training_data}; adapted from {card.name} (weights {card.weights_sha256[:12]}) to drives"
        f" without labels: {names}",
    }
    if targets := sorted({g.runtime for g in card.graphs if g.precision == "int8"}):
        tree["build"] = {
            "targets": targets,
            "sizes": [f"{w}x{h}" for w, h in sizes],
            "calibration": {"set": str(folder / "calibration.yaml")},
            "gate": _gate(anchor, {**tree["val"], "limits": limits_of(bundle)}, wish),
        }
    return tree


def _shapes(input_wh: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What batches are cut to: the engine's sizes, as far as they fit into its own."""
    return [input_wh, *(size for size in sizes if size[0] <= input_wh[0] and size[1] <= input_wh[1])]


def _labelled(anchor: Recipe) -> dict[str, Any]:
    """What holds the net to what it knew, of a recipe: its data sets, by their number of frames."""
    folders = [one.model_dump(mode="json", exclude_none=True, exclude={"share"}) for one in anchor.train]
    return {"train": folders, "val": anchor.val.model_dump(mode="json", exclude_none=True)}


def _rendered(folder: Path) -> dict[str, Any]:
    """Likewise, of rendered streets."""
    truth = folder / "truth"
    return {
        "rendered": {"streets": STREETS, "frames": FRAMES, "first_seed": 5000, "share": 0.5},
        "val": {"frames": str(truth / "frames"), "labels": str(truth / "labels")},
    }


def _gate(anchor: Recipe | None, of_truth: dict[str, Any], wish: Adaptation) -> dict[str, Any]:
    """What INT8 must hold: as the recipe has it, or on the rendered truth."""
    if anchor is None:
        return of_truth
    if anchor.build is None:
        raise ConfigError(f"{wish.recipe}: expected a `build:` section, whose gate the adapted engine must hold")
    return anchor.build.gate.model_dump(mode="json", exclude_none=True)


def _check_fits(anchor: Recipe | None, bundle: Bundle, wish: Adaptation) -> None:
    """Raises:
    ConfigError: there is nothing that could hold the net to what it knew.
    """
    card = bundle.card
    if anchor is None:
        if card.table.names != TABLES["camvid"].names:
            raise ConfigError(
                f"{wish.engine}: has other classes than the rendered street, so labelled frames must hold it to what it"
                " knew: name the recipe that it was trained by: --recipe RECIPE"
            )
        return
    if anchor.net != card.net or anchor.table.names != card.table.names:
        raise ConfigError(
            f"{wish.recipe}: is of another net or other classes than {wish.engine}: {anchor.net}, {len(anchor.table)}"
            f" classes; expected {card.net}, {len(card.table)} classes"
        )
    if not anchor.train:
        raise ConfigError(f"{wish.recipe}: expected labelled frames under `train`")


def limits_of(bundle: Bundle) -> dict[str, float]:
    """Points that the adapted engine may lose on frames with truth: those that its INT8 had to hold."""
    return dict(bundle.card.gate.limits) if bundle.card.gate else LIMITS


def _draw_truth(folder: Path, recipe: Recipe, show: Steps) -> None:
    """Frames of streets that the training does not see, and their classes, as PNG."""
    total = TRUTH_STREETS * TRUTH_FRAMES
    frames, labels = folder / "frames", folder / "labels"
    if labels.is_dir() and len(list(labels.glob("*.png"))) == total:
        return
    advance = show("rendering streets to judge by", total)
    for place in (frames, labels):
        place.mkdir(parents=True, exist_ok=True)
    for street in range(TRUTH_STREETS):
        scene = StreetScene(seed=TRUTH_SEED + street, size_wh=recipe.input_wh)
        for number in range(TRUTH_FRAMES):
            drawn = scene.render(number * 45)
            name = f"{street:02}-{number}.png"
            cv2.imwrite(str(frames / name), drawn.image)
            cv2.imwrite(str(labels / name), drawn.classes)
            advance()


def _choose_calibration(wish: Adaptation, recipe: Recipe, show: Steps) -> None:
    """The set of frames that INT8's ranges are taken from, of the same drives."""
    assert recipe.build is not None
    total = 0
    for drive in wish.drives:
        with open_recording(drive_name(drive)) as source:
            total += source.frame_count
    every = max(1, math.ceil(total / _LOOKED_AT))
    candidates = find_candidates(wish.drives, every, show("looking at frames", total // every))
    chosen, coverage = choose(candidates, min(CALIBRATION_FRAMES, len(candidates)))
    made = make_set(recipe.name, candidates, chosen, coverage)
    write_text(recipe.build.calibration.set_path, made.to_yaml())


# ------------------------------------------------------------------------------------------------------ after training


def finish(prepared: Prepared, show: Steps = silent) -> Adapted:
    """Judge the net of a training that is done against the engine it came from, and build it if it helped.

    Raises:
        GateRefused: as `adapt`.
    """
    verdict = judge(prepared, show)
    wish, recipe = prepared.wish, prepared.recipe
    if not verdict.helps:
        refused = GateRefused(
            f"{wish.name}: refused, not written: {'; '.join(verdict.reasons)}. More or other drives, more --steps or a"
            f" larger --teacher may help; {wish.engine} stays as it is"
        )
        refused.report, refused.figures = str(verdict), verdict.as_json()
        raise refused
    if recipe.build is not None:  # ranges of other weights, of an earlier try
        recipe.build.calibration.scales_path.unlink(missing_ok=True)
    return Adapted(verdict, build_engine(prepared.path, run=wish.folder, to=BUILT / wish.name, steps=show))


def judge(prepared: Prepared, show: Steps = silent) -> Verdict:
    """The trained net against the engine it came from, both in fp32: how they agree with themselves on what was held
    back of the drives, and how right they are on frames with truth.
    """
    from tempfile import TemporaryDirectory

    from edge.train.data import plain_folder

    recipe, wish = prepared.recipe, prepared.wish
    with TemporaryDirectory(prefix="edge-adapt-") as scratch:
        plain = recipe.model_copy(update={"build": None})
        after = make_bundle(plain, wish.folder / "last.pt", Path(scratch, "after"))
        truth = plain_folder(recipe.val, recipe.table, Path(scratch, "truth"))
        return compare(prepared.bundle, load_bundle(after.folder), wish.drives, truth, limits_of(prepared.bundle), show)
