"""Soft labels: the loss against values worked out by hand, the teachers, and what a net learns from them alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
openvino = pytest.importorskip("openvino")

from test_teacher import make_teacher  # noqa: E402
from test_train import WH, make_frames  # noqa: E402
from torch import nn  # noqa: E402

from edge.backends import open_engine  # noqa: E402
from edge.classes import CAMVID  # noqa: E402
from edge.config import parse_tree  # noqa: E402
from edge.errors import ConfigError  # noqa: E402
from edge.nets.blocks import conv_bn  # noqa: E402
from edge.train.loop import Trainer  # noqa: E402
from edge.train.plans import Teacher  # noqa: E402
from edge.train.recipe import Recipe  # noqa: E402
from edge.train.soft import SoftTeacher, soft_loss, summed_soft_loss  # noqa: E402
from edge.train.teachers import open_teachers  # noqa: E402

SKY, ROAD, PAVEMENT, TREE = 0, 3, 4, 5
CPU = torch.device("cpu")
EACH = torch.eye(3, dtype=torch.bool)


def pixel(*chances: float) -> Any:
    """(1, C, 1, 1): logits whose softmax has these chances, or the chances' own form by `.exp()`."""
    return torch.tensor(chances).log()[None, :, None, None]


def allowed(*classes: int, count: int = 3) -> Any:
    """bool (1, C, 1, 1)"""
    given = torch.zeros(count, dtype=torch.bool)
    given[list(classes)] = True
    return given[None, :, None, None]


def kl(taught: tuple[float, ...], found: tuple[float, ...]) -> float:
    return sum(t * math.log(t / f) for t, f in zip(taught, found, strict=True))


NET = (0.2, 0.3, 0.5)


@pytest.mark.parametrize(
    ("taught", "label", "expected"),
    [
        ((0.7, 0.2, 0.1), (), 0.7 * kl((0.7, 0.2, 0.1), NET)),  # no label: weighted by how sure the teacher is
        ((0.7, 0.2, 0.1), (0,), 0.7 * kl((0.7, 0.2, 0.1), NET)),  # the label agrees
        ((0.7, 0.2, 0.1), (2,), 0.0),  # a labelled fact beats the teacher
        ((0.1, 0.6, 0.3), (1, 2), 0.6 * kl((0.6 / 0.9, 0.3 / 0.9), (0.3 / 0.8, 0.5 / 0.8))),  # one of two classes
        ((0.9, 0.06, 0.04), (1, 2), 0.06 * kl((0.6, 0.4), (0.375, 0.625))),  # and the teacher thinks it neither
        (NET, (), 0.0),  # nothing to learn
    ],
)
def test_the_loss_of_a_pixel(taught: tuple[float, ...], label: tuple[int, ...], expected: float) -> None:
    loss = soft_loss(pixel(*NET), pixel(*taught).exp(), EACH, allowed(*label))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_a_pixel_of_which_the_teacher_is_unsure_does_not_count() -> None:
    chances = pixel(0.5, 0.3, 0.2).exp()
    assert float(soft_loss(pixel(*NET), chances, EACH, allowed(), confidence=0.6)) == 0
    assert float(soft_loss(pixel(*NET), chances, EACH, allowed(), confidence=0.4)) > 0


def test_a_temperature_softens_both_and_its_square_keeps_the_size_of_the_gradient() -> None:
    chances = pixel(0.64, 0.32, 0.04).exp()

    def softened(p: tuple[float, ...]) -> tuple[float, ...]:
        roots = [x**0.5 for x in p]
        return tuple(x / sum(roots) for x in roots)

    loss = soft_loss(pixel(*NET), chances, EACH, allowed(), temperature=2.0)
    assert float(loss) == pytest.approx(4 * 0.64 * kl(softened((0.64, 0.32, 0.04)), softened(NET)))


