"""Labels as polygons and run lengths: COCO's JSON and YOLO's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import parse_tree
from edge.errors import ConfigError, DataError
from edge.rle import compressed, read_runs, run_lengths
from edge.train.data import load_folder, plain_folder
from edge.train.layouts import find_pairs, translation_of
from edge.train.recipe import Folder, Recipe
from edge.train.shapes import Shape, paint
from edge.train.yolo import YoloFrame

WH = (12, 8)
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]  # pixels 2 to 5
TREE: dict[str, Any] = {
    "name": "x",
    "net": "unet",
    "train": [{"frames": "a", "labels": "b"}],
    "val": {"frames": "a", "labels": "b"},
    "optimisation": {"steps": 1},
    "licence": "none",
    "data_note": "none",
}
TABLE = parse_tree({**TREE, "classes": ["background", "cat", "dog"]}, Recipe, "test").table


def put_frame(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*WH[::-1], 3), 90, np.uint8))


# -------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    "corners",
    [
        [(10, 10), (90, 10), (90, 60), (10, 60)],
        [(5.5, 70.2), (50, 3.3), (95, 71)],
        [(10, 10), (90, 10), (90, 70), (50, 20), (10, 70)],
    ],
)
def test_a_polygon_covers_the_pixels_whose_middle_lies_in_it_to_a_third_of_a_pixel(corners: list[Any]) -> None:
    points = np.array(corners, np.float32)
    found = paint([Shape(1, [points])], (100, 80))
    inside = np.array([[cv2.pointPolygonTest(points, (x + 0.5, y + 0.5), True) for x in range(100)] for y in range(80)])
    assert found[inside > 0.4].all()
    assert not found[inside < -0.4].any()


@pytest.mark.parametrize("shift", [(0, 0), (-4, -3), (8, 4), (-90, 0), (0, 5000)])
def test_a_square_of_whole_pixels_is_those_pixels_also_where_it_leaves_the_image(shift: tuple[int, int]) -> None:
    points = np.array(SQUARE, np.float32).reshape(-1, 2) + np.array(shift, np.float32)
    expected = np.zeros((20, 30), np.uint8)
    expected[12:16, 12:16] = 1
    rows, columns = (
        np.clip(np.arange(size) + 10 - move, 0, limit - 1)
        for size, move, limit in ((WH[1], shift[1], 20), (WH[0], shift[0], 30))
    )
    assert np.array_equal(paint([Shape(1, [points])], WH), expected[np.ix_(rows, columns)])


def test_small_shapes_lie_over_large_ones_and_a_crowd_under_all() -> None:
    def square(value: int, side: int) -> Shape:
        return Shape(value, [np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32)])

    for order in ([square(1, 4), square(2, 8), square(255, 2)], [square(255, 2), square(2, 8), square(1, 4)]):
        found = paint(order, WH)
        assert found[1, 1] == 1
        assert found[6, 6] == 2
        assert found[7, 11] == 0


@given(st.lists(st.integers(0, 1 << 30), max_size=20))
def test_run_lengths_are_read_as_they_are_written(runs: list[int]) -> None:
    assert read_runs(compressed(runs)) == runs


@pytest.mark.parametrize("text", ["\x00", "13é", "P", "~~~~~~~~~~~~~~~~~~~~1", "oooooooooooooooooooooo0"])
def test_what_is_no_string_of_run_lengths_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="string of run lengths"):
        read_runs(text)


# ---------------------------------------------------------------------------------------------------------------- COCO


def coco(root: Path, annotations: list[Any], **changes: Any) -> Folder:
    """A data set of two images, whose JSON is written as `json.dump` does."""
    for name in ("a/one.jpg", "two.png"):
        put_frame(root / "images" / name)
    tree = {
        "images": [
            {"id": 5, "file_name": "a/one.jpg", "width": WH[0], "height": WH[1]},
            {"id": 9, "file_name": "two.png"},
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "bear"}],
        "annotations": annotations,
        **changes,
    }
    (root / "instances.json").write_text(json.dumps(tree))
    tree = {"frames": str(root / "images"), "labels": str(root / "instances.json"), "layout": "coco"}
    return parse_tree(tree, Folder, "test")


def row(segmentation: Any, category: int = 17, image: int = 5, **more: Any) -> dict[str, Any]:
    return {"id": 3, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def test_coco_polygons_and_both_forms_of_run_lengths_become_masks(tmp_path: Path) -> None:
    where = np.zeros(WH[::-1], bool)
    where[5:, 9:] = True
    runs = run_lengths(where)
    size = [WH[1], WH[0]]
    folder = coco(
        tmp_path,
        [
            row([SQUARE, [8, 0, 11, 0, 11, 2]]),
            row({"size": size, "counts": runs}, 18),
            row({"size": size, "counts": compressed(runs)}, 18, image=9, iscrowd=0),
            row([[0, 0, 12, 0, 12, 3, 0, 3]], 17, image=9, iscrowd=1),
        ],
    )
    (_, one), (_, two) = load_folder(folder, TABLE, WH)
    assert one[3, 3] == 1
    assert one[0, 9] == 1  # a second polygon is of the same object
    assert (one[5:, 9:] == 2).all()
    assert one[7, 0] == 0
    assert (two[5:, 9:] == 2).all()
    assert (two[0] == 255).all()  # a crowd is ignored
    assert [pair.frame.name for pair in find_pairs(folder)] == ["one.jpg", "two.png"]


def test_categories_that_the_classes_lack_are_ignored_or_what_a_star_says(tmp_path: Path) -> None:
    annotations = [row([SQUARE], 90)]
    folder = coco(tmp_path, annotations)
    assert load_folder(folder, TABLE, WH)[0][1][3, 3] == 255
    assert translation_of(folder, TABLE).left_out == ("bear",)
    mapped = folder.model_copy(update={"map": {"cat": "cat", "*": "background", "bear": "dog"}})
    assert load_folder(mapped, TABLE, WH)[0][1][3, 3] == 2
    assert load_folder(mapped, TABLE, WH)[0][1][0, 0] == 0
    assert translation_of(mapped, TABLE).left_out == ()


def test_what_measures_engines_gets_plain_masks_of_shapes(tmp_path: Path) -> None:
    plain = plain_folder(coco(tmp_path, [row([SQUARE])]), TABLE, tmp_path / "plain")
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(Path(plain.labels).iterdir())]
    assert [mask[3, 3] for mask in masks] == [1, 0]


@pytest.mark.parametrize(
    ("annotations", "changes", "words"),
    [
        ([], {"images": 3}, r"instances.json: 1 problem.*images: expected a list, as COCO's instances have, got 3"),
        ([], {"categories": []}, "expected 1 to 253 class names, got 0"),
        ([], {"categories": [{"id": "1", "name": "cat"}]}, r"categories\[0\].id: expected a whole number, got '1'"),
        ([], {"images": [{"id": 5}]}, r"images\[0\].file_name: expected text, got None"),
        ([], {"images": [{"id": 5, "file_name": "../x"}]}, r"images\[0\].file_name: expected a path below"),
        ([7], {}, r"annotations\[0\].image_id: expected a whole number, got None"),
        ([row([SQUARE], image=6)], {}, r"annotations\[0\].image_id: expected one of the file's, got 6"),
        ([row([SQUARE], category=1)], {}, r"annotations\[0\].category_id: expected one of the file's, got 1"),
        ([row([])], {}, r"annotations\[0\].segmentation \(id 3\): expected polygons or run lengths.*boxes alone"),
        ([row([SQUARE]), row([[1, 2, 3, 4]])], {}, r"annotations\[1\].*expected 3 or more corners.*got 4 number"),
        ([row([[1, 2, 3, 4, 5, "x"]])], {}, "expected numbers, got 'x'"),
        ([row([[1, 2, 3, 4, 5, float("nan")]])], {}, "expected corners within 100000 pixels"),
        ([row([[1, 2, 3, 4, 5, 10**400]])], {}, "expected corners within 100000 pixels"),
        ([row([1, 2, 3, 4, 5, 6])], {}, "expected a list of polygons, got 1"),
        ([row({"size": [8, 12], "counts": [96, 1]})], {}, "expected run lengths of 96 pixels, got 97"),
        ([row({"size": [8, 12], "counts": [-1, 97]})], {}, "expected counts, run lengths"),
        ([row({"size": [8], "counts": [96]})], {}, r"expected size \[height, width\], got \[8\]"),
        ([row({"size": [8, 12], "counts": "é"})], {}, "expected COCO's string of run lengths"),
        ([row({"size": [12, 8], "counts": [96]})], {}, r"expected size \[8, 12\], the image's height and width"),
        ([row([SQUARE], iscrowd="0")], {}, "iscrowd: expected 0 or 1, got '0'"),
        ([], {"images": [{"id": 5, "file_name": "a"}, {"id": 5, "file_name": "b"}]}, r"images\[1\].id: 5 is that of"),
        ([], {"images": [{"id": 5, "file_name": "a"}, {"id": 6, "file_name": "a"}]}, r"images\[1\].file_name: 'a' is"),
        ([], {"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}, r"categories\[1\].id: 1 is that"),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_said_with_its_place(
    tmp_path: Path, annotations: list[Any], changes: dict[str, Any], words: str
) -> None:
    folder = coco(tmp_path, annotations, **changes)
    with pytest.raises(DataError) as caught:
        find_pairs(folder)
    caught.match("(?s)" + words)
    assert str(tmp_path / "instances.json") in str(caught.value)


def test_a_coco_file_that_is_no_json_is_refused_with_line_and_column(tmp_path: Path) -> None:
    folder = coco(tmp_path, [])
    (tmp_path / "instances.json").write_text('{"images": [\n  {"id": 5,}\n]}')
    with pytest.raises(DataError, match=r"instances.json: line 2, column 1\d: is not valid JSON"):
        find_pairs(folder)


def test_of_many_problems_in_a_coco_file_ten_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)37 problem\(s\).*annotations\[9\].*and 27 more$"):
        find_pairs(coco(tmp_path, [row([])] * 37))


@pytest.mark.parametrize(
    ("annotations", "changes", "words"),
    [
        ([], {"images": [{"id": 5, "file_name": "two.png", "width": 8, "height": 12}]}, "two.png is 8x12 there.*12x8"),
        ([row({"size": [4, 4], "counts": [16]}, image=9)], {}, r"images\[1\]: two.png has run lengths of 16 .* 96"),
        ([], {"images": [{"id": 5, "file_name": "no.png"}]}, r"no.png: cannot be read: No such file"),
    ],
)
def test_an_image_that_is_not_as_the_coco_file_says_is_refused(
    tmp_path: Path, annotations: list[Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_folder(coco(tmp_path, annotations, **changes), TABLE, WH)


def test_a_coco_file_larger_than_allowed_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = coco(tmp_path, [])
    monkeypatch.setattr("edge.train.coco.LIMIT_BYTES", 100)
    with pytest.raises(DataError, match=r"instances.json: expected at most"):
        find_pairs(folder)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    ODD, lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(max_size=3), of, max_size=3), max_leaves=8
)
NEARLY = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries(
                {"id": st.integers(1, 2) | JSON, "file_name": st.just("two.png") | JSON, "width": JSON}
            ),
            max_size=3,
        ),
        "categories": st.lists(
            st.fixed_dictionaries({"id": st.integers(1, 2), "name": st.just("cat") | JSON}), max_size=2
        ),
        "annotations": st.lists(
            st.fixed_dictionaries(
                {
                    "image_id": st.integers(1, 2),
                    "category_id": st.integers(1, 2) | JSON,
                    "iscrowd": JSON,
                    "segmentation": JSON
                    | st.lists(st.lists(st.floats() | st.integers(-9, 9), max_size=8), max_size=2)
                    | st.fixed_dictionaries(
                        {
                            "size": st.just([8, 12]) | JSON,
                            "counts": st.lists(st.integers(-1, 97), max_size=4) | st.text(),
                        }
                    ),
                }
            ),
            max_size=3,
        ),
    }
)


@given(st.one_of(JSON, NEARLY))
def test_whatever_json_holds_is_a_mask_or_refused_with_the_files_name(
    tmp_path_factory: pytest.TempPathFactory, tree: Any
) -> None:
    root = tmp_path_factory.mktemp("coco")
    folder = coco(root, [])
    (root / "instances.json").write_text(json.dumps(tree))
    message = str(root)
    try:
        pairs = load_folder(folder.model_copy(update={"map": {"cat": "cat", "*": "background"}}), TABLE, WH)
        assert all(labels.shape == WH[::-1] for _, labels in pairs)
    except (DataError, ConfigError) as error:
        message = str(error)
    assert str(root) in message or message.startswith("map: ")


@given(
    st.binary(max_size=60)
    | st.lists(st.floats() | st.integers(-1, 2), max_size=9).map(lambda n: " ".join(map(str, n)).encode())
)
def test_whatever_a_yolo_file_holds_is_a_mask_or_refused_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("yolo") / "a.txt"
    file.write_bytes(content)
    message = f"{file}: "
    try:
        assert YoloFrame(file, [1, 2]).paint(WH).shape == WH[::-1]
    except DataError as error:
        message = str(error)
    assert message.startswith(f"{file}: ")


# ---------------------------------------------------------------------------------------------------------------- YOLO


def yolo(root: Path, lines: str, names: str = "names: [cat, dog]\nnc: 2\ntrain: images/train\n") -> Folder:
    for name in ("drive_1", "drive_2"):
        put_frame(root / "images/train" / f"{name}.jpg")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/drive_1.txt").write_text(lines)
    (root / "data.yaml").write_text(names)
    tree = {"frames": str(root / "images/train"), "labels": str(root / "labels/train"), "layout": "yolo"}
    return parse_tree(tree, Folder, "test")


@pytest.mark.parametrize("names", ["names: [cat, dog]\n", "names:\n  0: cat\n  1: dog\n"])
def test_yolo_polygons_are_shares_of_width_and_height(tmp_path: Path, names: str) -> None:
    folder = yolo(tmp_path, "0 0 0 0.5 0 0.5 1 0 1\n\n1 0.75 0.5 1.001 0.5 1 1 0.75 1.0\n", names)
    (_, one), (_, two) = load_folder(folder, TABLE, WH)
    assert (one[:, :6] == 1).all()
    assert (one[5:, 10:] == 2).all()
    assert (one[:3, 7:] == 0).all()
    assert not two.any()  # an image without a file shows nothing
    assert {pair.drive for pair in find_pairs(folder)} == {"drive"}


def test_names_of_yolo_classes_may_be_a_text_file(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "1 0 0 1 0 1 1 0 1\n")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert (load_folder(folder, TABLE, WH)[0][1] == 2).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 2: expected a class and the corners of a polygon, got a box"),
        ("0 0.5 0.5 0.2 0.2 0.1", r"line 2: expected 3 or more corners .* got 5 number"),
        ("2 0 0 1 0 1 1", "line 2: expected a class of 0 to 1, got 2"),
        ("0.5 0 0 1 0 1 1", "line 2: expected a class of 0 to 1, got 0.5"),
        ("nan 0 0 1 0 1 1", "line 2: expected a class of 0 to 1, got nan"),
        ("0 0 0 640 0 1 1", "line 2: expected corners of 0 to 1, shares of width and height, got 640"),
        ("0 0 0 nan 0 1 1", "line 2: expected corners of 0 to 1"),
        ("cat 0 0 1 0 1 1", "line 2: expected numbers, class x y x y ..., got 'cat 0 0 1 0 1 1'"),
    ],
)
def test_what_is_wrong_in_a_yolo_file_is_said_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    folder = yolo(tmp_path, f"0 0 0 1 0 1 1\n{line}\n")
    with pytest.raises(DataError, match=rf"labels/train/drive_1.txt: {words}"):
        load_folder(folder, TABLE, WH)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("nc: 2\n", r"data.yaml: names: expected a list of class names.*got None"),
        ("names: {0: cat, 2: dog}\n", "names: expected a list of class names"),
        ("names: []\n", "expected 1 to 253 class names, got 0"),
        ("names: [\n", "data.yaml: is not valid YAML: line 2"),
    ],
)
def test_names_of_yolo_classes_that_are_not_in_order_are_refused(tmp_path: Path, names: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        find_pairs(yolo(tmp_path, "", names))


def test_a_yolo_folder_without_names_or_without_any_label_says_what_was_expected(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "")
    (tmp_path / "labels/train/drive_1.txt").rename(tmp_path / "labels/train/other.txt")
    with pytest.raises(DataError, match=r"expected a text file of each image's name, such as .*drive_1.txt"):
        find_pairs(folder)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"labels/train: expected data.yaml, with the names of the classes"):
        find_pairs(folder)
