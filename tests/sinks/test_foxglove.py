"""What a viewer that speaks Foxglove's protocol gets of a live run."""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import MakeCard
from drives import RATE_HZ, mask_of, seen

pytest.importorskip("foxglove", reason="needs the foxglove extra")
pytest.importorskip("websockets", reason="the viewer needs the serve extra")

from foxglove_client import Client, schema_bytes
from self_signed import make_certificate
from stand_in import BrightnessEngine, result_of

from edge.drive.file import DriveFile
from edge.drive.schema import EVENTS, FIX, IMAGE, MASKS, OUTLINES, POSITION, RESULTS
from edge.errors import ConfigError
from edge.indexed_png import decode_ids
from edge.location import Fix
from edge.service.config import ServeConfig
from edge.service.outputs import Outputs
from edge.sinks import foxglove_live
from edge.sinks import stamps as stamps_module
from edge.sinks.drive import DriveOptions, DriveSink
from edge.sinks.foxglove_live import BACKLOG, FoxgloveSink
from edge.sinks.foxglove_server import Address
from edge.sinks.table import SinkContext, make_sink
from edge.sources.drive import is_key_frame
from edge.timing import Stages
from edge.visits import Event
from edge.web.state import Live

TOPICS = (IMAGE, MASKS, OUTLINES, RESULTS)
ANY_PORT = "127.0.0.1:0"


