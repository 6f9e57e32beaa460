"""How much right an engine loses against fp32: counting, limits, and the picture of the worst frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import COLOURS
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stand_in import PEDESTRIAN, ROAD, SKY, BrightnessEngine
from videos import picture, write_video

from edge.backends import onnxruntime
from edge.backends.onnxruntime import OnnxRuntimeEngine
from edge.classes import CAMVID
from edge.engine import Engine, find_bundle
from edge.errors import ConfigError, DataError
from edge.frame import Image
from edge.sources.images import list_image_files

judging = pytest.importorskip("edge.compile.judge")
CELL_WIDTH, CAPTION_HEIGHT, WORST = judging.CELL_WIDTH, judging.CAPTION_HEIGHT, judging.WORST
Judged, judge = judging.Judged, judging.judge
parse_limits, check_limits = judging.parse_limits, judging.check_limits
points_lost, broken_limits, worst_frames = judging.points_lost, judging.broken_limits, judging.worst_frames

DATA = Path(os.environ.get("EDGE_DATA") or Path(__file__).parents[3] / "shared" / "data")
WIDTH, HEIGHT = SIZE_WH = (32, 24)
DARK, DIM = 30, 120


class FarSightedEngine(BrightnessEngine):
    """Sees road also where the picture is only dim, where the other one sees sky."""

    precision = "int8"

    def infer(self, image: Image) -> dict[str, Image]:
        return {"semantic": np.where(image.mean(-1) < 150, ROAD, SKY).astype(np.uint8)}


def with_dim(count: int) -> Image:
    """uint8 (24, 32, 3): a dark picture whose first `count` pixels are dim."""
    image = np.full((HEIGHT, WIDTH, 3), DARK, np.uint8)
    image.reshape(-1, 3)[:count] = DIM
    return image


def write_pictures(folder: Path, dim_counts: list[int]) -> str:
    folder.mkdir(exist_ok=True)
    for index, count in enumerate(dim_counts):
        cv2.imwrite(str(folder / f"{index:02d}.png"), with_dim(count))
    return str(folder)


def write_labels(folder: Path, labels: list[NDArray[np.uint8]]) -> Path:
    folder.mkdir()
    for index, label in enumerate(labels):
        cv2.imwrite(str(folder / f"{index:02d}.png"), label)
    return folder


def road_everywhere(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((HEIGHT, WIDTH), ROAD, np.uint8) for _ in range(count)]


@pytest.fixture
def engines(make_card: Any) -> tuple[Engine, dict[str, Engine]]:
    """The reference, and candidates by name: one that differs on dim pixels, and one that does not."""
    return BrightnessEngine(make_card, SIZE_WH), {
        "far": FarSightedEngine(make_card, SIZE_WH),
        "same": BrightnessEngine(make_card, SIZE_WH),
    }


# ------------------------------------------------------------------------------------------------------------- counting


def test_pixels_that_differ_from_fp32_are_counted_for_each_candidate(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [7, 0, 50])
    seen: list[None] = []
    own, found = judge(*engines, frames, None, lambda: seen.append(None))
    assert (found["far"].frames, found["far"].differing, found["far"].pixels) == (3, 57, 3 * 768)
    assert found["far"].disagreement == pytest.approx(57 / 2304)
    assert found["same"].disagreement == 0
    assert not own.confusion.counts.any()
    assert len(seen) == 3


def test_with_labels_each_engine_is_counted_against_the_truth(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [7, 50])
    labels = road_everywhere(2)
    labels[1][0, :5] = 255  # unlabelled, five of the dim ones
    own, found = judge(*engines, frames, write_labels(tmp_path / "labels", labels))
    assert own.confusion.counts[ROAD, [ROAD, SKY]].tolist() == [2 * 768 - 57, 52]
    assert found["far"].confusion.counts[ROAD, [ROAD, SKY]].tolist() == [2 * 768 - 5, 0]
    assert (found["same"].confusion.counts == own.confusion.counts).all()
    assert found["far"].differing == 57  # against fp32 everything counts


def test_masks_are_compared_at_the_size_of_the_frames(make_card: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [2 * WIDTH])  # two rows of 24, one of the net's 12
    small = (WIDTH // 2, HEIGHT // 2)
    _, found = judge(BrightnessEngine(make_card, small), {"far": FarSightedEngine(make_card, small)}, frames, None)
    assert (found["far"].differing, found["far"].pixels) == (2 * WIDTH, 768)


def test_a_video_is_judged_as_pictures_are(engines: Any, tmp_path: Path) -> None:
    video = write_video(tmp_path / "drive.mkv", [picture(index, SIZE_WH) for index in range(4)])
    labels = write_labels(tmp_path / "labels", road_everywhere(4))
    own, found = judge(*engines, str(video), labels)
    assert own.frames == found["far"].frames == 4
    assert own.confusion.counts.sum() == 4 * 768


def test_no_frames_to_judge_make_no_disagreement() -> None:
    assert Judged(COLOURS).disagreement == 0


def test_a_label_of_another_size_is_refused_by_name(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [1, 2])
    labels = [*road_everywhere(1), np.zeros((HEIGHT, WIDTH + 2), np.uint8)]
    with pytest.raises(DataError, match=r"labels/01\.png: truth has shape \(24, 34\), prediction"):
        judge(*engines, frames, write_labels(tmp_path / "labels", labels))


def test_a_label_with_a_class_that_the_table_lacks_is_refused_by_name(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [1, 2])
    labels = road_everywhere(2)
    labels[1][3, 4] = 77
    with pytest.raises(DataError, match=r"labels/01\.png: the labels hold id 77"):
        judge(*engines, frames, write_labels(tmp_path / "labels", labels))


def test_missing_labels_are_refused_before_anything_is_judged(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [1, 2, 3])
    with pytest.raises(DataError, match=r"02\.png: has no label"):
        judge(*engines, frames, write_labels(tmp_path / "labels", road_everywhere(2)))
    assert not engines[0].seen
    with pytest.raises(DataError, match="there is no such folder of labels"):
        judge(*engines, frames, tmp_path / "nowhere")


def test_more_labels_than_frames_are_refused(engines: Any, tmp_path: Path) -> None:
    video = write_video(tmp_path / "drive.mkv", [picture(index, SIZE_WH) for index in range(3)])
    with pytest.raises(DataError, match=r"has 3 frames, .* 4 labels"):
        judge(*engines, str(video), write_labels(tmp_path / "labels", road_everywhere(4)))


# ----------------------------------------------------------------------------------------------------- the worst frames


def test_the_ten_worst_frames_are_kept_and_shown_worst_first(engines: Any, tmp_path: Path) -> None:
    counts = [40, 3, 90, 10, 80, 5, 20, 70, 1, 60, 30, 50, 2, 100]
    _, found = judge(*engines, write_pictures(tmp_path / "frames", counts), None)
    worst = sorted(found["far"].worst, reverse=True)
    assert [round(bad.disagreement * 768) for bad in worst] == sorted(counts, reverse=True)[:10]
    assert [bad.name for bad in worst[:3]] == ["13.png 13", "02.png 2", "04.png 4"]
    assert (worst[0].image == with_dim(100)).all()
    assert (worst[0].reference != worst[0].candidate).sum() == 100


def test_of_equally_bad_frames_the_first_are_kept_in_their_order(engines: Any, tmp_path: Path) -> None:
    _, found = judge(*engines, write_pictures(tmp_path / "frames", [9] * 6 + [50] + [9] * 8), None)
    worst = sorted(found["far"].worst, reverse=True)
    assert [-bad.index for bad in worst] == [6, 0, 1, 2, 3, 4, 5, 7, 8, 9]


def test_the_picture_has_a_row_per_frame_and_a_cell_per_thing_to_see(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [768, 0, 0])
    height = HEIGHT * CELL_WIDTH // WIDTH
    _, found = judge(*engines, frames, None)
    assert worst_frames(found["far"], CAMVID, "INT8").shape == (3 * height, 4 * CELL_WIDTH, 3)
    labels = road_everywhere(3)
    labels[0][:] = PEDESTRIAN
    _, found = judge(*engines, frames, write_labels(tmp_path / "labels", labels))
    sheet = worst_frames(found["far"], CAMVID, "INT8")
    assert (sheet.shape, sheet.dtype) == ((3 * height, 5 * CELL_WIDTH, 3), np.uint8)
    cells = [sheet[height - 5, place * CELL_WIDTH + 200].tolist() for place in range(5)]
    assert cells[0] == [DIM] * 3
    assert cells[1:4] == [shown_as(class_id, DIM) for class_id in (PEDESTRIAN, SKY, ROAD)]
    assert cells[4] == [60, 60, 255]  # all of it differs
    assert sheet[2 * height - 5, -100].tolist() == [DARK // 3] * 3  # nothing does


def shown_as(class_id: int, level: int) -> list[int]:
    """A class's colour over a grey picture, BGR."""
    return [round(0.3 * level + 0.7 * part) for part in reversed(CAMVID.colours_rgb[class_id])]


