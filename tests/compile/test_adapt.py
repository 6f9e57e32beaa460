"""`edge adapt`: from an engine and drives without labels to an engine, or to a refusal with its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnxruntime")

import edge  # noqa: E402
from edge.compile import adapt as adapting  # noqa: E402
from edge.compile.adapt import Adaptation, adapt, prepare  # noqa: E402
from edge.compile.adapt_judge import MIRRORED, STEADY, Change, Verdict, _broken, _change, _gone, _unhelpful  # noqa: E402
from edge.compile.export import make_bundle  # noqa: E402
from edge.config import load_yaml, parse_tree  # noqa: E402
from edge.engine import Bundle  # noqa: E402
from edge.errors import ConfigError, GateRefused, SourceError  # noqa: E402
from edge.frame import Image  # noqa: E402
from edge.street.render import StreetScene  # noqa: E402
from edge.train.checkpoint import write_checkpoint  # noqa: E402
from edge.train.loop import Trainer  # noqa: E402
from edge.train.recipe import Recipe  # noqa: E402

WH = (96, 64)


# ---------------------------------------------------------------------------------------------------------- the verdict


def change(before: float, after: float, interval: tuple[float, float]) -> Change:
    return Change(before, after, interval)


RISEN, SAME, FALLEN = (change(0.9, 0.92, (0.01, 0.03)), change(0.9, 0.9, (-0.01, 0.01)), change(0.9, 0.8, (-0.2, -0.1)))


@pytest.mark.parametrize(
    ("steady", "mirrored", "words"),
    [
        (RISEN, RISEN, []),
        (RISEN, SAME, []),
        (SAME, RISEN, ["agreement along the motion did not surely rise (90.00% before, 90.00% after)"]),
        (RISEN, FALLEN, ["agreement with the mirror image fell (90.00% before, 80.00% after)"]),
    ],
)
def test_it_helps_where_masks_agree_more_along_the_motion_and_no_less_with_the_mirror_image(
    steady: Change, mirrored: Change, words: list[str]
) -> None:
    assert list(_unhelpful({STEADY: steady, MIRRORED: mirrored})) == words


def test_a_class_that_is_gone_does_not_help() -> None:
    shares = {"Road": (0.3, 0.01), "Car": (0.1, 0.05), "Pole": (0.005, 0.0), "Sky": (0.2, 0.64)}
    assert list(_gone(shares)) == ["Road is gone (30.00% of the image before, 1.00% after)"]


def test_points_lost_over_a_limit_are_named() -> None:
    assert list(_broken({"miou": 0.4, "road": 0.7}, {"miou": 0.5, "road": 0.3})) == [
        "road lost 0.70 points on frames with truth, allowed 0.3"
    ]


def test_a_gain_that_every_frame_shows_is_sure_and_one_of_a_single_frame_is_not() -> None:
    before = np.array([[900, 1000]] * 12, np.int64)
    everywhere, once = before.copy(), before.copy()
    everywhere[:, 0] += 20
    once[0, 0] += 100
    sure, unsure = _change(before, everywhere), _change(before, once)
    assert (sure.before, sure.after) == pytest.approx((0.9, 0.92))
    assert sure.interval == pytest.approx((0.02, 0.02))
    assert unsure.interval[0] == 0


# ------------------------------------------------------------------------------------------------------ from end to end


def write_drive(path: Path, images: Sequence[Image]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, WH)
    for image in images:
        writer.write(image)
    writer.release()
    return path


@pytest.fixture(scope="session")
def street() -> list[Image]:
    """uint8 (64, 96, 3) BGR each: frames of a rendered street."""
    scene = StreetScene(seed=5, size_wh=WH)
    return [scene.render(3 * number).image for number in range(24)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small net that knows a little of a rendered street."""
    home = tmp_path_factory.mktemp("engine")
    for part in ("frames", "labels"):
        (home / part).mkdir()
    for number in range(4):
        drawn = StreetScene(seed=number, size_wh=WH).render(0)
        cv2.imwrite(str(home / "frames" / f"{number}.png"), drawn.image)
        cv2.imwrite(str(home / "labels" / f"{number}.png"), drawn.classes)
    folder = {"frames": str(home / "frames"), "labels": str(home / "labels")}
    tree = {
        "name": "tiny",
        "net": "edge_small",
        "input_size": f"{WH[0]}x{WH[1]}",
        "train": [folder],
        "val": folder,
        "optimisation": {"steps": 10, "batch": 4, "warmup_steps": 0, "learning_rate": 0.004, "ema_decay": 0.8},
        "licence": "none",
        "data_note": "made up",
    }
    (home / "tiny.yaml").write_text(json.dumps(tree))
    recipe = parse_tree(tree, Recipe, "test")
    trainer = Trainer(recipe, home / "run", "cpu")
    for _ in range(10):
        trainer_step(trainer)
    write_checkpoint(home / "last.pt", trainer._state())
    return make_bundle(recipe, home / "last.pt", home / "tiny")


def trainer_step(trainer: Trainer) -> None:
    if not hasattr(trainer, "stream"):
        from edge.train.data import batches

        pairs = trainer._read(trainer.recipe.train[0])
        trainer.stream = batches([pairs], [], trainer.recipe, trainer.table, 0)  # type: ignore[attr-defined]
    trainer._train_one(next(trainer.stream), torch.ones(256))  # type: ignore[attr-defined]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, where few streets are rendered."""
    monkeypatch.chdir(tmp_path)
    for count in ("STREETS", "FRAMES", "TRUTH_STREETS", "TRUTH_FRAMES"):
        monkeypatch.setattr(adapting, count, 1)
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])
    return tmp_path