def test_a_teacher_of_fewer_classes_is_compared_over_its_meanings_alone() -> None:
    # It knows class 0 from "1 or 2", at 0.6 to 0.2, and 0.2 of something that the net has no class for.
    members = torch.tensor([[True, False, False], [False, True, True]])
    logits = pixel(*NET).requires_grad_()
    loss = soft_loss(logits, pixel(0.6, 0.2).exp(), members, allowed())
    assert float(loss.detach()) == pytest.approx(0.6 * kl((0.75, 0.25), (0.2, 0.8)))
    loss.backward()
    pull = logits.grad[0, :, 0, 0]
    assert pull[0] < 0
    assert float(pull[1] / pull[2]) == pytest.approx(0.3 / 0.5)  # which of the two it is remains open


def test_a_class_that_the_net_thinks_impossible_still_pulls() -> None:
    logits = torch.tensor([30.0, 0.0, 0.0])[None, :, None, None].requires_grad_()
    soft_loss(logits, pixel(0.1, 0.8, 0.1).exp(), EACH, allowed()).backward()
    assert bool(logits.grad.isfinite().all())
    assert float(logits.grad[0, 1, 0, 0]) < -0.5


def says(*chances: float, **plan: Any) -> SoftTeacher:
    """Who thinks the same of every pixel."""

    def ask(views: Any) -> Any:
        return pixel(*chances).exp().expand(len(views), -1, 2, 2)

    return SoftTeacher(Teacher(engine="x", temperature=1.0, confidence=0.0, **plan), EACH, ask)


def test_several_teachers_pull_as_their_weighted_mean_would() -> None:
    members = torch.zeros(256, 3, dtype=torch.bool)
    views, labels = np.zeros((2, 4, 4, 3), np.uint8), torch.full((2, 4, 4), 255, dtype=torch.uint8)
    logits = pixel(*NET).expand(2, -1, 2, 2)

    def pull(*teachers: SoftTeacher) -> Any:
        own = logits.clone().requires_grad_()
        summed_soft_loss(teachers, views, own, labels, members).backward()
        return own.grad

    # Equally sure, so that only their weights count.
    two = pull(says(0.7, 0.2, 0.1, weight=0.25), says(0.1, 0.2, 0.7, weight=0.75))
    mean = pull(says(0.25, 0.2, 0.55))
    torch.testing.assert_close(two, mean * 0.7 / 0.55)


def test_a_teacher_may_be_asked_about_frames_without_exact_labels_alone() -> None:
    asked: list[int] = []

    def ask(views: Any) -> Any:
        asked.append(len(views))
        return pixel(0.7, 0.2, 0.1).exp().expand(len(views), -1, 2, 2)

    labels = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    labels[1] = 2
    members = torch.zeros(256, 3, dtype=torch.bool)
    members[:3] = EACH
    teacher = SoftTeacher(Teacher(engine="x", frames="unlabelled"), EACH, ask)
    logits = pixel(*NET).expand(3, -1, 2, 2).clone().requires_grad_()
    summed_soft_loss([teacher], np.zeros((3, 4, 4, 3), np.uint8), logits, labels, members).backward()
    assert asked == [2]
    assert not logits.grad[1].any()


# ------------------------------------------------------------------------------------------------------------ teachers


def opened(*plans: Teacher, own: Any = None) -> list[SoftTeacher]:
    return open_teachers(plans, CAMVID, own or nn.Identity(), CPU)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["road", "small"])
def test_a_bundle_says_of_each_class_how_likely_it_is(engine: str) -> None:
    image = np.random.default_rng(3).integers(0, 255, (360, 480, 3), np.uint8)
    (teacher,) = opened(Teacher(engine=engine))
    chances = teacher.ask(image[None])
    torch.testing.assert_close(chances.sum(1), torch.ones(1, *chances.shape[2:]))
    wide = nn.functional.interpolate(chances.log(), size=(360, 480), mode="bilinear", align_corners=False)
    with open_engine(engine, backend="openvino") as running:
        assert np.mean(wide[0].argmax(0).numpy() == running.predict(image).class_map()) > 0.98


