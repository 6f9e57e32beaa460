"""Training on a made-up label set of a few small frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edge.classes import CAMVID  # noqa: E402
from edge.config import parse_tree  # noqa: E402
from edge.errors import ConfigError, DataError, EngineError  # noqa: E402
from edge.nets.blocks import conv_bn  # noqa: E402
from edge.score import Score  # noqa: E402
from edge.train.augment import augment, paste_rare, vary_light, warp  # noqa: E402
from edge.train.data import batches, class_shares, load_folder  # noqa: E402
from edge.train.journal import Journal  # noqa: E402
from edge.train.loop import Trainer  # noqa: E402
from edge.train.plots import _chosen, panel_row  # noqa: E402
from edge.train.recipe import Augmentation, Folder, Optimisation, Recipe  # noqa: E402
from edge.train.schedule import learning_rate, make_optimiser  # noqa: E402

WH = (96, 64)


def make_frames(folder: Path, count: int) -> Folder:
    """Road (3) below, sky (0) above, a pedestrian (9) in places; colours tell them apart."""
    (folder / "frames").mkdir(parents=True)
    (folder / "labels").mkdir()
    rng = np.random.default_rng(5)
    for number in range(count):
        labels = np.zeros((WH[1], WH[0]), np.uint8)
        labels[30 + number :] = 3
        labels[20:50, 10 + 6 * number : 18 + 6 * number] = 9
        image = np.array([[200, 120, 60]] * 3 + [[60, 60, 60]] + [[0, 0, 0]] * 5 + [[30, 30, 200]], np.uint8)[labels]
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "frames" / f"{number:03d}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{number:03d}.png"), labels)
    return Folder(frames=str(folder / "frames"), labels=str(folder / "labels"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    folder = make_frames(tmp_path / "data", 4).model_dump()
    tree = {
        "name": "tiny",
        "net": "ddrnet23_slim",
        "input_size": "96x64",
        "train": [folder],
        "val": folder,
        "rare_classes": ["Pedestrian"],
        "optimisation": {"steps": 4, "batch": 2, "warmup_steps": 0},
        "licence": "none",
        "data_note": "made up",
    }
    return parse_tree(tree, Recipe, "test")


Change = Callable[..., Recipe]


@pytest.fixture
def changed(recipe: Recipe) -> Change:
    """The recipe with other values: `changed(seed=2, optimisation={"steps": 3})`."""

    def change(**values: Any) -> Recipe:
        tree = recipe.model_dump(mode="json")
        for key, value in values.items():
            tree[key] = {**tree[key], **value} if isinstance(tree.get(key), dict) else value
        return parse_tree(tree, Recipe, "test")

    return change


def trained(recipe: Recipe, folder: Path, steps: int | None = None) -> Trainer:
    """A run, to its end or broken off after some steps."""
    trainer = Trainer(recipe, folder, "cpu")
    run = trainer.run()
    for count, _ in enumerate(run, start=1):
        if count == steps:
            run.close()
            break
    return trainer


@pytest.fixture
def small_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net of two convolutions in place of the real one, and no pictures at the end, which cost two seconds."""
    monkeypatch.setattr("edge.train.loop.make_net", lambda name, classes: SmallNet(classes))
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])