def test_every_cell_has_a_dark_band_with_a_caption(engines: Any, tmp_path: Path) -> None:
    _, found = judge(*engines, write_pictures(tmp_path / "frames", [768]), None)
    sheet = worst_frames(found["far"], CAMVID, "INT8")
    for place in range(4):
        cell = sheet[:, place * CELL_WIDTH : (place + 1) * CELL_WIDTH]
        assert cell[:CAPTION_HEIGHT].max() > 200  # the letters
        assert (cell[:CAPTION_HEIGHT, -20:] == cell[CAPTION_HEIGHT:, -20:][:1] // 4).all()


def test_unlabelled_pixels_are_shown_without_a_colour(engines: Any, tmp_path: Path) -> None:
    labels = [np.full((HEIGHT, WIDTH), 255, np.uint8)]
    labels[0][:8] = ROAD  # labels of 255 alone are refused
    frames = write_pictures(tmp_path / "frames", [768])
    _, found = judge(*engines, frames, write_labels(tmp_path / "labels", labels))
    sheet = worst_frames(found["far"], CAMVID, "INT8")
    assert sheet[-5, CELL_WIDTH + 200].tolist() == [round(0.3 * DIM)] * 3


def test_frames_of_different_sizes_fit_under_each_other(engines: Any, tmp_path: Path) -> None:
    frames = write_pictures(tmp_path / "frames", [5, 9])
    cv2.imwrite(str(tmp_path / "frames" / "02.png"), np.full((32, 32, 3), DIM, np.uint8))
    _, found = judge(*engines, frames, None)
    assert worst_frames(found["far"], CAMVID, "INT8").shape == (240 + 240 + 320, 4 * CELL_WIDTH, 3)


# ---------------------------------------------------------------------------------------------------------- points lost


def judged(counts: list[list[int]], differing: int = 0, pixels: int = 100) -> Any:
    found = Judged(COLOURS, differing=differing, pixels=pixels)
    found.confusion.counts += np.array(counts)
    return found


PERFECT = [[50, 0, 0], [0, 30, 0], [0, 0, 20]]  # rows truth, columns prediction: blue, green, red
TEN_BLUE_AS_GREEN = [[40, 10, 0], [0, 30, 0], [0, 0, 20]]


def test_points_lost_are_those_of_a_small_confusion_worked_out_by_hand() -> None:
    lost = points_lost(judged(PERFECT), judged(TEN_BLUE_AS_GREEN, differing=10), COLOURS, {"Green": 30.0})
    assert lost == {
        "disagreement": 10,
        "miou": 15,  # blue 40/50, green 30/40, red 20/20: a mean of 0.85
        "warm": 16.667,  # red and green together: 50/60
        "cold": 20,
        "Green": 25,
    }


def test_a_gain_is_a_negative_loss() -> None:
    lost = points_lost(judged(TEN_BLUE_AS_GREEN), judged(PERFECT), COLOURS, {})
    assert (lost["miou"], lost["cold"]) == (-15, -20)


def test_without_labels_only_disagreement_is_there_and_may_be_limited() -> None:
    nothing = [[0] * 3] * 3
    assert points_lost(judged(nothing), judged(nothing, differing=3), COLOURS, {"disagreement": 1}) == {
        "disagreement": 3
    }
    with pytest.raises(ConfigError, match="limit miou: cannot be judged, it needs labels, and there are none"):
        points_lost(judged(nothing), judged(nothing), COLOURS, {"disagreement": 1, "miou": 1})


def test_a_limit_on_a_class_that_the_labels_lack_is_refused() -> None:
    no_red = [[50, 0, 0], [0, 30, 0], [0, 0, 0]]
    assert set(points_lost(judged(no_red), judged(no_red), COLOURS, {})) == {"disagreement", "miou", "warm", "cold"}
    with pytest.raises(ConfigError, match="limit Red: cannot be judged, it does not occur in the labels"):
        points_lost(judged(no_red), judged(no_red), COLOURS, {"Red": 1})


def test_a_group_that_the_labels_lack_is_left_out_where_no_limit_is_on_it() -> None:
    only_blue = [[50, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert points_lost(judged(only_blue), judged(only_blue), COLOURS, {}) == {"disagreement": 0, "miou": 0, "cold": 0}


def test_a_limit_holds_up_to_its_last_point() -> None:
    limits = {"miou": 0.5, "warm": 1.0, "cold": 0.0}
    assert broken_limits({"miou": 0.5, "warm": 1.001, "cold": -3, "disagreement": 40}, limits) == ["warm"]
    assert broken_limits({"miou": 0.501, "warm": 1, "cold": 0.001}, limits) == ["miou", "cold"]


# ----------------------------------------------------------------------------------------------------------- the limits


def test_limits_are_read_as_typed() -> None:
    assert parse_limits("miou:0.5, warm : 1,Red:0,disagreement:100", COLOURS) == {
        "miou": 0.5,
        "warm": 1,
        "Red": 0,
        "disagreement": 100,
    }


@given(
    st.dictionaries(
        st.sampled_from(["miou", "disagreement", *COLOURS.groups, *COLOURS.names]), st.floats(0, 100), min_size=1
    )
)
def test_limits_survive_being_typed(limits: dict[str, float]) -> None:
    assert parse_limits(",".join(f"{name}:{points!r}" for name, points in limits.items()), COLOURS) == limits


@pytest.mark.parametrize("text", ["", "miou", "miou:", "miou:much", "miou:1,", "miou=1", "miou:1:2"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a limit is NAME:POINTS, such as miou:0\.5,road:0\.3; found"):
        parse_limits(text, COLOURS)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"limit 'orange': .* there are: miou, disagreement, warm, cold, Blue, Green, Red"
    ):
        parse_limits("miou:1,orange:2", COLOURS)


def test_a_name_is_limited_once() -> None:
    with pytest.raises(ConfigError, match="limit miou: is given twice"):
        parse_limits("miou:1,warm:1,miou:2", COLOURS)


@pytest.mark.parametrize("points", ["-0.1", "100.5", "nan", "inf", "-inf"])
def test_points_beyond_a_hundred_or_below_none_are_refused(points: str) -> None:
    with pytest.raises(ConfigError, match="limit warm: expected points from 0 to 100, got"):
        parse_limits(f"warm:{points}", COLOURS)


def test_limits_of_a_recipe_are_checked_likewise() -> None:
    assert check_limits({"cold": 3.0}, COLOURS) == {"cold": 3.0}
    with pytest.raises(ConfigError, match="limit 'road'"):
        check_limits({"road": 3.0}, COLOURS)


# --------------------------------------------------------------------------------------------------------- ONNX Runtime


@pytest.fixture
def ort() -> None:
    pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("ort")
def test_onnx_runtime_adds_biases_as_they_are_written_and_does_not_round_them() -> None:
    onnx = pytest.importorskip("onnx")
    from small_graphs import conv, make_graph, pointwise

    from edge.compile.observe import Range
    from edge.compile.quantize import to_bytes, write_int8

    bias = 0.0049  # less than half of what one step of input, 2, times one of weights, 0.01, comes to
    first = onnx.helper.make_node("Conv", ["planes", "net.first.weight", "bias"], ["a"])
    ones = {f"net.{name}.weight": pointwise((1,)) for name in ("second", "last")}
    constants = {"net.first.weight": pointwise((1.27, 1.27, 1.27)), "bias": np.array([bias]), **ones}
    graph = make_graph([first, conv("second", "a", "b"), conv("last", "b", "out")], constants)
    ranges = {"planes": Range(0, 255, 0, 255, ()), "a": Range(0, 0.0127, 0, 0.0127, ())}
    written = to_bytes(write_int8(onnx.load_from_string(graph), ranges, "tensorrt"))
    found = onnxruntime.load_graph(written)(np.zeros((1, 4, 6, 3), np.uint8))
    np.testing.assert_allclose(found, bias, atol=0.0127 / 127)


# ----------------------------------------------------------------------------------------------------------- real roads


def some_of(folder: Path, target: Path, every: int) -> Path:
    """A folder with links to every `every`-th picture."""
    target.mkdir()
    for path in list_image_files(str(folder))[::every]:
        (target / path.name).symlink_to(path)
    return target


@pytest.mark.slow
@pytest.mark.usefixtures("ort")
@pytest.mark.skipif(not (DATA / "camvid" / "val").is_dir(), reason=f"no CamVid in {DATA}; set EDGE_DATA")
def test_the_trained_net_keeps_its_accuracy_in_both_int8_forms_on_camvid(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from edge.compile.observe import find_ranges, tensors_to_observe
    from edge.compile.quantize import to_bytes, write_int8

    bundle = find_bundle("road")
    data = bundle.read(bundle.graph("f32", "openvino"))
    model = onnx.load_from_string(data)
    trained_on = list_image_files(str(DATA / "camvid" / "train"))[::40]
    looks = [(path.name, cv2.imread(str(path))) for path in trained_on]
    assert {image.shape for _, image in looks} == {(360, 480, 3)}  # the net's own size
    ranges = find_ranges(data, tensors_to_observe(model), lambda: looks, "max", None)
    candidates: dict[str, Engine] = {
        form: OnnxRuntimeEngine(to_bytes(write_int8(model, ranges, form)), bundle.card, "int8")
        for form in ("openvino", "tensorrt")
    }
    frames, labels = (some_of(DATA / "camvid" / name, tmp_path / name, 10) for name in ("val", "valannot"))
    own, found = judge(OnnxRuntimeEngine(data, bundle.card, "f32"), candidates, str(frames), labels)
    assert own.confusion.miou() > 0.6
    for judged_form in found.values():
        lost = points_lost(own, judged_form, CAMVID, {})
        assert 0 < lost["disagreement"] < 2
        assert lost["miou"] < 1.5
        assert lost["road"] < 0.5
