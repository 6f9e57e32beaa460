"""Objects against their truth: by hotcoco's figures over the same files, and end to end."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import MakeCard
from numpy.typing import NDArray
from stand_in import PEDESTRIAN, ROAD, SKY, result_of
from videos import WH, write_video

from edge.classes import CAMVID, make_table
from edge.cli import make_app
from edge.engine import MODEL_FILE, write_bundle
from edge.errors import ConfigError, DataError
from edge.evaluate.measures import Measures
from edge.evaluate.object_figures import object_figures
from edge.evaluate.object_labels import MotBoxes, PanopticLabels, find_labels
from edge.evaluate.overlaps import TrueObjects, objects_of_maps
from edge.evaluate.records import Record, Records
from edge.frame import Frame, Image
from edge.grouping import Instances
from edge.outputs import CONFIDENCE, SEMANTIC
from edge.prediction import Prediction
from edge.rle import coco_rle
from edge.sources.scene import SceneSource
from edge.tracking import Tracks

CAR, FRAMES = 8, 6
CATEGORIES = [{"id": i, "name": name, "isthing": int(i >= CAR)} for i, name in enumerate(CAMVID.names)]
Patch = tuple[int, int, int, int]  # left, top, width, height


def patch_of(frame: int, one: int) -> Patch:
    """Where the person or car `one` is; some touch the border, none another."""
    return (one * 11 + frame, 6 + 5 * (one % 3), 5 + one % 3, 14 + 3 * (one % 2))


def truth_of(frame: int) -> tuple[Image, NDArray[np.uint16]]:
    """Classes and instance numbers, (48, 64): five objects; below is a strip without label."""
    classes: Image = np.full(WH[::-1], ROAD, np.uint8)
    numbers: NDArray[np.uint16] = np.zeros(WH[::-1], np.uint16)
    classes[:5] = SKY
    for one in range(5):
        x, y, width, height = patch_of(frame, one)
        classes[y : y + height, x : x + width] = PEDESTRIAN if one % 2 else CAR
        numbers[y : y + height, x : x + width] = one + 1
    classes[40:] = 255
    numbers[40:] = 0
    return classes, numbers


def seen(frame: int) -> Prediction:
    """Some are seen well, one half beside itself, one as another class, one not; and one where no label is."""
    classes = truth_of(frame)[0]
    classes[40:] = ROAD
    sure: Image = np.full(classes.shape, 250, np.uint8)
    for one in range(5):
        x, y, width, height = patch_of(frame, one)
        if (one + frame) % 5 == 1:
            classes[y : y + height, x : x + width] = ROAD
        if (one + frame) % 5 == 3:
            classes[y : y + height, x : x + width // 2] = ROAD
            classes[y + 2 : y + height, x + 2 : x + 4 + width] = PEDESTRIAN if one % 2 else CAR
        sure[y : y + height, x : x + width] = 90 + 7 * ((3 * one + frame) % 20)
    classes[41:47, 5:15] = PEDESTRIAN
    image = np.zeros((*classes.shape, 3), np.uint8)
    result = result_of(frame, classes, image=image, media_ns=frame * 10**9)
    outputs = {**result.outputs, "confidence": sure}
    result = dataclasses.replace(result, outputs=outputs, specs={"semantic": SEMANTIC, "confidence": CONFIDENCE})
    return Instances(CAMVID).update(result)


def write_panoptic(
    path: Path, maps: list[tuple[Any, list[dict[str, Any]]]], categories: list[dict[str, Any]] = CATEGORIES
) -> Path:
    """COCO's panoptic files of ids (H, W) and their segments."""
    path.with_suffix("").mkdir(parents=True)
    annotations = []
    for index, (ids, segments) in enumerate(maps):
        name = f"{index:03d}.png"
        cv2.imwrite(
            str(path.with_suffix("") / name), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
        )
        annotations.append({"image_id": index, "file_name": name, "segments_info": segments})
    images = [{"id": i, "file_name": f"{i:03d}.jpg", "width": WH[0], "height": WH[1]} for i in range(len(maps))]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def true_map(frame: int) -> tuple[Any, list[dict[str, Any]]]:
    """As COCO has it, with ids of three bytes; car 5 is a crowd."""
    classes, numbers = truth_of(frame)
    ids = np.where(numbers > 0, 70_000 + 300 * numbers.astype(np.int64), 1 + classes)
    ids[classes == 255] = 0
    segments = []
    for number in np.unique(ids[ids > 0]).tolist():
        mask = ids == number
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        segments.append(
            {
                "id": number,
                "category_id": int(classes[mask][0]),
                "iscrowd": int(number == 70_000 + 300 * 5),
                "area": int(mask.sum()),
                "bbox": [x, y, width, height],
                "track_id": (number - 70_000) // 300 if number > 70_000 else None,
            }
        )
    return ids, segments