@pytest.fixture
def context(make_card: MakeCard) -> SinkContext:
    return SinkContext("test", RATE_HZ, make_card(b"graph"), Stages())


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drives and live views that begin at any time have the same times."""
    now = SimpleNamespace(time_ns=lambda: 1_800_000_000 * 10**9, monotonic_ns=lambda: 0, monotonic=time.monotonic)
    monkeypatch.setattr(stamps_module, "time", now)


def sink_at(address: str, context: SinkContext, **options: str) -> FoxgloveSink:
    sink = make_sink("foxglove", {"address": address, **options}, context)
    assert isinstance(sink, FoxgloveSink)
    return sink


def subscribed(sink: FoxgloveSink, client: Client, *topics: str) -> None:
    """Until the server knows of it."""
    client.subscribe(*topics)
    await_(lambda: all(sink._channel(topic).has_sinks() for topic in topics))


def await_(condition: object) -> None:
    until_s = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until_s
        time.sleep(0.005)


@pytest.mark.usefixtures("still_clock")
@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_a_viewer_gets_what_a_drive_of_the_same_frames_holds(codec: str, context: SinkContext, tmp_path: Path) -> None:
    results = [seen(index) for index in range(15)]
    path = tmp_path / "drive.mcap"
    with DriveSink(path, DriveOptions("edge 0", "test", RATE_HZ, codec=codec), Stages()) as drive:  # type: ignore[arg-type]
        for index, result in enumerate(results):
            drive.write(result, index)
    with sink_at(ANY_PORT, context, codec=codec) as sink, Client(sink.url) as viewer:
        subscribed(sink, viewer, *TOPICS)
        for index, result in enumerate(results):
            sink.write(result, index)
        viewer.take_until(lambda: len(viewer.messages[RESULTS]) == len(results))
    file = DriveFile(path)
    assert set(viewer.channels) == {*file.channels, EVENTS}
    for topic, recorded in file.channels.items():
        channel, schema = viewer.channels[topic], file.schemas[topic]
        assert channel["encoding"] == recorded.message_encoding
        assert (channel["schemaName"], channel["schemaEncoding"]) == (schema.name, schema.encoding)
        assert schema_bytes(channel) == schema.data
        kept = [(place.time_ns, file.read(topic, place)) for place in file.places[topic]]
        assert viewer.messages[topic] == kept


def test_messages_are_read_by_the_schemas_that_came_with_them(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink, Client(sink.url) as viewer:
        subscribed(sink, viewer, *TOPICS)
        for index in range(4):
            sink.write(seen(index), 7)
        viewer.take_until(lambda: len(viewer.messages[RESULTS]) == 4)
        masks = [decode_ids(message.data) for message in viewer.decoded(MASKS)]
        assert np.array_equal(masks, [mask_of(index) for index in range(4)])
        assert [record["frame"] for record in viewer.decoded(RESULTS)] == [
            seen(index).frame.index for index in range(4)
        ]
        assert {record["dropped"] for record in viewer.decoded(RESULTS)} == {7}
        assert [len(outlines.points) > 0 for outlines in viewer.decoded(OUTLINES)] == [False, False, False, True]
        assert {video.format for video in viewer.decoded(IMAGE)} == {"h264"}


def test_each_fix_of_the_gps_is_served_once(context: SinkContext) -> None:
    first, second = Fix(52.5, 13.4, speed_m_s=3.0), Fix(52.6, 13.4, speed_m_s=4.0)
    with sink_at(ANY_PORT, context) as sink, Client(sink.url) as viewer:
        for topic in (FIX, POSITION):  # as with the first fix
            sink._channel(topic)
        subscribed(sink, viewer, FIX, POSITION, RESULTS)
        for index, fix in enumerate((None, first, first, second)):
            result = seen(index)
            result.frame.fix = fix
            sink.write(result, 0)
        viewer.take_until(lambda: len(viewer.messages[RESULTS]) == 4 and len(viewer.messages[FIX]) == 2)
        assert [one["speed_m_s"] for one in viewer.decoded(FIX)] == [3.0, 4.0]
        assert [one.latitude for one in viewer.decoded(POSITION)] == [52.5, 52.6]


def test_who_comes_later_begins_with_a_key_frame(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink, Client(sink.url) as first:
        subscribed(sink, first, IMAGE)
        for index in range(3):
            sink.write(seen(index), 0)
        first.take_until(lambda: len(first.messages[IMAGE]) == 3)
        with Client(sink.url) as second:
            second.subscribe(IMAGE)
            await_(lambda: sink.health.levels["viewers"] == 2)
            sink.write(seen(3), 0)
            second.take_until(lambda: second.messages[IMAGE])
            assert is_key_frame(second.decoded(IMAGE)[0].data)
    assert [is_key_frame(message.data) for message in first.decoded(IMAGE)] == [True, False, False]


def test_without_a_viewer_nothing_is_encoded(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink:
        for index in range(3):
            sink.write(seen(index), 0)
        assert "encode" not in context.stages.by_name
        with Client(sink.url) as viewer:
            subscribed(sink, viewer, RESULTS)
            sink.write(seen(3), 0)
            viewer.take_until(lambda: viewer.messages[RESULTS])
        assert "encode" not in context.stages.by_name


@pytest.mark.slow
def test_a_viewer_that_takes_nothing_holds_up_neither_the_loop_nor_another(context: SinkContext) -> None:
    """It is sent far more than it, the system's buffers and its queue hold."""
    large = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    with sink_at(ANY_PORT, context, codec="jpeg") as sink, Client(sink.url) as quick, Client(sink.url) as stuck:
        subscribed(sink, quick, IMAGE, RESULTS)
        stuck.subscribe(IMAGE, RESULTS)
        await_(lambda: sink.health.levels["viewers"] == 2)
        count = BACKLOG + 20
        for index in range(count):
            sink.write(result_of(index, mask_of(index), image=large), 0)
            quick.take_until(lambda: len(quick.messages[RESULTS]) > index)  # noqa: B023 called at once
        sent = sum(len(content) for _, content in quick.messages[IMAGE])
        assert sent > 30e6
        assert len(quick.messages[RESULTS]) == count
        stuck.drain()
        assert 0 < len(stuck.messages[RESULTS]) < count
        assert json.loads(stuck.messages[RESULTS][-1][1])["frame"] == count - 1