class SmallNet(torch.nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(*conv_bn(3, 8, 3, 2), torch.nn.Conv2d(8, classes, 1))


def test_a_run_that_was_interrupted_and_resumed_is_equal_to_an_unbroken_one_bit_by_bit(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])
    unbroken = trained(recipe, tmp_path / "unbroken")
    trained(recipe, tmp_path / "broken", steps=2)
    resumed = Trainer(recipe, tmp_path / "broken", "cpu")
    assert resumed.step == 2
    reports = list(resumed.run())
    assert [report.step for report in reports] == [3, 4]
    assert reports[-1].score is not None
    for one, other in ((unbroken.net, resumed.net), (unbroken.averaged, resumed.averaged)):
        for name, weight in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], weight), name
    assert resumed.journal.state() == unbroken.journal.state()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["poly", "cosine"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_way_of_optimising_lowers_the_loss_and_resumes_to_the_same_bits(
    changed: Change, small_net: None, tmp_path: Path, optimiser: str, schedule: str, precision: str
) -> None:
    ways = {"optimiser": optimiser, "schedule": schedule, "precision": precision}
    plan = changed(optimisation={**ways, "steps": 30, "batch": 4, "learning_rate": 0.01}, rare_classes=[])
    unbroken = trained(plan, tmp_path / "unbroken")
    trained(plan, tmp_path / "broken", steps=7)
    resumed = trained(plan, tmp_path / "broken")
    assert all(map(torch.equal, unbroken.averaged.state_dict().values(), resumed.averaged.state_dict().values()))
    loss = np.mean([loss for _, loss in unbroken.journal.losses])
    first = next(iter(Trainer(plan, tmp_path / "first", "cpu").run())).loss
    assert loss < first


def test_the_seed_decides_what_a_run_comes_to(changed: Change, small_net: None, tmp_path: Path) -> None:
    runs = [trained(changed(seed=seed), tmp_path / str(place)) for place, seed in enumerate((3, 3, 4))]
    first, same, other = (next(iter(run.averaged.state_dict().values())) for run in runs)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_run_leaves_checkpoints_scores_curves_and_pictures(recipe: Recipe, tmp_path: Path) -> None:
    trained(recipe, tmp_path / "run")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"last.pt", "best.pt", "history.json", "scores.json", "curves.png", "confusion.png"} <= left
    assert {"frames-random.png", "frames-best.png", "frames-worst.png"} <= left
    for name in ("last.pt", "best.pt"):
        state = torch.load(tmp_path / "run" / name, weights_only=True)
        assert parse_tree(state["recipe"], Recipe, name) == recipe
    scores = json.loads((tmp_path / "run/scores.json").read_text())
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert scores["miou"] == history[-1]["miou"]
    assert set(scores["boundary_f1"]) == set(CAMVID.names)


def test_validation_and_final_scoring_say_how_far_they_are(recipe: Recipe, small_net: None, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    list(Trainer(recipe, tmp_path / "run", "cpu").run(lambda *progress: heard.append(progress)))
    assert heard == [(what, done, 4) for what in ("validating", "scoring") for done in (1, 2, 3, 4)]


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (30, 30), (130, 65), (5000, 250), (5001, 251)])
def test_the_loss_curve_of_a_short_run_has_points_and_ends_with_the_last_step(
    steps: int, points: int, tmp_path: Path
) -> None:
    journal = Journal(tmp_path, CAMVID, steps)
    for step in range(1, steps + 1):
        journal.add_loss(step, float(step), 0.1)
    assert len(journal.losses) == points
    assert journal.losses[-1][0] == steps
    assert sum(loss for _, loss in journal.losses) > 0


def test_curves_go_to_tensorboard_where_it_is_installed(recipe: Recipe, small_net: None, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(recipe, tmp_path / "run")
    (events,) = (tmp_path / "run/tensorboard").iterdir()
    assert b"mIoU" in events.read_bytes()


def test_the_best_checkpoint_is_of_the_validation_with_the_highest_mean_iou(
    changed: Change, small_net: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.6, 0.4, 0.5, 0.5])
    monkeypatch.setattr(Trainer, "validate", lambda self, val, *_: _scored(next(scores)))
    trained(changed(optimisation={"validate_every": 1}), tmp_path / "run")
    assert torch.load(tmp_path / "run/best.pt", weights_only=True)["step"] == 2
    assert torch.load(tmp_path / "run/last.pt", weights_only=True)["step"] == 4


def _scored(miou: float) -> Score:
    """A score of one class's pixels with that IoU, all others absent."""
    score = Score(CAMVID)
    score.confusion.counts[0, 0] = round(1000 * miou)
    score.confusion.counts[0, 1] = 1000 - round(1000 * miou)
    score.confusion.miou = lambda: miou  # type: ignore[method-assign]
    return score


def test_with_patience_a_run_ends_when_validations_no_longer_improve(
    changed: Change, small_net: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.4, 0.6, 0.6, 0.3, 0.9])
    monkeypatch.setattr(Trainer, "validate", lambda self, val, *_: _scored(next(scores)))
    plan = changed(optimisation={"steps": 50, "validate_every": 2, "patience": 2})
    run = trained(plan, tmp_path / "run")
    assert run.step == 10  # validations at 2, 4, 6; none better at 8 and 10
    again = Trainer(plan, tmp_path / "run", "cpu")
    assert again.ended


