"""A drive served to a viewer that speaks Foxglove's protocol, and played as it asks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drives import write_drive

pytest.importorskip("foxglove", reason="needs the foxglove extra")
pytest.importorskip("websockets", reason="the viewer needs the serve extra")

from foxglove_client import ENDED, PAUSE, PAUSED, PLAY, PLAYING, Client, schema_bytes

from edge.drive.file import DriveFile
from edge.drive.schema import IMAGE, MASKS, OUTLINES, RESULTS
from edge.errors import NotAVideo, SourceNotFound
from edge.replay.foxglove_replay import FoxgloveReplay
from edge.replay.messages import RecordedMessages
from edge.sinks import drive as drive_module
from edge.sinks.foxglove_server import Address
from edge.sources.drive import is_key_frame

TOPICS = (IMAGE, MASKS, OUTLINES, RESULTS)
FAST = 50.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """25 frames of 3.6 s, a key frame each tenth."""
    return write_drive(tmp_path / "drive.mcap")


@pytest.fixture
def viewer(path: Path) -> Iterator[Client]:
    with served(path) as replay, Client(replay.url) as client:
        yield client


def served(path: Path) -> FoxgloveReplay:
    return FoxgloveReplay(RecordedMessages(str(path)), Address("127.0.0.1", 0))


def play_out(viewer: Client) -> None:
    """Until the end; the last messages may come behind the state that says so."""
    viewer.take_until(lambda: viewer.states[-1].status == ENDED)
    viewer.drain()


def messages_of(path: Path, topic: str) -> list[tuple[int, bytes]]:
    file = DriveFile(path)
    return [(place.time_ns, file.read(topic, place)) for place in file.places[topic]]


def times_of(path: Path) -> list[int]:
    return [time_ns for time_ns, _ in messages_of(path, RESULTS)]


def test_a_viewer_that_plays_gets_every_message_of_the_drive(path: Path, viewer: Client) -> None:
    viewer.subscribe(*TOPICS)
    viewer.drain()
    viewer.control(PLAY, FAST)
    play_out(viewer)
    file = DriveFile(path)
    assert set(viewer.channels) == set(file.channels)
    for topic in TOPICS:
        channel, schema = viewer.channels[topic], file.schemas[topic]
        assert (channel["schemaName"], channel["schemaEncoding"]) == (schema.name, schema.encoding)
        assert schema_bytes(channel) == schema.data
        assert channel["encoding"] == file.channels[topic].message_encoding
        assert viewer.messages[topic] == messages_of(path, topic)
    assert sorted(set(viewer.times)) == viewer.times


def test_the_server_says_what_there_is_to_play(path: Path, viewer: Client) -> None:
    times = times_of(path)
    assert "playbackControl" in viewer.info["capabilities"]
    ends = [viewer.info[name] for name in ("dataStartTime", "dataEndTime")]
    assert [end["sec"] * 10**9 + end["nsec"] for end in ends] == [times[0], times[-1]]


def test_it_waits_at_the_beginning_and_shows_it(path: Path, viewer: Client) -> None:
    viewer.subscribe(MASKS)
    viewer.drain()
    assert viewer.messages[MASKS] == messages_of(path, MASKS)[:1]
    assert viewer.states[-1][:3] == (PAUSED, times_of(path)[0], 1.0)


def test_a_seek_shows_what_was_seen_then_by_way_of_the_key_frame(path: Path, viewer: Client) -> None:
    viewer.subscribe(*TOPICS)
    viewer.drain()
    viewer.messages.clear()
    viewer.order.clear()
    at = 17
    state = viewer.control(PAUSE, seek_ns=times_of(path)[at] + 1000, request="there")
    viewer.drain()
    assert (state.status, state.time_ns, state.did_seek) == (PAUSED, times_of(path)[at] + 1000, True)
    assert viewer.order[0] == ("state", state)  # before what it announces
    for topic in (MASKS, OUTLINES, RESULTS):
        assert viewer.messages[topic] == messages_of(path, topic)[at : at + 1]
    images = viewer.decoded(IMAGE)
    assert viewer.messages[IMAGE] == messages_of(path, IMAGE)[at + 1 - len(images) : at + 1]
    assert [is_key_frame(image.data) for image in images] == [True] + [False] * (len(images) - 1)


def test_it_plays_on_from_where_it_was_sought_back_to(path: Path, viewer: Client) -> None:
    viewer.subscribe(RESULTS)
    viewer.control(PLAY, FAST)
    play_out(viewer)
    viewer.messages.clear()
    viewer.control(PLAY, FAST, seek_ns=times_of(path)[20], request="back")
    play_out(viewer)
    assert viewer.messages[RESULTS] == messages_of(path, RESULTS)[20:]


@pytest.mark.slow
def test_a_pause_holds_until_it_is_ended(path: Path, viewer: Client) -> None:
    viewer.subscribe(RESULTS)
    viewer.control(PLAY, 0.2, request="play")
    viewer.take_until(lambda: len(viewer.messages[RESULTS]) >= 2)
    assert viewer.control(PAUSE, request="pause").status == PAUSED
    before = len(viewer.messages[RESULTS])
    viewer.drain(1.0)
    assert len(viewer.messages[RESULTS]) == before
    assert viewer.control(PLAY, FAST, request="on").status == PLAYING
    play_out(viewer)
    assert viewer.messages[RESULTS] == messages_of(path, RESULTS)


def test_at_the_end_it_plays_from_the_beginning(path: Path, viewer: Client) -> None:
    viewer.subscribe(RESULTS)
    viewer.control(PAUSE, seek_ns=times_of(path)[-1], request="end")
    state = viewer.control(PLAY, FAST, request="again")
    assert (state.did_seek, state.time_ns) == (True, times_of(path)[0])


@pytest.mark.slow
def test_the_speed_sets_the_pace(path: Path, viewer: Client) -> None:
    """A frame in a hundredth of the pace takes ten seconds; in a hundred times the pace all are there before."""
    viewer.subscribe(RESULTS)
    viewer.drain()
    viewer.control(PLAY, 0.01, request="slow")
    viewer.drain(0.5)
    assert len(viewer.messages[RESULTS]) < 5
    assert viewer.control(PLAY, 100.0, request="fast").speed == 100.0
    play_out(viewer)
    assert viewer.messages[RESULTS] == messages_of(path, RESULTS)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30])
def test_a_speed_that_cannot_be_changes_nothing(speed: float, viewer: Client) -> None:
    assert viewer.control(PLAY, speed).speed == 1.0
    assert viewer.control(PAUSE, 1.0, request="alive").status == PAUSED


def test_segments_of_a_folder_are_one_drive(tmp_path: Path) -> None:
    for number in range(3):
        write_drive(tmp_path / f"drive-{number:06}.mcap", frames=4, first=4 * number)
    with served(tmp_path) as replay, Client(replay.url) as viewer:
        viewer.subscribe(RESULTS)
        viewer.control(PLAY, FAST)
        play_out(viewer)
    kept = [one for number in range(3) for one in messages_of(tmp_path / f"drive-{number:06}.mcap", RESULTS)]
    assert viewer.messages[RESULTS] == sorted(kept)


def test_of_a_drive_that_was_cut_off_all_that_is_whole_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_module, "CHUNK_S", 0.0)
    path = write_drive(tmp_path / "drive.mcap")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recording = RecordedMessages(str(path))
    assert "was cut off while it was recorded" in recording.damage
    with served(path) as replay, Client(replay.url) as viewer:
        viewer.subscribe(RESULTS)
        viewer.control(PLAY, FAST)
        play_out(viewer)
    assert viewer.messages[RESULTS] == messages_of(path, RESULTS)


def test_what_is_no_drive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"no drive")
    with pytest.raises(NotAVideo, match="is no MCAP file"):
        RecordedMessages(str(tmp_path / "a.mcap"))
    with pytest.raises(SourceNotFound):
        RecordedMessages(str(tmp_path / "b.mcap"))


@pytest.mark.slow
def test_the_command_serves_until_it_is_ended(path: Path) -> None:
    command = [sys.executable, "-m", "edge.cli", "replay", str(path), "--foxglove", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"ws://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        with Client(found[0]) as viewer:
            viewer.subscribe(RESULTS)
            viewer.take_until(lambda: viewer.messages[RESULTS])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--fast", "--web", "--diff=road:f32", "--results=a.jsonl", "--start=3"])
def test_what_needs_an_engine_is_refused_beside_it(option: str, path: Path) -> None:
    command = [sys.executable, "-m", "edge.cli", "replay", str(path), "--foxglove", option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"so {option.partition('=')[0]} cannot be had with it" in done.stderr