DRIVE: Any = SimpleNamespace(name="drive")  # a source whose frame i has label i


def measured(truths: Any, results: list[Prediction]) -> dict[str, Any]:
    measures = Measures(CAMVID, truths)
    records = [measures(result, None) for result in results]
    figures = object_figures([Records.of(records, measures.empty)], CAMVID)
    assert figures is not None
    return figures


def test_pq_and_ap50_are_those_of_hotcoco(tmp_path: Path) -> None:
    hotcoco = pytest.importorskip("hotcoco")
    results = [seen(index) for index in range(FRAMES)]
    truth = write_panoptic(tmp_path / "truth.json", [true_map(index) for index in range(FRAMES)])
    found = write_panoptic(tmp_path / "found.json", [result.panoptic() for result in results])
    figures = measured(PanopticLabels(DRIVE, truth, CAMVID), results)
    expected = hotcoco.panoptic.pq_compute(str(truth), str(found))
    per_class = {
        CAMVID.names[i]: one for i, one in expected["per_class"].items() if CAMVID.names[i] in figures["classes"]
    }
    assert set(per_class) == {"Sky", "Road", "Car", "Pedestrian"}
    for name, one in per_class.items():
        mine = figures["classes"][name]
        assert [mine[key] for key in ("pq", "sq", "rq")] == pytest.approx(
            [one[k] for k in ("pq", "sq", "rq")], abs=1e-5
        )
    assert figures["pq_things"] == pytest.approx(expected["Things"]["pq"], abs=1e-5)
    assert figures["pq_stuff"] == pytest.approx(expected["Stuff"]["pq"], abs=1e-5)
    assert 0.2 < figures["pq_things"] < 0.8
    for name, precision in coco_ap50(hotcoco, results).items():
        assert figures["classes"][name]["ap50"] == pytest.approx(precision, abs=1e-5)
        assert 0.2 < precision < 0.9


def coco_ap50(hotcoco: Any, results: list[Prediction]) -> dict[str, float]:
    """Of the same objects as run lengths; those in the strip without label left out, of which COCO knows nothing."""
    annotations, found = [], []
    for frame, result in enumerate(results):
        ids, segments = true_map(frame)
        for s in segments:
            annotations.append(
                {**s, "segmentation": coco_rle(ids == s["id"]), "image_id": frame, "id": len(annotations) + 1}
            )
        for one in result.instances or ():
            if one.box[1] < 40:
                mask = coco_rle(result.instance_mask(one.id))
                found.append(
                    {"image_id": frame, "category_id": one.class_id, "segmentation": mask, "score": one.confidence}
                )
    images = [{"id": i, "width": WH[0], "height": WH[1]} for i in range(len(results))]
    truth = hotcoco.COCO({"images": images, "annotations": annotations, "categories": CATEGORIES})
    precisions = {}
    for class_id in (CAR, PEDESTRIAN):
        judge = hotcoco.COCOeval(truth, truth.load_res(found), "segm")
        judge.params.cat_ids = [class_id]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        precisions[CAMVID.names[class_id]] = judge.stats[1]
    return precisions