def test_a_frame_of_another_size_begins_the_video_anew(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink, Client(sink.url) as viewer:
        subscribed(sink, viewer, IMAGE)
        for height in (48, 48, 96):
            sink.write(result_of(0, mask_of(1), image=np.zeros((height, 64, 3), np.uint8)), 0)
        viewer.take_until(lambda: len(viewer.messages[IMAGE]) == 3)
    assert [is_key_frame(message.data) for message in viewer.decoded(IMAGE)] == [True, False, True]


def test_the_service_serves_events_too(make_card: MakeCard) -> None:
    config = ServeConfig(camera="0", sinks={"foxglove": ANY_PORT})
    outputs = Outputs(config, "", make_card(b"graph"), RATE_HZ, Live(BrightnessEngine(make_card), "0", dict), Stages())
    (output,) = outputs.all
    sink = output.background._sink
    assert isinstance(sink, FoxgloveSink)
    with sink, Client(sink.url) as viewer:
        subscribed(sink, viewer, EVENTS)
        sink.event(Event("road_gone", True, 5_000_000_000, 3, 0.7), seen(3))
        sink.write(seen(3), 0)
        viewer.take_until(lambda: viewer.messages[EVENTS])
        assert outputs.health()["foxglove"].levels == {"viewers": 1}
    (event,) = viewer.decoded(EVENTS)
    assert (event["event"], event["active"], event["frame"]) == ("road_gone", True, 3)


def test_the_same_port_is_had_again_at_once(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink:
        address = sink.url.removeprefix("ws://")
    for _ in range(3):
        with sink_at(address, context) as sink, Client(sink.url):
            pass


def test_a_certificate_makes_it_wss(context: SinkContext, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    with sink_at(ANY_PORT, context, **files) as sink:
        assert sink.url.startswith("wss://")
        with Client(sink.url, ssl=trusting) as viewer:
            assert viewer.info["name"] == "test"


@pytest.mark.slow
def test_a_service_waits_for_a_port_that_is_taken_and_says_so(
    context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foxglove_live, "_RETRY_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sink = sink_at(f"127.0.0.1:{port}", dataclasses.replace(context, unattended=True))
        stack = ExitStack()
        stack.enter_context(sink)
        sink.write(seen(0), 0)
        assert sink.health.state == "lost"
        assert f"127.0.0.1:{port}: cannot be listened on: Address already in use" in sink.health.reason
    with stack:
        sink.write(seen(1), 0)
        assert sink.health.state == "ok"
        with Client(sink.url) as viewer:
            subscribed(sink, viewer, RESULTS)
            sink.write(seen(2), 0)
            viewer.take_until(lambda: len(viewer.messages[RESULTS]) == 1)


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(context: SinkContext) -> None:
    with sink_at(ANY_PORT, context) as sink:
        port = int(sink.url.rpartition(":")[2])
        with pytest.raises(
            ConfigError, match=rf"127\.0\.0\.1:{port}: cannot be listened on: Address already in use.*ss -tlnp"
        ):
            sink_at(f"127.0.0.1:{port}", context).__enter__()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("9000", Address("127.0.0.1", 9000)),
        ("car.local", Address("car.local", 8765)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("[::1]:8765", Address("::1", 8765)),
        ("[::1]", Address("::1", 8765)),
        ("::1", Address("::1", 8765)),
        ("[::1%25lo]:9", Address("::1%lo", 9)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert address.is_loopback == (text not in ("car.local", "0.0.0.0:0"))


@pytest.mark.parametrize("host", ["[fe80::5%nowhere0]", "camera.invalid", "192.0.2.1"])
def test_a_service_waits_for_an_interface_a_name_or_an_address_that_may_come(host: str, context: SinkContext) -> None:
    context = dataclasses.replace(context, unattended=True)
    with sink_at(f"{host}:8765", context) as sink:
        assert "cannot be listened on" in sink.health.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "ws://127.0.0.1:8765"}, "foxglove: expected HOST:PORT, such as 127.0.0.1:8765, got a text of 19"),
        ({"address": "127.0.0.1:87650"}, "expected a port of 0 to 65535, got 87650"),
        ({"address": ANY_PORT, "codec": "h265"}, "codec: expected one of h264, jpeg, got 'h265'"),
        ({"address": ANY_PORT, "key_file": "/a"}, "expected both certificate_file and key_file, or neither"),
        ({"address": ANY_PORT, "certificate_file": "/no", "key_file": "/no"}, "/no: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_served_is_one_line(options: dict[str, str], words: str, context: SinkContext) -> None:
    with pytest.raises(ConfigError, match=words):
        make_sink("foxglove", options, context)