def test_half_floats_without_cuda_are_refused(changed: Change, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision fp16 needs CUDA; a cpu trains in bf16 or fp32"):
        Trainer(changed(optimisation={"precision": "fp16"}), tmp_path / "run", "cpu")


def test_a_run_that_diverges_stops_and_keeps_what_was_saved(
    changed: Change, small_net: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(changed(), tmp_path / "run", steps=2)
    before = (tmp_path / "run/last.pt").read_bytes()
    monkeypatch.setattr("edge.train.loop.to_input", lambda images, device: torch.full((2, 3, 64, 96), float("nan")))
    with pytest.raises(EngineError, match=r"diverged, loss or gradient of step 3 is not finite. Lower `learning_rate`"):
        trained(changed(), tmp_path / "run")
    assert (tmp_path / "run/last.pt").read_bytes() == before


def test_training_frames_without_any_label_are_an_error(changed: Change, small_net: None, tmp_path: Path) -> None:
    data = changed().train[0].model_dump(mode="json") | {"layout": "camvid", "map": {"Car": "Car"}}
    with pytest.raises(DataError, match="no pixel of the training frames has a label"):
        trained(changed(train=[data]), tmp_path / "run")


def test_a_rare_class_that_is_none_is_refused_with_the_recipe(changed: Change) -> None:
    with pytest.raises(ConfigError, match="no group or class 'Pedestrain'"):
        changed(rare_classes=["Pedestrain"])


def test_a_net_for_other_classes_is_trained_on_their_labels(changed: Change, small_net: None, tmp_path: Path) -> None:
    to_pet = {"map": {"Sky": "background", "Road": "background", "Pedestrian": "pet"}, "layout": "camvid"}
    data = changed().train[0].model_dump(mode="json") | to_pet
    run = trained(changed(classes="pet", train=[data], val=data, rare_classes=["pet"]), tmp_path / "run")
    assert run.table.names == ("pet", "background")
    confusion = run.validate(run._read(run.recipe.val)).confusion
    assert confusion.counts.shape == (2, 2)
    assert confusion.counts[0].sum() > 0


def test_a_checkpoint_of_the_first_version_is_gone_on_from(recipe: Recipe, small_net: None, tmp_path: Path) -> None:
    """It has no more than recipe, step, both nets, optimiser and history; its recipe has keys that are gone."""
    trained(recipe, tmp_path / "run", steps=2)
    path = tmp_path / "run/last.pt"
    state = torch.load(path, weights_only=True)
    old = {key: state[key] for key in ("recipe", "step", "net", "averaged", "optimiser", "history")}
    del old["recipe"]["qat"], old["recipe"]["optimisation"]["losses"]
    old["recipe"]["optimisation"]["jaccard_weight"] = 0.5
    torch.save(old, path)
    assert trained(recipe, tmp_path / "run").step == 4


def test_a_released_net_is_no_run_to_go_on_with(recipe: Recipe, small_net: None, tmp_path: Path) -> None:
    """engines/road.pt holds recipe, step and averaged weights: to export, or for `qat` to start from."""
    trained(recipe, tmp_path / "run", steps=1)
    path = tmp_path / "run/last.pt"
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in ("recipe", "step", "averaged")}, path)
    with pytest.raises(ConfigError, match="holds no history, net, optimiser: a released net, not a run to resume"):
        Trainer(recipe, tmp_path / "run", "cpu")


def test_a_file_that_is_no_checkpoint_is_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last.pt").write_bytes(b"PK not really")
    with pytest.raises(ConfigError, match=r"last.pt: is not a checkpoint of edge train"):
        Trainer(recipe, tmp_path / "run", "cpu")


def test_a_checkpoint_of_another_net_is_refused_and_kept(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path / "run", "cpu")
    trainer.save()
    state = torch.load(trainer.checkpoint, weights_only=True)
    state["recipe"]["net"] = "unet"
    torch.save(state, trainer.checkpoint)
    with pytest.raises(ConfigError, match=r"expected net ddrnet23_slim, got unet.*--run"):
        Trainer(recipe, tmp_path / "run", "cpu")
    assert trainer.checkpoint.is_file()


def test_training_lowers_the_loss(recipe: Recipe, tmp_path: Path) -> None:
    plan = recipe.model_copy(
        update={"optimisation": Optimisation(steps=24, batch=4, warmup_steps=0, learning_rate=2e-3)}
    )
    losses = [report.loss for report in Trainer(plan, tmp_path / "run", "cpu").run()]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