def test_who_is_seen_where_nothing_is_known_or_counts_is_no_mistake(tmp_path: Path) -> None:
    truth = write_panoptic(tmp_path / "truth.json", [true_map(index) for index in range(FRAMES)])
    labels = PanopticLabels(DRIVE, truth, CAMVID)
    figures = measured(labels, [exactly(index) for index in range(FRAMES)])
    for name in ("Car", "Pedestrian"):
        assert figures["classes"][name]["pq"] == figures["classes"][name]["ap50"] == 1
    assert figures["tracks"]["pedestrian"]["objects"] == 2 * FRAMES
    assert figures["tracks"]["vehicle"]["objects"] == 2 * FRAMES  # the third is a crowd


def exactly(frame: int) -> Prediction:
    """All that is there, and a person where no label is."""
    result = seen(frame)
    classes = truth_of(frame)[0]
    classes[40:] = ROAD
    classes[41:47, 5:15] = PEDESTRIAN
    outputs = {**result.outputs, "semantic": classes, "confidence": np.full(classes.shape, 250, np.uint8)}
    result = dataclasses.replace(result, outputs=outputs)
    return Instances(CAMVID).update(result)


def test_small_objects_of_a_street_do_not_count() -> None:
    classes, numbers = truth_of(0)
    numbers[5, 63], classes[5, 63] = 9, CAR  # a pixel of a car
    truth = objects_of_maps(classes, numbers, [CAR, PEDESTRIAN], [255], least=0.001)
    assert {row[2]: row[3] for row in truth.rows.tolist() if row[2]} == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 9: 0}


def test_ids_that_last_are_measured_against_tracks_of_the_truth(tmp_path: Path) -> None:
    truth = write_panoptic(tmp_path / "truth.json", [true_map(index) for index in range(FRAMES)])
    tracks, results = Tracks(), [exactly(index) for index in range(FRAMES)]
    labels = PanopticLabels(DRIVE, truth, CAMVID)
    followed = [tracks.update(result) for result in results]
    people = measured(labels, followed)["tracks"]["pedestrian"]
    assert (people["hota"], people["idf1"], people["id_switches"], people["minutes"]) == (1, 1, 0, 0.1)
    swapped = [*followed[:3], *map(others_ids, followed[3:])]
    people = measured(labels, swapped)["tracks"]["pedestrian"]
    assert (people["id_switches"], people["id_switches_per_minute"]) == (2, 20)
    assert people["idf1"] == 0.5


def others_ids(result: Prediction) -> Prediction:
    assert result.instances is not None
    renamed = [dataclasses.replace(one, track_id=100 - (one.track_id or 0)) for one in result.instances]
    return dataclasses.replace(result, instances=tuple(renamed))