@pytest.mark.slow
def test_a_view_of_another_shape_is_placed_as_at_run_time() -> None:
    image = cv2.resize(np.random.default_rng(3).integers(0, 255, (9, 16, 3), np.uint8), (320, 180))
    (teacher,) = opened(Teacher(engine="road"))
    chances = teacher.ask(image[None])
    assert chances.shape == (1, 11, 68, 120)  # 480x270 of the 480x360 input, at 1/4
    wide = nn.functional.interpolate(chances.log(), size=(180, 320), mode="bilinear", align_corners=False)
    with open_engine("road", backend="openvino") as running:
        assert np.mean(wide[0].argmax(0).numpy() == running.predict(image).class_map()) > 0.95


@pytest.mark.slow
def test_the_mirror_image_is_asked_too_and_turned_back() -> None:
    image = np.random.default_rng(3).integers(0, 255, (360, 480, 3), np.uint8)
    plain, both = (opened(Teacher(engine="small", mirrored=mirrored))[0].ask(image[None]) for mirrored in (False, True))
    turned = opened(Teacher(engine="small"))[0].ask(image[None, :, ::-1].copy()).flip(-1)
    torch.testing.assert_close(both, (plain + turned) / 2)


def test_channels_of_one_meaning_add_up_and_others_are_left_out(tmp_path: Path) -> None:
    file = str(make_teacher(tmp_path / "teacher.xml"))
    (teacher,) = opened(Teacher(engine=file, map={"0": "not Road", "1": "Road"}))
    chances = teacher.ask(np.full((1, 24, 32, 3), 51, np.uint8))
    assert chances[0, :, 12, 16].tolist() == pytest.approx([0.8, 0.2], abs=1e-3)
    assert teacher.members.sum(1).tolist() == [10, 1]