def test_the_batch_of_a_step_depends_on_nothing_but_seed_and_step(recipe: Recipe) -> None:
    pairs = load_folder(recipe.train[0], CAMVID, WH)
    from_start = batches([pairs], [], recipe, CAMVID, 0)
    third = [next(from_start) for _ in range(3)][2]
    images, labels, _ = next(batches([pairs], [], recipe, CAMVID, 2))
    np.testing.assert_array_equal(third[0], images)
    np.testing.assert_array_equal(third[1], labels)


def test_batches_take_the_recipes_shapes_in_turn(changed: Change) -> None:
    recipe = changed(augmentation={"shapes": ["96x64", "96x48", "64x64"]})
    pairs = load_folder(recipe.train[0], CAMVID, WH)
    stream = batches([pairs], [], recipe, CAMVID, 0)
    cut = [next(stream) for _ in range(4)]
    assert [labels.shape[1:] for _, labels, _ in cut] == [(64, 96), (48, 96), (64, 64), (64, 96)]
    assert all(images.shape == (*labels.shape, 3) for images, labels, _ in cut)
    np.testing.assert_array_equal(cut[2][0], next(batches([pairs], [], recipe, CAMVID, 2))[0])  # a resumed run's


def test_a_shape_larger_than_the_input_is_refused_with_the_recipe(changed: Change) -> None:
    with pytest.raises(ConfigError, match=r"augmentation.shapes: 96x80 is larger than input_size, 96x64"):
        changed(augmentation={"shapes": ["96x80"]})


def test_a_run_starts_from_the_weights_of_a_released_net(changed: Change, small_net: None, tmp_path: Path) -> None:
    state = torch.load(trained(changed(seed=7), tmp_path / "first").checkpoint, weights_only=True)
    torch.save({key: state[key] for key in ("recipe", "step", "averaged")}, tmp_path / "released.pt")
    begun = Trainer(changed(start=str(tmp_path / "released.pt")), tmp_path / "second", "cpu")
    assert begun.step == 0
    for net in (begun.net, begun.averaged):
        for name, value in net.state_dict().items():
            torch.testing.assert_close(value, state["averaged"][name])


def test_every_frame_is_seen_once_in_a_pass(recipe: Recipe) -> None:
    still = recipe.model_copy(
        update={
            "augmentation": Augmentation(
                scale=(1, 1), aspect=1, rotation_deg=0, flip=0, colour=0, blur=0, noise=0, mix_rare=0
            )
        }
    )
    pairs = load_folder(recipe.train[0], CAMVID, WH)
    stream = batches([pairs], [], still, CAMVID, 0)
    seen = [labels for _ in range(2) for labels in next(stream)[1]]
    rows = sorted(int(np.argmax(labels[:, 0] == 3)) for labels in seen)
    assert rows == [30, 31, 32, 33]


def test_a_mask_of_another_size_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "data", 2)
    cv2.imwrite(f"{folder.labels}/001.png", np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match=r"001.png: has shape \(10, 20\)"):
        load_folder(folder, CAMVID, WH)


def test_an_id_outside_the_table_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "data", 2)
    cv2.imwrite(f"{folder.labels}/000.png", np.full((WH[1], WH[0]), 12, np.uint8))
    with pytest.raises(DataError, match=r"000.png: holds id 12"):
        load_folder(folder, CAMVID, WH)


def test_a_frame_without_mask_and_a_missing_folder_are_errors(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "data", 2)
    Path(folder.labels, "001.png").unlink()
    with pytest.raises(DataError, match=r"001.png: is missing"):
        load_folder(folder, CAMVID, WH)
    with pytest.raises(DataError, match="folder not found"):
        load_folder(Folder(frames=str(tmp_path / "nothing"), labels=folder.labels), CAMVID, WH)


def test_frames_of_another_shape_are_letterboxed_with_ignored_bars(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "data", 1)
    ((image, labels),) = load_folder(folder, CAMVID, (96, 96))
    assert image.shape == (96, 96, 3)
    assert (labels[:16] == CAMVID.ignore_id).all()
    assert (labels[16:80] != CAMVID.ignore_id).all()
    assert not image[:16].any()


