"""Training on a made-up label set of a few small frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edge.classes import CAMVID  # noqa: E402
from edge.config import parse_tree  # noqa: E402
from edge.errors import ConfigError, DataError  # noqa: E402
from edge.train.augment import augment, paste_rare, vary_light, warp  # noqa: E402
from edge.train.data import batches, class_shares, load_folder  # noqa: E402
from edge.train.loop import Trainer, learning_rate  # noqa: E402
from edge.train.losses import class_weights, ohem_cross_entropy, soft_jaccard  # noqa: E402
from edge.train.recipe import Augmentation, Folder, Optimisation, Recipe  # noqa: E402

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


def test_a_run_that_was_interrupted_and_resumed_ends_where_an_unbroken_one_does(recipe: Recipe, tmp_path: Path) -> None:
    unbroken = Trainer(recipe, tmp_path / "unbroken", "cpu")
    for _ in unbroken.run():
        pass
    broken = Trainer(recipe, tmp_path / "broken", "cpu")
    run = broken.run()
    next(run)
    next(run)
    run.close()
    resumed = Trainer(recipe, tmp_path / "broken", "cpu")
    assert resumed.step == 2
    reports = list(resumed.run())
    assert [report.step for report in reports] == [3, 4]
    assert reports[-1].confusion is not None
    for name, weight in unbroken.averaged.state_dict().items():
        torch.testing.assert_close(resumed.averaged.state_dict()[name], weight, msg=name)


def test_a_checkpoint_of_another_net_is_refused_and_kept(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path / "run", "cpu")
    trainer.save()
    state = torch.load(trainer.checkpoint, weights_only=True)
    state["recipe"]["net"] = "unet"
    torch.save(state, trainer.checkpoint)
    with pytest.raises(ConfigError, match=r"holds a unet, the recipe wants a ddrnet23_slim.*--run"):
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
    from_start = batches(pairs, [], recipe, CAMVID, 0)
    third = [next(from_start) for _ in range(3)][2]
    images, labels = next(batches(pairs, [], recipe, CAMVID, 2))
    np.testing.assert_array_equal(third[0], images)
    np.testing.assert_array_equal(third[1], labels)


def test_every_frame_is_seen_once_in_a_pass(recipe: Recipe) -> None:
    still = recipe.model_copy(
        update={
            "augmentation": Augmentation(
                scale=(1, 1), aspect=1, rotation_deg=0, flip=0, colour=0, blur=0, noise=0, mix_rare=0
            )
        }
    )
    pairs = load_folder(recipe.train[0], CAMVID, WH)
    stream = batches(pairs, [], still, CAMVID, 0)
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
    with pytest.raises(DataError, match="no such folder"):
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
    varied = vary_light(image, Augmentation(blur=0, noise=1), np.random.default_rng(3))
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


def test_class_weights_are_one_on_average_over_pixels() -> None:
    shares = torch.tensor([0.9, 0.1])
    weights = class_weights(shares, 0.5)
    assert float((weights * shares).sum()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)


def test_hard_examples_alone_count() -> None:
    # Pixels: certain and right (loss about 0), undecided (loss ln 2), ignored.
    logits = torch.tensor([[[[20.0, 0.0, -20.0]], [[0.0, 0.0, 20.0]]]])
    labels = torch.tensor([[[0, 1, 11]]])
    loss = ohem_cross_entropy(logits, labels, torch.ones(2), ignore_id=11, keep=0.5)
    assert float(loss) == pytest.approx(np.log(2))


def test_soft_jaccard_is_one_minus_the_mean_overlap() -> None:
    # Two pixels of class 0 and 1; chances of class 0: 0.8 and 0.4.
    chance = torch.tensor([0.8, 0.4])
    logits = torch.stack([chance.log(), (1 - chance).log()]).reshape(1, 2, 1, 2)
    loss = soft_jaccard(logits, torch.tensor([[[0, 1]]]), ignore_id=11)
    class0, class1 = 0.8 / (1.2 + 1 - 0.8), 0.6 / (0.8 + 1 - 0.6)
    assert float(loss) == pytest.approx(1 - (class0 + class1) / 2)


def test_a_batch_without_any_label_has_no_loss() -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), 11)
    loss = ohem_cross_entropy(logits, labels, torch.ones(3), 11, 0.5) + soft_jaccard(logits, labels, 11)
    loss.backward()
    assert float(loss.detach()) == 0


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    plan = Optimisation(steps=100, learning_rate=1.0, warmup_steps=10, poly_power=1.0)
    assert learning_rate(plan, 0) == pytest.approx(0.1)
    assert learning_rate(plan, 50) == pytest.approx(0.5)
    assert learning_rate(plan, 99) == pytest.approx(0.01)
