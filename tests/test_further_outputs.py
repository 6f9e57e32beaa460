"""An output that edge knows nothing about, found at the end of everything that carries results.

The stand-in's card lists two: `glow`, a map of bytes at network size, and `depth`, float32 at a quarter of it.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bundles import MakeCard, graph_of
from drives import through_a_drive
from stand_in import BrightnessEngine

from edge.arrays import decode_array
from edge.card import output_to_json
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import DataError, EngineError
from edge.frame import Frame, Image
from edge.outputs import CONFIDENCE, SEMANTIC, Output
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sinks.table import SinkContext, make_sink
from edge.timing import Stages

GLOW = Output("glow", "uint8", ("H", "W"), "value_map", "how bright a pixel is", "glow")
DEPTH = Output("depth", "float32", ("H/4", "W/4"), "value_map", "a made-up distance in metres", "depth")
WH = (32, 16)  # of the frames; the network's input is 32x24, so that there are bars above and below


class DepthEngine(BrightnessEngine):
    """Gives more than classes."""

    outputs = (SEMANTIC, GLOW, DEPTH)

    def __init__(self, make_card: MakeCard) -> None:
        super().__init__(make_card)
        self.card = dataclasses.replace(self.card, outputs=self.outputs)

    def infer(self, image: Image) -> dict[str, Any]:
        glow = image.mean(-1).astype(np.uint8)
        depth = np.arange(6 * 8, dtype=np.float32).reshape(6, 8) / 7
        return {**super().infer(image), "glow": glow, "depth": depth}


def frame(index: int = 0) -> Frame:
    rows = np.linspace(40, 200, WH[1], dtype=np.uint8)[:, None, None]
    image = np.ascontiguousarray(np.broadcast_to(rows + np.uint8(index), (WH[1], WH[0], 3)))
    return Frame(index=index, captured_ns=5_000_000_000 + index * 10**8, source="made up", bgr=image)


@pytest.fixture
def engine(make_card: MakeCard) -> DepthEngine:
    return DepthEngine(make_card)


@pytest.fixture
def result(engine: DepthEngine) -> Prediction:
    return Segmenter(engine).segment(frame())


def content(result: Prediction) -> dict[str, np.ndarray]:
    """The arrays without bars."""
    assert result.content("glow").shape == (16, 32)
    assert result.content("depth").shape == (4, 8)
    return {name: np.asarray(result.content(name)) for name in ("glow", "depth")}


def check_numbers(outputs: Any, result: Prediction) -> None:
    """What a text record says of them."""
    assert set(outputs) == {"glow", "depth"}
    assert outputs["depth"]["max"] == pytest.approx(float(content(result)["depth"].max()))
    assert outputs["glow"]["min"] == content(result)["glow"].min()


def test_json_lines_have_it_in_numbers(result: Prediction, tmp_path: Path) -> None:
    from edge.sinks.jsonl import JsonLines

    with JsonLines(tmp_path / "results.jsonl", Stages()) as sink:
        sink.write(result, 0)
    check_numbers(json.loads((tmp_path / "results.jsonl").read_text())["outputs"], result)


def test_records_of_an_engine_that_gives_classes_alone_are_as_they_were(make_card: MakeCard) -> None:
    from edge.sinks.jsonl import as_record

    record = as_record(Segmenter(BrightnessEngine(make_card)).segment(frame()), 0)
    assert list(record) == ["frame", "media_s", "captured_ns", "age_ms", "shares", "dropped"]


def test_a_drive_has_it_and_gives_it_back(engine: DepthEngine, tmp_path: Path) -> None:
    results = [Segmenter(engine).segment(frame(index)) for index in range(3)]
    for found, result in zip(through_a_drive(results, engine.card, tmp_path / "a.mcap"), results, strict=True):
        assert found.further() == [DEPTH, GLOW]
        for name, array in content(result).items():
            np.testing.assert_array_equal(found.content(name), array)


def test_foxglove_is_served_it_as_a_drive_has_it(result: Prediction, engine: DepthEngine) -> None:
    pytest.importorskip("foxglove", reason="needs the foxglove extra")
    from foxglove_client import Client

    context = SinkContext("test", 10.0, engine.card, Stages())
    with make_sink("foxglove", "127.0.0.1:0", context) as sink, Client(sink.url) as viewer:  # type: ignore[attr-defined]
        sink.write(result, 0)
        viewer.subscribe("/outputs/glow", "/outputs/depth")
        while not all(viewer.messages[topic] for topic in ("/outputs/glow", "/outputs/depth")):
            sink.write(result, 0)  # until the server knows of the subscription
            viewer.drain(0.2)
        channel, message = viewer.channels["/outputs/depth"], viewer.decoded("/outputs/depth")[0]
        assert channel["metadata"]["output"] == output_to_json(DEPTH)
        assert channel["schemaName"] == "edge.Array"
        assert np.array_equal(decode_array(message.data, message.dtype, 2), content(result)["depth"])
        assert viewer.channels["/outputs/glow"]["schemaName"] == "foxglove.CompressedImage"


def test_a_map_of_bytes_in_a_drive_is_a_png_for_other_viewers(result: Prediction, tmp_path: Path) -> None:
    import cv2

    from edge.drive.file import DriveFile
    from edge.drive.schema import message_class
    from edge.sinks.drive import DriveOptions, DriveSink

    with DriveSink(tmp_path / "a.mcap", DriveOptions("edge 0", "test", 10), Stages()) as sink:
        sink.write(result, 0)
    file = DriveFile(tmp_path / "a.mcap")
    assert file.schemas["/outputs/glow"].name == "foxglove.CompressedImage"
    assert file.schemas["/outputs/depth"].name == "edge.Array"
    data = file.read("/outputs/glow", file.places["/outputs/glow"][0])
    png = message_class("foxglove.CompressedImage").FromString(data).data
    glow = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(glow, content(result)["glow"])


def test_drives_made_one_keep_it(engine: DepthEngine, tmp_path: Path) -> None:
    from edge.drive.merge import merge
    from edge.sinks.drive import DriveOptions, DriveSink
    from edge.sources.drive import Drive

    for number in range(2):
        with DriveSink(tmp_path / f"{number}.mcap", DriveOptions("edge 0", "test", 10, engine.card), Stages()) as sink:
            sink.write(Segmenter(engine).segment(frame(number)), 0)
    with (tmp_path / "whole.mcap").open("wb") as file:
        merge([tmp_path / "0.mcap", tmp_path / "1.mcap"], file.fileno(), {}, lambda: None)
    with Drive(str(tmp_path / "whole.mcap")) as source:
        recorded = source.recorded(1)
    assert recorded is not None
    assert set(recorded.outputs) == {"glow", "depth"}


def test_mqtt_sends_it_on_a_topic_of_its_own_and_its_numbers_with_the_results(result: Prediction) -> None:
    from edge.sinks.mqtt.outbox import Outbox

    box = Outbox("boot", "car")
    box.put_result(result, 0)
    sent = {message.topic: message.payload for message in box.newest_parts(Stages())}
    assert list(sent) == ["car/results", "car/masks", "car/outputs/glow", "car/outputs/depth"]
    check_numbers(json.loads(sent["car/results"])["outputs"], result)
    for name, array in content(result).items():
        text, _, data = sent[f"car/outputs/{name}"].partition(b"\n")
        head = json.loads(text)
        assert head["meaning"] == result.specs[name].meaning
        assert head["shape"] == list(array.shape)
        np.testing.assert_array_equal(decode_array(data, head["dtype"], len(head["shape"])), array)


def sent_over_the_socket(result: Prediction) -> tuple[Any, bytes]:
    """Head and arrays of the message that the inference service sends."""
    from edge.service.results import ResultsSocket
    from edge.service.wire import Messages

    sent: list[bytes] = []
    socket = ResultsSocket.__new__(ResultsSocket)
    socket._publishers = {0: SimpleNamespace(is_idle=True, wants_images_until_s=0.0, send=sent.append)}  # type: ignore[dict-item]
    socket._send_result(result, 0)
    ((head, arrays, _),) = Messages().feed(sent[0])
    return head, arrays


def received(head: Any, arrays: bytes, engine: DepthEngine) -> Prediction:
    """What the publisher makes of it."""
    from edge.service.publish import Publisher

    publisher = Publisher.__new__(Publisher)
    publisher._card, publisher._source = engine.card, "made up"
    return publisher._result(head, arrays, b"")


def test_the_split_service_hands_it_over(result: Prediction, engine: DepthEngine) -> None:
    found = received(*sent_over_the_socket(result), engine)
    assert found.specs == result.specs
    for name, array in result.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], array)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"output": "{}"}, "is missing"),
        (
            {"output": output_to_json(dataclasses.replace(DEPTH, shape=("H", "W")))},
            "expected .24, 32., got",
        ),
        ({"output": output_to_json(dataclasses.replace(DEPTH, dtype="uint16"))}, "expected uint16"),
        ({"size_bytes": 1 << 20}, "bytes of outputs"),
        ({"size_bytes": 1}, "an array|a mask|begins with"),
    ],
)
def test_the_publisher_refuses_an_output_that_is_not_as_announced(
    result: Prediction, engine: DepthEngine, changes: dict[str, Any], expected: str
) -> None:
    from edge.service.wire import WireError

    head, arrays = sent_over_the_socket(result)
    last = head.outputs[-1].model_copy(update=changes)
    with pytest.raises((WireError, DataError), match=expected):
        received(head.model_copy(update={"outputs": (*head.outputs[:-1], last)}), arrays, engine)


def test_edge_segment_gives_it(engine: DepthEngine, tmp_path: Path) -> None:
    import cv2

    import edge

    cv2.imwrite(str(tmp_path / "0.png"), frame().image)
    (result,) = edge.segment(tmp_path, engine)  # type: ignore[arg-type]
    assert result.further() == [GLOW, DEPTH]
    check_numbers(result.summaries(), result)


def confident(bundle: Bundle, folder: Path) -> Path:
    """The bundle, whose card lists the confidence that its graph has."""
    card = dataclasses.replace(bundle.card, outputs=(SEMANTIC, CONFIDENCE))
    return write_bundle(folder, {MODEL_FILE: graph_of(bundle)}, card).folder


@pytest.mark.parametrize("command", [("run", "-q"), ("replay", "--fast")])
def test_confidence_is_computed_where_it_is_asked_for(
    command: tuple[str, ...], colour_bundle: Bundle, tmp_path: Path, flag: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2
    from typer.testing import CliRunner

    from edge.cli import make_app

    cv2.imwrite(str(tmp_path / "0.png"), flag)
    engine, results = str(confident(colour_bundle, tmp_path / "confident")), tmp_path / "results.jsonl"
    run = [*command, str(tmp_path / "0.png"), "--engine", engine, "--results", str(results)]
    for asked in (False, True):
        found = CliRunner().invoke(make_app(), [*run, *(["--confidence"] if asked else [])])
        assert found.exception is None
        assert ("outputs" in json.loads(results.read_text())) == asked
    assert 0 < json.loads(results.read_text())["outputs"]["confidence"]["mean"] < 1


def test_confidence_of_an_engine_without_it_is_refused_with_what_to_type(colour_bundle: Bundle, tmp_path: Path) -> None:
    from edge.config import parse_tree
    from edge.service.check import check
    from edge.service.config import ServeConfig

    engine = str(colour_bundle.folder)
    tree = {"camera": "scene:street", "engine": engine, "confidence": True, "recorder": {"folder": str(tmp_path)}}
    with pytest.raises(EngineError, match="To add it: edge build"):
        check(parse_tree(tree, ServeConfig, "edge.yaml"))


def test_the_page_offers_each_map_as_a_layer(result: Prediction) -> None:
    from edge.web.encoder import TILE_WIDTH, JpegImages, encode_frame
    from edge.web.state import Newest

    picture = encode_frame(Newest(1, result, 0), JpegImages(TILE_WIDTH))
    layers: Any = picture.head["layers"]
    assert [(layer["name"], layer["wh"]) for layer in layers] == [("glow", (32, 16)), ("depth", (8, 4))]
    assert layers[1]["meaning"] == DEPTH.meaning
    cells = np.frombuffer(zlib.decompress(picture.classes), np.uint8)
    classes, glow, depth = np.split(cells, [32 * 16, 2 * 32 * 16])
    np.testing.assert_array_equal(classes.reshape(16, 32), result.content("semantic"))
    np.testing.assert_array_equal(glow.reshape(16, 32), content(result)["glow"])
    assert (depth.min(), depth.max(), len(depth)) == (0, 255, 32)
    assert encode_frame(Newest(1, result, 0), JpegImages(TILE_WIDTH), with_maps=False).head["layers"] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.5])
def test_a_map_without_a_range_is_shown_all_the_same(result: Prediction, value: float) -> None:
    from edge.web.images import grey_maps

    flat = dataclasses.replace(result, outputs={**result.outputs, "depth": np.full((6, 8), value, np.float32)})
    assert (grey_maps(flat)["depth"] == 0).all()


def test_evaluation_records_have_its_numbers_frame_by_frame(engine: DepthEngine) -> None:
    from edge.classes import CAMVID
    from edge.evaluate.figures import output_figures
    from edge.evaluate.measures import Measures
    from edge.evaluate.records import Records, from_bytes, to_bytes

    measures, results = Measures(CAMVID), [Segmenter(engine).segment(frame(index)) for index in range(3)]
    records = Records.of([measures(result, None) for result in results], measures.empty)
    kept, _ = from_bytes(to_bytes(Records.joined([records, records]), "{}"), "shard")
    found = kept.output_columns()[("depth", "max")]
    assert found.tolist() == [result.summaries()["depth"]["max"] for result in results * 2]
    figures = output_figures([kept])
    assert figures["glow"]["mean"] == pytest.approx(np.mean([r.summaries()["glow"]["mean"] for r in results]), abs=1e-4)


def test_figures_of_an_engine_that_gives_classes_alone_have_no_outputs(make_card: MakeCard) -> None:
    from edge.classes import CAMVID
    from edge.evaluate.figures import output_figures
    from edge.evaluate.measures import Measures
    from edge.evaluate.records import Records

    measures = Measures(CAMVID)
    record = measures(Segmenter(BrightnessEngine(make_card)).segment(frame()), None)
    assert output_figures([Records.of([record], measures.empty)]) == {}


def test_a_replay_has_a_view_of_each_map(engine: DepthEngine) -> None:
    from edge.replay.mask_track import engine_track
    from edge.replay.player import Shown
    from edge.replay.view import images_of, views

    shown = engine_track(engine, "made up")
    seen = shown.of(cast("Any", SimpleNamespace()), frame())
    assert views([shown]) == ["made up", "made up glow", "made up depth"]
    assert seen is not None
    (image,) = images_of(Shown(1, 0, frame(), {"made up": seen}), "made up glow", [shown], None)
    assert image[-1].mean() > image[0].mean() + 50