def test_geometry_moves_labels_with_the_picture() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:60] = 9
    image = np.repeat((labels * 20)[..., None], 3, 2)
    for seed in range(10):
        moved, moved_labels = warp((image, labels), Augmentation(), 11, np.random.default_rng(seed))
        inside = cv2.erode((moved_labels == 9).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (moved[inside] == 180).all()
        outside = cv2.erode((moved_labels != 9).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (moved[outside] == 0).all()


def test_what_lies_beyond_the_frame_is_black_and_ignored() -> None:
    pair = np.full((60, 80, 3), 200, np.uint8), np.full((60, 80), 3, np.uint8)
    small = Augmentation(scale=(0.5, 0.5), colour=0.3, noise=1, blur=0, mix_rare=0)
    image, labels = augment(pair, pair, np.zeros(256, np.bool_), small, 11, np.random.default_rng(1))
    assert (image[cv2.erode((labels == 11).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] == 0).all()
    assert 0.15 < (labels == 3).mean() < 0.4


def test_black_bars_stay_black_whatever_the_light() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:15] = 120
    varied = vary_light(image, Augmentation(blur=0, noise=1), np.random.default_rng(3), image)
    assert not varied[:5].any()
    assert varied[5:15].all()


def test_pasting_takes_the_rare_classes_of_the_donor_and_nothing_else() -> None:
    pair = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 3, np.uint8)
    donor = np.full((4, 4, 3), 50, np.uint8), np.zeros((4, 4), np.uint8)
    donor[1][1, 2] = 9
    rare = np.zeros(256, np.bool_)
    rare[9] = True
    image, labels = paste_rare(pair, donor, rare)
    assert labels[1, 2] == 9
    assert (image[1, 2] == 50).all()
    assert (labels == 3).sum() == 15
    assert (image == 50).sum() == 3


def test_class_shares_leave_ignored_pixels_out() -> None:
    labels = np.array([[0, 0, 3, 11]], np.uint8)
    shares = class_shares([(np.zeros((1, 4, 3), np.uint8), labels)], 11)
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[3] == pytest.approx(1 / 3)


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    plan = Optimisation(steps=100, learning_rate=1.0, warmup_steps=10, poly_power=1.0)
    assert learning_rate(plan, 0) == pytest.approx(0.1)
    assert learning_rate(plan, 50) == pytest.approx(0.5)
    assert learning_rate(plan, 99) == pytest.approx(0.01)


def test_a_cosine_falls_slowly_fast_and_slowly_again() -> None:
    plan = Optimisation(steps=100, learning_rate=1.0, warmup_steps=0, schedule="cosine")
    rates = [learning_rate(plan, step) for step in (0, 25, 50, 75)]
    assert rates == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


def test_biases_and_norms_do_not_decay() -> None:
    kernels, others = make_optimiser(SmallNet(2), Optimisation(steps=1, weight_decay=0.1)).param_groups
    assert (kernels["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [p.ndim for p in kernels["params"]] == [4, 4]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]


def test_gradients_are_clipped_to_the_norm(changed: Change, small_net: None, tmp_path: Path) -> None:
    plan = changed(optimisation={"optimiser": "sgd", "clip_norm": 1e-6, "learning_rate": 1.0, "weight_decay": 0.0})
    run = Trainer(plan, tmp_path / "run", "cpu")
    before = [p.detach().clone() for p in run.net.parameters()]
    next(iter(run.run()))
    moved = [float((p.detach() - q).norm()) for p, q in zip(run.net.parameters(), before, strict=True)]
    assert 0 < sum(length**2 for length in moved) ** 0.5 <= 1.1e-6


def test_panels_show_image_truth_prediction_and_error() -> None:
    image = np.full((6, 8, 3), 100, np.uint8)
    truth = np.zeros((6, 8), np.uint8)
    truth[:, 4:6], truth[:, 6:] = 3, CAMVID.ignore_id
    found = np.zeros((6, 8), np.uint8)
    plain, wanted, predicted, verdict = panel_row((image, truth), found, CAMVID)
    assert (plain == image).all()
    assert (wanted[0, 4] == CAMVID.colours_rgb[3][::-1]).all()  # an outline goes along the class's own edge
    assert (predicted[0, 4] == CAMVID.colours_rgb[0][::-1]).all()
    right, wrong, unknown = verdict[2, 1].tolist(), verdict[2, 5].tolist(), verdict[2, 7].tolist()
    assert right.index(max(right)) == 1
    assert wrong.index(max(wrong)) == 2
    assert len(set(unknown)) == 1


def test_the_best_and_the_worst_frames_are_shown_and_unlabelled_ones_never() -> None:
    chosen = _chosen([0.5, float("nan"), 0.9, 0.1, 0.7, 0.3], seed=1)
    assert chosen["best"] == [2, 4, 0, 5]
    assert chosen["worst"] == [3, 5, 0, 4]
    assert 1 not in chosen["random"]
    assert _chosen([float("nan")], seed=1) == {}
