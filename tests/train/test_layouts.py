"""Data sets in the layouts in which they are published, a few pixels each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.classes import CAMVID
from edge.config import parse_tree
from edge.errors import ConfigError, DataError
from edge.indexed_png import encode_indexed
from edge.train.data import load_folder, plain_folder
from edge.train.label_sets import CITYSCAPES, COMMA10K, LABEL_SETS, MAPS, PET, TABLES, Translation
from edge.train.layouts import drives_held_out, find_pairs
from edge.train.recipe import Folder, Recipe, Split

WH = (4, 2)
IGNORED = CAMVID.ignore_id


def put(path: Path, values: Any) -> None:
    """A picture or mask; colours are written here as RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.array(values, np.uint8)
    cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def put_frame(path: Path, brightness: int = 90) -> None:
    put(path, np.full((2, 4, 3), brightness, np.uint8))


def folder(root: Path, frames: str, labels: str, **more: Any) -> Folder:
    return parse_tree({"frames": str(root / frames), "labels": str(root / labels), **more}, Folder, "test")


def ids(found: Folder, table: Any = CAMVID) -> list[list[int]]:
    ((_, labels),) = load_folder(found, table, WH)
    return labels.tolist()


# ----------------------------------------------------------------------------------------------------------- layouts


def test_cityscapes_lies_in_a_folder_for_each_city_and_has_label_ids(tmp_path: Path) -> None:
    stem = "train/aachen/aachen_000003_000019"
    put_frame(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png")
    put(tmp_path / f"gtFine/{stem}_gtFine_labelIds.png", [[7, 8, 11, 24], [0, 22, 33, 26]])
    put(tmp_path / f"gtFine/{stem}_gtFine_color.png", np.zeros((2, 4, 3)))
    found = folder(tmp_path, "leftImg8bit/train", "gtFine/train", layout="cityscapes")
    assert ids(found) == [[3, 4, 1, 9], [IGNORED, IGNORED, 10, 8]]  # CamVid has no class for terrain (22)
    assert ids(found, CITYSCAPES) == [[0, 1, 2, 11], [255, 9, 18, 13]]
    assert [pair.drive for pair in find_pairs(found)] == ["aachen"]


def test_the_coarse_labels_of_cityscapes_have_names_of_their_own(tmp_path: Path) -> None:
    stem = "train_extra/augsburg/augsburg_000000_000000"
    put_frame(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png")
    put(tmp_path / f"gtCoarse/{stem}_gtCoarse_labelIds.png", [[7] * 4] * 2)
    assert ids(folder(tmp_path, "leftImg8bit", "gtCoarse", layout="cityscapes")) == [[3] * 4] * 2


def test_training_ids_of_cityscapes_are_another_layout(tmp_path: Path) -> None:
    stem = "bochum/bochum_000000_000313"
    put_frame(tmp_path / f"frames/{stem}_leftImg8bit.png")
    put(tmp_path / f"labels/{stem}_gtFine_labelTrainIds.png", [[0, 1, 2, 11], [255, 9, 18, 13]])
    found = folder(tmp_path, "frames", "labels", layout="cityscapes-train-ids")
    assert ids(found) == [[3, 4, 1, 9], [IGNORED, IGNORED, 10, 8]]


@pytest.mark.parametrize("ending", [".png", "_train_id.png"])
def test_bdd100k_has_training_ids_beside_jpegs(tmp_path: Path, ending: str) -> None:
    put_frame(tmp_path / "images/10k/train/0a0a0b1a-7c39d841.jpg")
    put(tmp_path / f"labels/sem_seg/masks/train/0a0a0b1a-7c39d841{ending}", [[0, 10, 13, 255], [11, 12, 5, 8]])
    found = folder(tmp_path, "images/10k/train", "labels/sem_seg/masks/train", layout="bdd100k")
    assert ids(found) == [[3, 0, 8, IGNORED], [9, 10, 2, 5]]


def test_kitti_has_the_label_ids_of_cityscapes_under_the_frames_name(tmp_path: Path) -> None:
    put_frame(tmp_path / "training/image_2/000003_10.png")
    put(tmp_path / "training/semantic/000003_10.png", [[7, 23, 26, 17], [19, 21, 24, 4]])
    assert ids(folder(tmp_path, "training/image_2", "training/semantic", layout="kitti")) == [
        [3, 0, 8, 2],
        [6, 5, 9, 11],
    ]


def test_comma10k_has_five_colours(tmp_path: Path) -> None:
    name = "0000_0085e9e41513078a_2018-08-19--13-26-08_11_864.png"
    put_frame(tmp_path / "imgs" / name)
    road, lane, undrivable, movable, own = (64, 32, 32), (255, 0, 0), (128, 128, 96), (0, 255, 102), (204, 0, 255)
    put(tmp_path / "masks" / name, [[road, lane, undrivable, movable], [own, road, road, road]])
    found = folder(tmp_path, "imgs", "masks", layout="comma10k")
    assert ids(found, COMMA10K) == [[0, 1, 2, 3], [4, 0, 0, 0]]
    assert ids(found) == [[3, 3, IGNORED, IGNORED], [IGNORED, 3, 3, 3]]
    assert find_pairs(found)[0].drive == "0085e9e41513078a_2018-08-19--13-26-08"


def test_pets_have_trimaps_whose_border_is_ignored_and_lists_of_their_names(tmp_path: Path) -> None:
    for name in ("Abyssinian_100", "beagle_1"):
        put_frame(tmp_path / f"images/{name}.jpg")
        put(tmp_path / f"annotations/trimaps/{name}.png", [[1, 1, 2, 3], [2, 2, 2, 2]])
    (tmp_path / "images/Abyssinian_100.mat").write_bytes(b"as published")
    (tmp_path / "annotations/trimaps/._beagle_1.png").write_bytes(b"as published")
    (tmp_path / "annotations/trainval.txt").write_text("#Image CLASS-ID SPECIES BREED ID\nAbyssinian_100 1 1 1\n")
    listed = str(tmp_path / "annotations/trainval.txt")
    found = folder(tmp_path, "images", "annotations/trimaps", layout="pet", names=listed)
    assert ids(found, PET) == [[0, 0, 1, 255], [1, 1, 1, 1]]
    assert len(find_pairs(folder(tmp_path, "images", "annotations/trimaps", layout="pet"))) == 2


def test_camvid_as_cambridge_has_it_has_32_colours(tmp_path: Path) -> None:
    put_frame(tmp_path / "701_StillsRaw_full/Seq05VD_f00000.png")
    lane, child, lorry, void = (128, 0, 192), (192, 128, 64), (192, 128, 192), (0, 0, 0)
    put(tmp_path / "LabeledApproved_full/Seq05VD_f00000_L.png", [[lane, child, lorry, void]] * 2)
    found = folder(tmp_path, "701_StillsRaw_full", "LabeledApproved_full", layout="camvid32")
    assert ids(found) == [[3, 9, 8, IGNORED]] * 2
    assert find_pairs(found)[0].drive == "Seq05VD"


def test_camvid_as_segnet_has_it_has_the_ids_of_our_table(tmp_path: Path) -> None:
    put_frame(tmp_path / "train/0001TP_006690.png")
    put(tmp_path / "trainannot/0001TP_006690.png", [[0, 3, 9, 11]] * 2)
    assert ids(folder(tmp_path, "train", "trainannot", layout="camvid")) == [[0, 3, 9, IGNORED]] * 2


def test_pairs_may_lie_in_subfolders_and_hidden_files_are_none(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/monday/1.jpg")
    put(tmp_path / "labels/monday/1.png", [[3] * 4] * 2)
    (tmp_path / "frames/monday/._1.jpg").write_bytes(b"macOS")
    assert ids(folder(tmp_path, "frames", "labels")) == [[3] * 4] * 2


# -------------------------------------------------------------------------------------------------------- class maps


def test_a_recipe_maps_labels_to_classes_by_name_and_ignores_the_rest(tmp_path: Path) -> None:
    put_frame(tmp_path / "image_2/000003_10.png")
    put(tmp_path / "semantic/000003_10.png", [[7, 8, 24, 25]] * 2)
    found = folder(tmp_path, "image_2", "semantic", layout="kitti", map={"road": "Road", "sidewalk": "Road"})
    assert ids(found) == [[3, 3, IGNORED, IGNORED]] * 2


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"raod": "Road"}, r"cityscapes has no label 'raod'; there are: road, sidewalk"),
        ({"road": "Rode"}, r"road -> 'Rode': no group or class 'Rode'; .* classes: Sky, "),
    ],
)
def test_a_map_with_an_unknown_name_says_which_there_are(wish: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Translation.between(LABEL_SETS["cityscapes"], CAMVID, wish)


def test_label_sets_without_a_declared_map_ask_for_one() -> None:
    with pytest.raises(ConfigError, match="no map from the labels of pet to these classes is known; add `map:`"):
        Translation.between(LABEL_SETS["pet"], CAMVID, None)


def test_every_declared_map_names_labels_and_classes_that_are_there() -> None:
    for source, target in MAPS:
        assert Translation.between(LABEL_SETS[source], TABLES[target], None).target_of


def test_a_map_names_the_ids_in_masks(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    put(tmp_path / "labels/1.png", [[0, 7, 8, 255]] * 2)
    found = folder(tmp_path, "frames", "labels", map={0: "Sky", 7: "Road", 8: "ignore"})
    assert ids(found) == [[0, 3, IGNORED, IGNORED]] * 2


def test_a_map_may_name_255_as_masks_of_0_and_255_need(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    put(tmp_path / "labels/1.png", [[0, 255, 255, 0]] * 2)
    assert ids(folder(tmp_path, "frames", "labels", map={0: "Sky", 255: "Road"})) == [[0, 3, 3, 0]] * 2


def test_a_map_names_the_colours_in_masks(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    put(tmp_path / "labels/1.png", [[(0, 0, 0), (128, 64, 128), (1, 2, 3), (0, 0, 0)]] * 2)
    found = folder(tmp_path, "frames", "labels", map={"#000000": "Sky", "#804080": "Road", "#010203": "ignore"})
    assert ids(found) == [[0, 3, IGNORED, 0]] * 2
    with pytest.raises(DataError, match="holds the colour #010203, which the map does not define"):
        ids(folder(tmp_path, "frames", "labels", map={"#000000": "Sky", "#804080": "Road"}))


def test_masks_may_be_indexed_png_as_labelling_tools_write_them(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    (tmp_path / "labels").mkdir()
    mask = np.array([[0, 3, 9, 3]] * 2, np.uint8)
    (tmp_path / "labels/1.png").write_bytes(encode_indexed(mask, [(i, 50, 60) for i in range(12)]))
    assert ids(folder(tmp_path, "frames", "labels")) == mask.tolist()


# ------------------------------------------------------------------------------------------------------------ errors


def kitti(tmp_path: Path, mask: Any) -> Folder:
    put_frame(tmp_path / "image_2/000003_10.png")
    put(tmp_path / "semantic/000003_10.png", mask)
    return folder(tmp_path, "image_2", "semantic", layout="kitti")


def test_an_id_that_the_label_set_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"000003_10.png: holds id 34; known are 7 to 33 and 0, 1, 2, 3, 4, 5, 6"):
        ids(kitti(tmp_path, [[7, 7, 7, 34]] * 2))


def test_a_coloured_mask_where_ids_are_wanted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has shape \(2, 4, 3\), uint8; expected ids"):
        ids(kitti(tmp_path, np.zeros((2, 4, 3))))


def test_a_colour_that_the_label_set_does_not_have_is_named(tmp_path: Path) -> None:
    put_frame(tmp_path / "imgs/0000_a.png")
    put(tmp_path / "masks/0000_a.png", [[(64, 32, 33)] * 4] * 2)
    with pytest.raises(DataError, match="holds the colour #402021, which comma10k does not define"):
        ids(folder(tmp_path, "imgs", "masks", layout="comma10k"))


def test_a_missing_mask_is_named_as_its_layout_would_have_it(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/aachen/aachen_000003_000019_leftImg8bit.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"labels/aachen/aachen_000003_000019_gtFine_labelIds.png: is missing"):
        ids(folder(tmp_path, "frames", "labels", layout="cityscapes"))


def test_a_folder_of_another_layout_says_what_it_looked_for(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"holds no images \(\*_leftImg8bit.png\)"):
        ids(folder(tmp_path, "frames", "labels", layout="cityscapes"))


def test_a_listed_frame_that_is_not_there_is_named(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "list.txt").write_text("1.png\n2.png\n")
    with pytest.raises(DataError, match=r"names '2', which is not a frame \(1 of 2 are missing\)"):
        find_pairs(folder(tmp_path, "frames", "labels", names=str(tmp_path / "list.txt")))


def test_a_list_that_cannot_be_read_or_is_empty_is_an_error(tmp_path: Path) -> None:
    put_frame(tmp_path / "frames/1.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="cannot be read as a list of frames"):
        find_pairs(folder(tmp_path, "frames", "labels", names=str(tmp_path / "list.txt")))
    (tmp_path / "list.txt").write_text("# none yet\n")
    with pytest.raises(DataError, match="names no frame"):
        find_pairs(folder(tmp_path, "frames", "labels", names=str(tmp_path / "list.txt")))


# ------------------------------------------------------------------------------------------------------------ drives


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Five drives of four frames each."""
    for drive in ("0001TP", "0006R0", "0016E5", "night", "rain"):
        for number in range(4):
            put_frame(tmp_path / f"frames/{drive}_{number:05d}.png", 10 * number)
    (tmp_path / "labels").mkdir()
    return tmp_path


def parts(root: Path, **split: Any) -> tuple[list[str], list[str]]:
    """Drives in train and in val."""
    train, val = (
        find_pairs(folder(root, "frames", "labels", split={"part": part, **split})) for part in ("train", "val")
    )
    return sorted({pair.drive for pair in train}), sorted({pair.drive for pair in val})


def test_a_split_holds_out_whole_drives(drives: Path) -> None:
    train, val = parts(drives, held_out=0.4, seed=1)
    assert len(val) == 2
    assert sorted(train + val) == ["0001TP", "0006R0", "0016E5", "night", "rain"]


def test_the_seed_decides_which_drives_are_held_out(drives: Path) -> None:
    assert parts(drives, held_out=0.2, seed=1) == parts(drives, held_out=0.2, seed=1)
    assert len({tuple(parts(drives, held_out=0.2, seed=seed)[1]) for seed in range(12)}) > 2


def test_a_single_drive_is_not_split(tmp_path: Path) -> None:
    for number in range(4):
        put_frame(tmp_path / f"frames/{number:03d}.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(ConfigError, match="holds one drive only, which is not split"):
        parts(tmp_path, held_out=0.5)


def test_the_tails_of_drives_are_held_out_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in [*(f"cat_{number}" for number in range(1, 13)), "dog_1", "dog_2", "fox_1"]:
        put_frame(tmp_path / f"frames/{name}.png")
    (tmp_path / "labels").mkdir()
    split = {"held_out": 0.25, "by": "tail"}
    train, val = (
        {pair.frame.stem for pair in find_pairs(folder(tmp_path, "frames", "labels", split={"part": part, **split}))}
        for part in ("train", "val")
    )
    assert val == {"cat_10", "cat_11", "cat_12", "dog_2"}
    assert train == {*(f"cat_{number}" for number in range(1, 10)), "dog_1", "fox_1"}


def test_frames_that_are_each_a_drive_have_no_tails(tmp_path: Path) -> None:
    for name in "abc":
        put_frame(tmp_path / f"frames/{name}.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(ConfigError, match="no drive has two frames, so none has a tail to hold out"):
        parts(tmp_path, held_out=0.2, by="tail")


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 50), min_size=2, max_size=12),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_some_drives_are_held_out_and_never_all(counts: dict[str, int], share: float, seed: int) -> None:
    held_out = drives_held_out(Counter(counts), Split(part="val", held_out=share, seed=seed))
    assert 0 < len(held_out) < len(counts)
    assert held_out <= set(counts)


def test_a_recipe_that_splits_a_set_in_two_ways_is_refused(drives: Path) -> None:
    paths = {"frames": str(drives / "frames"), "labels": str(drives / "labels")}
    tree = {
        "name": "two",
        "net": "ddrnet23_slim",
        "train": [{**paths, "split": {"part": "train", "held_out": 0.2, "seed": 1}}],
        "val": {**paths, "split": {"part": "val", "held_out": 0.2, "seed": 2}},
        "optimisation": {"steps": 1},
        "licence": "none",
        "data_note": "made up",
    }
    with pytest.raises(ConfigError, match="is split in two ways; held_out, seed and by must be the same"):
        parse_tree(tree, Recipe, "test")


# ------------------------------------------------------------------------------------------------------------- plain


def test_any_set_becomes_plain_pairs_in_the_nets_own_ids(tmp_path: Path) -> None:
    found = kitti(tmp_path, [[7, 23, 26, 17], [19, 21, 24, 4]])
    plain = plain_folder(found, CAMVID, tmp_path / "scratch")
    assert plain.is_plain
    assert ids(plain) == ids(found)
    (frame,) = Path(plain.frames).iterdir()
    assert frame.is_symlink()
    assert plain_folder(plain, CAMVID, tmp_path / "unused") is plain


def test_stretched_frames_fill_the_input(tmp_path: Path) -> None:
    put(tmp_path / "frames/1.png", np.full((4, 4, 3), 70))
    put(tmp_path / "labels/1.png", np.full((4, 4), 3))
    ((_, boxed),) = load_folder(folder(tmp_path, "frames", "labels"), CAMVID, (8, 4))
    ((_, stretched),) = load_folder(folder(tmp_path, "frames", "labels"), CAMVID, (8, 4), "stretch")
    assert boxed[0].tolist() == [11, 11, 3, 3, 3, 3, 11, 11]
    assert (stretched == 3).all()