@pytest.fixture
def home(room: Path, street: list[Image]) -> Path:
    """It, with a drive."""
    write_drive(room / "drive.avi", street)
    return room


def judged(**changes: Any) -> Callable[..., Verdict]:
    """A verdict in place of the real one: what it says is tested above."""
    verdict = Verdict(4, {STEADY: RISEN, MIRRORED: SAME}, {"Road": (0.3, 0.31)}, "truth", {"miou": -0.2}, {}, ())
    return lambda *args: replace(verdict, **changes)


@pytest.mark.train
def test_an_engine_is_adapted_built_and_runs(engine: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "compare", judged())
    steps: list[int] = []
    found = adapt(engine.folder, ["drive.avi"], "mine", steps=10, on_report=lambda report: steps.append(report.step))
    assert steps == list(range(1, 11))
    assert "90.00%" in str(found)
    card = found.built.bundle.card
    assert card.name == "mine"
    assert "adapted from tiny" in card.training_data
    assert card.weights_sha256 != engine.card.weights_sha256
    with edge.open_engine("mine") as opened:
        assert opened(np.zeros((64, 96, 3), np.uint8)).class_map().shape == (64, 96)


@pytest.mark.train
def test_one_that_did_not_help_is_refused_with_its_figures_and_nothing_is_written(
    engine: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "compare", judged(reasons=("it did not help",)))
    with pytest.raises(GateRefused, match="mine: refused, not written: it did not help") as refused:
        adapt(engine.folder, ["drive.avi"], "mine", steps=10)
    assert "along the motion" in refused.value.report
    assert refused.value.figures is not None
    assert refused.value.figures["reasons"] == ["it did not help"]
    assert not Path("engines/built/mine").exists()


@pytest.mark.train
def test_an_interrupted_adaptation_goes_on(engine: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "compare", judged())

    class Stopped(Exception):
        pass

    def stop(report: Any) -> None:
        if report.step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        adapt(engine.folder, ["drive.avi"], "mine", steps=10, on_report=stop)
    steps: list[int] = []
    adapt(engine.folder, ["drive.avi"], "mine", steps=10, on_report=lambda report: steps.append(report.step))
    assert steps == list(range(5, 11))


@pytest.mark.train
def test_labelled_frames_of_a_recipe_hold_the_net_in_place_of_streets(engine: Bundle, home: Path) -> None:
    wish = Adaptation(str(engine.folder), ("drive.avi",), "mine", 10, recipe=engine.folder.parent / "tiny.yaml")
    prepared = prepare(wish)
    assert prepared.recipe.rendered is None
    assert len(prepared.recipe.train) == 1
    assert prepared.recipe.val.frames.endswith("frames")
    assert load_yaml(prepared.path, Recipe) == prepared.recipe


@pytest.mark.slow
def test_a_folder_with_another_adaptation_is_not_taken_over(engine: Bundle, home: Path) -> None:
    prepare(Adaptation(str(engine.folder), ("drive.avi",), "mine", 10))
    with pytest.raises(ConfigError, match="is there already, of another adaptation"):
        prepare(Adaptation(str(engine.folder), ("drive.avi",), "mine", 11))


@pytest.mark.parametrize(
    ("drive", "error", "words"),
    [
        ("short.avi", ConfigError, "short.avi: has 7 frames, expected 20 or more"),
        ("gone.avi", SourceError, "gone.avi"),
        ("scene:street?seed=1&frames=30", ConfigError, "is a rendered scene"),
    ],
)
def test_a_drive_that_will_not_do_is_named_before_any_work(
    room: Path, drive: str, error: type[Exception], words: str
) -> None:
    write_drive(room / "short.avi", [np.zeros((64, 96, 3), np.uint8)] * 7)
    with pytest.raises(error, match=words.replace("?", ".")):
        prepare(Adaptation("road", (drive,), "mine", 10))
    assert not (room / "engines").exists()


def edge_command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.release
def test_the_command_says_what_changed_and_why_it_refuses(engine: Bundle, home: Path) -> None:
    """Ten steps at a low rate change next to nothing, so that nothing can have helped."""
    result = edge_command("adapt", engine.folder, "drive.avi", "--to", "mine", "--steps", "10", "--json", "found.json")
    assert result.returncode == 70, result.stderr
    assert "mine: refused, not written: " in result.stderr
    assert "along the motion" in result.stdout
    found = json.loads(Path("found.json").read_text())
    assert found["helps"] is False
    assert found["reasons"]
    assert "Traceback" not in result.stderr
    assert not Path("engines/built/mine").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no-such-engine", "drive.avi", "--to", "mine"), "no engine is called 'no-such-engine'"),
        (("road", "drive.avi", "--to", "Mine!"), "name"),
        (("road", "drive.avi", "--to", "mine", "--teacher", "net.xml"), "expected `map`"),
        (("road", "drive.avi", "--to", "mine", "--teacher", "net.xml?0"), "expected CHANNEL=MEANING"),
    ],
)
def test_a_wrong_wish_is_one_line(home: Path, words: tuple[str, ...], said: str) -> None:
    result = edge_command("adapt", *words)
    assert result.returncode in (70, 78)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