def test_the_net_itself_is_averaged_over_its_views() -> None:
    class Column(nn.Module):
        """Sure of class 0 in the left half of what it sees, of class 1 in the right half."""

        def forward(self, x: Any) -> Any:
            logits = torch.full((len(x), len(CAMVID), x.shape[2], x.shape[3]), -30.0)
            half = x.shape[3] // 2
            logits[:, 0, :, :half] = logits[:, 1, :, half:] = 30.0
            return logits

    (teacher,) = opened(Teacher(engine="self", mirrored=True, scales=(1.0, 2.0)), own=Column())
    chances = teacher.ask(np.zeros((1, 32, 64, 3), np.uint8))
    assert chances.shape == (1, 11, 32, 64)
    assert chances[0, :2, 16, 8].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"engine": "road", "map": {"Road": "Road", "Kerb": "Pavement"}}, "has no class 'Kerb'"),
        ({"engine": "road", "map": {"Road": "Road"}}, "tells apart 1 of this net's classes"),
        ({"engine": "road", "map": {"Road": "Road", "Sky": "not Tree"}}, "without a class in common"),
        ({"engine": "no-such-engine"}, "no engine is called"),
        ({"engine": "nowhere.xml", "map": {0: "Road", 1: "not Road"}}, "nowhere.xml: teacher not found"),
    ],
)
def test_a_teacher_that_cannot_be_is_named(plan: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        opened(Teacher(**plan))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"engine": "teacher.xml"}, "expected `map`"),
        ({"engine": "self", "map": {"Road": "Road"}}, "takes no `map`"),
        ({"engine": "road", "scales": [1.0, 1.5]}, "has a size of its own"),
        ({"engine": "road", "confidence": 1.0}, "confidence: Input should be less than 1"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_the_recipe(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_tree({**BASE, "train": [{"frames": "a", "labels": "b"}], "teacher": row}, Recipe, "test")


def test_frames_without_labels_need_a_teacher() -> None:
    lonely = {**BASE, "unlabelled": {"drives": ["drive.mp4"], "share": 1.0}}
    with pytest.raises(ConfigError, match="expected a `teacher` in it, or `teacher` in the recipe"):
        parse_tree(lonely, Recipe, "test")


# ------------------------------------------------------------------------------------------------------------ training

BASE: dict[str, Any] = {
    "name": "tiny",
    "net": "ddrnet23_slim",
    "input_size": f"{WH[0]}x{WH[1]}",
    "val": {"frames": "a", "labels": "b"},
    "optimisation": {"steps": 4, "batch": 2, "warmup_steps": 0},
    "licence": "none",
    "data_note": "made up",
}


class SmallNet(nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(*conv_bn(3, 8, 3, 2), nn.Conv2d(8, classes, 1))


@pytest.fixture
def small_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.train.loop.make_net", lambda name, classes: SmallNet(classes))
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])


def make_light_teacher(path: Path) -> str:
    """Sure that blue is sky and that all else is road: a light sky and a grey road, as `make_frames` paints them."""
    ops = openvino.opset13
    image = ops.parameter([1, 3, WH[1], WH[0]])
    channels = ops.split(image, np.int64(1), 3).outputs()
    bluer = ops.multiply(ops.subtract(channels[0], channels[2]), np.float32(0.1))
    sky = ops.sigmoid(ops.subtract(bluer, np.float32(6)))
    both = ops.concat([ops.subtract(np.float32(1), sky), sky], 1)
    openvino.save_model(openvino.Model([both], [image]), str(path), compress_to_fp16=False)
    return str(path)


@pytest.fixture
def drive_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Of frames without labels, and a teacher who tells sky from road."""
    folder = make_frames(tmp_path / "data", 4).model_dump()
    teacher = make_light_teacher(tmp_path / "teacher.xml")

    def made(**values: Any) -> Recipe:
        tree = {
            **BASE,
            "val": folder,
            "unlabelled": {"drives": [folder["frames"]], "share": 1.0, "frames": 4},
            "teacher": {"engine": teacher, "map": {0: "Road", 1: "Sky"}, "temperature": 1.0},
            "optimisation": {"steps": 40, "batch": 4, "warmup_steps": 0, "learning_rate": 0.02, "ema_decay": 0.5},
        }
        return parse_tree({**tree, **values}, Recipe, "test")

    return made


def sky_and_road_right(trainer: Trainer, recipe: Recipe) -> float:
    """The share of their pixels that the averaged net gets right."""
    counts = trainer.validate(trainer._read(recipe.val)).confusion.counts[[SKY, ROAD]]
    return float(counts[[0, 1], [SKY, ROAD]].sum() / counts.sum())


@pytest.mark.train
def test_a_net_learns_of_its_teacher_what_no_label_says(
    drive_recipe: Callable[..., Recipe], small_net: None, tmp_path: Path
) -> None:
    recipe = drive_recipe()
    trainer = Trainer(recipe, tmp_path / "run", "cpu")
    before = sky_and_road_right(trainer, recipe)
    reports = list(trainer.run())
    assert before < 0.7
    assert sky_and_road_right(trainer, recipe) > 0.95
    assert reports[-1].loss < reports[0].loss
    share = reports[-1].teacher_share
    assert share is not None
    assert 0 < share < 1


@pytest.mark.train
def test_a_run_with_teachers_goes_on_bit_by_bit(
    drive_recipe: Callable[..., Recipe], small_net: None, tmp_path: Path
) -> None:
    teachers = [drive_recipe().teachers[0].model_dump(), {"engine": "self", "mirrored": True, "scales": [1.0, 1.5]}]
    recipe = drive_recipe(teacher=teachers, optimisation={"steps": 6, "batch": 2, "warmup_steps": 0})
    unbroken = Trainer(recipe, tmp_path / "unbroken", "cpu")
    list(unbroken.run())
    run = Trainer(recipe, tmp_path / "broken", "cpu").run()
    for _ in range(3):
        next(run)
    run.close()
    resumed = Trainer(recipe, tmp_path / "broken", "cpu")
    assert resumed.step == 3
    list(resumed.run())
    for name, weight in unbroken.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[name], weight), name


def test_frozen_batch_norms_keep_their_statistics(
    drive_recipe: Callable[..., Recipe], small_net: None, tmp_path: Path
) -> None:
    recipe = drive_recipe(optimisation={"steps": 3, "batch": 2, "warmup_steps": 0, "freeze_norms": True})
    trainer = Trainer(recipe, tmp_path / "run", "cpu")
    list(trainer.run())
    state = trainer.net.state_dict()
    assert not state["1.running_mean"].any()
    assert bool((state["1.running_var"] == 1).all())
    assert not torch.equal(state["1.bias"], torch.zeros(8))  # what it learns still moves