def test_boxes_of_people_are_read_as_the_mot_challenge_has_them(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("3,1,10,5,4,8,1,1,1\n3,2,1,2,3,4,0,1,1\n5,4,1,1,2,2,1,7,0.5\n\n5,9,0,0,9,9,1,3,1\n6,1,0.5,0,1,1\n")
    boxes = MotBoxes(path, CAMVID)
    assert [rows_at(boxes, index) for index in range(1, 7)] == [
        None,
        [[1, PEDESTRIAN, 1, 1]],
        [],
        [[1, PEDESTRIAN, 4, 0]],  # who stands still does not count
        [[1, PEDESTRIAN, 1, 1]],
        None,
    ]
    truth = boxes.objects(frame_at(5))
    assert truth is not None
    assert truth.boxes is not None
    assert truth.boxes.tolist() == [[0.5, 0, 1, 1]]


def rows_at(boxes: MotBoxes, index: int) -> list[list[int]] | None:
    truth: TrueObjects | None = boxes.objects(frame_at(index))
    return None if truth is None else truth.rows.tolist()


def frame_at(index: int) -> Frame:
    return Frame(index=index, captured_ns=0, source="test", bgr=np.zeros((*WH[::-1], 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no boxes"),
        ("1,2,3\n", "line 1"),
        ("1,1,0,0,5,5\n0,1,0,0,5,5\n", "line 2.*from 1"),
        ("1,1,0,0,5,0\n", "line 1"),
        ("1,1,0,0,nan,5\n", "line 1"),
        ("frame,id\n", "expected frame,id"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gt.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        MotBoxes(tmp_path / "gt.txt", CAMVID)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is not JSON"),
        ("[]", "COCO's panoptic form"),
        ('{"categories": [], "annotations": []}', "none of its categories"),
        ('{"categories": [{"id": 1, "name": "giraffe"}], "annotations": []}', "none of its categories"),
        ('{"categories": [{"id": 1, "name": "person"}], "annotations": [{}]}', "file_name"),
        ('{"categories": [{"id": 1, "name": "person"}], "annotations": [{"file_name": "a.png"}]}', "segments_info"),
        ('{"categories": [{"id": Infinity, "name": "person"}], "annotations": []}', "COCO's panoptic form"),
        (
            '{"categories": [{"id": 1, "name": "person"}], "annotations": ['
            '{"file_name": "a.png", "segments_info": []}, {"file_name": "a.png", "segments_info": []}]}',
            "names a.png twice",
        ),
    ],
)
def test_a_file_that_is_no_panoptic_truth_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(DataError, match=said):
        PanopticLabels(DRIVE, tmp_path / "truth.json", CAMVID)


@pytest.mark.parametrize("number", [2**40, 5])
def test_segments_whose_ids_no_pixel_has_are_refused(tmp_path: Path, number: int) -> None:
    ids, segments = true_map(0)
    segments = [{**segments[0], "id": number}]
    labels = PanopticLabels(DRIVE, write_panoptic(tmp_path / "truth.json", [(ids * 0, segments)] * FRAMES), CAMVID)
    frame = Frame(index=0, captured_ns=0, source="test", bgr=np.zeros((*ids.shape, 3), np.uint8))
    with pytest.raises(DataError, match=r"000\.png.*segment"):
        labels.objects(frame)


def test_truth_of_another_size_than_its_frame_is_refused(tmp_path: Path) -> None:
    truth = write_panoptic(tmp_path / "truth.json", [true_map(index) for index in range(FRAMES)])
    labels = PanopticLabels(DRIVE, truth, CAMVID)
    frame = Frame(index=0, captured_ns=0, source="test", bgr=np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match=r"000\.png.*must be equal"):
        labels.objects(frame)


def test_records_without_truth_of_objects_have_no_figures() -> None:
    measures = Measures(CAMVID)
    record: Record = measures(seen(0), None)
    assert object_figures([Records.of([record], measures.empty)], CAMVID) is None


STANDING = [(1, 8, 28), (2, 48, 20)]  # id, left, height: where the net's cells begin
WALKERS = make_table(
    rows=[("Sky", (0, 0, 255)), ("Road", (0, 255, 0)), ("Walker", (255, 0, 0))],
    groups={"pedestrian": ["Walker"]},
    tints={"pedestrian": (255, 60, 60)},
    ignore_id=255,
)


@pytest.fixture
def drive(tmp_path: Path, colour_model: bytes, make_card: MakeCard) -> list[Any]:
    """Two in red on blue, in a video of eight frames; the words that evaluate it, but for the labels."""
    images = []
    for _ in range(8):
        image = np.full((*WH[::-1], 3), (255, 0, 0), np.uint8)
        for _, left, height in STANDING:
            image[10 : 10 + height, left : left + 8] = (0, 0, 255)
        images.append(image)
    bundle = write_bundle(tmp_path / "walkers", {MODEL_FILE: colour_model}, make_card(colour_model, table=WALKERS))
    return ["evaluate", write_video(tmp_path / "drive.mkv", images, codec="ffv1", rate=4), "-e", bundle.folder]


def test_a_drive_is_evaluated_against_boxes_and_reported_in_every_form(
    drive: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{i + 1},{n},{left},10,8,{height},1,1,1" for i in range(4) for n, left, height in STANDING]
    lines.append("4,3,30,20,4,4,1,1,1")  # not seen by any track
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    assert run(*drive, "--labels", tmp_path / "gt.txt", "--json", report, "--html", page) == 0
    assert "IDF1" in capsys.readouterr().out
    objects = json.loads(report.read_text())["objects"]
    assert objects["frames"] == 4
    assert objects["tracks"]["pedestrian"]["idf1"] == round(16 / 17, 5)
    assert objects["tracks"]["pedestrian"]["objects"] == 9
    assert "classes" not in objects  # boxes do not say which pixels are whose
    told = page.read_text()
    assert re.findall(r"<title>(.*?)</title></rect>", told) == [
        "id 1, 4 frames from 0",
        "id 2, 4 frames from 0",
        "missed, 1 frames from 3",
    ]
    assert re.findall(r"<figcaption><b>(.*?)</b>.*?frame (\d+)", told, re.DOTALL)[-1] == ("1 missed", "3")


def test_coco_panoptic_truth_gives_figures_of_pixels_and_of_objects(drive: list[Any], tmp_path: Path) -> None:
    categories = [{"id": 40, "name": "person", "isthing": 1}, {"id": 7, "name": "sky"}, {"id": 8, "name": "giraffe"}]
    ids = np.full(WH[::-1], 90_000, np.int64)
    for number, left, height in STANDING:
        ids[10 : 10 + height, left : left + 8] = number
    ids[:, 60:] = 90_001  # of a category that the engine does not know
    names = {90_000: 7, 90_001: 8, **{number: 40 for number, _, _ in STANDING}}
    segments = [{"id": i, "category_id": kind, "iscrowd": 0, "track_id": i} for i, kind in names.items()]
    path = write_panoptic(tmp_path / "truth.json", [(ids, segments)] * 8, categories)
    report = tmp_path / "report.json"
    assert run(*drive, "--labels", path, "--json", report) == 0
    found = json.loads(report.read_text())
    assert found["labelled_frames"] == found["objects"]["frames"] == 8
    assert found["iou"]["Walker"] > 0.7  # the net sees in cells
    assert sum(map(sum, found["confusion"])) == 8 * 48 * 60
    assert [found["objects"]["classes"][name]["rq"] for name in ("Sky", "Walker")] == [1, 1]
    assert found["objects"]["tracks"]["pedestrian"]["idf1"] == 1


@pytest.mark.slow
def test_a_rendered_street_knows_its_objects_and_their_ids_last() -> None:
    street = SceneSource("scene:street?seed=3&frames=3&size=320x180&fps=10")
    labels = find_labels(street, None, False, CAMVID)
    assert labels is not None
    truths = [labels.objects(frame) for frame in street]
    tracks = [{row[2] for row in truth.rows.tolist() if row[2]} for truth in truths if truth is not None]
    assert len(tracks) == 3
    assert len(tracks[0] & tracks[1] & tracks[2]) >= 3
    for truth, index in zip(truths, range(3), strict=True):
        assert truth is not None
        assert truth.ids is not None
        classes, known = street.truth(index)[0], dict(truth.rows[:, :2].tolist())
        meant = np.array([known.get(i, CAMVID.ignore_id) for i in truth.ids.ravel().tolist()])
        np.testing.assert_array_equal(meant, classes.ravel())


def test_boxes_behind_the_end_of_a_drive_are_refused(drive: list[Any], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,1,4,10,8,20\n12,1,4,10,8,20\n")
    with pytest.raises(DataError, match="4 of 12 labels are of no frame"):
        run(*drive, "--labels", tmp_path / "gt.txt")


def test_labels_of_objects_are_not_masks_of_one_group(drive: list[Any], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,1,4,10,8,20\n")
    with pytest.raises(ConfigError, match="--labels-of"):
        run(*drive, "--labels", tmp_path / "gt.txt", "--labels-of", "pedestrian")


def run(*words: object) -> int:
    return make_app()([str(word) for word in words], standalone_mode=False) or 0
