"""Events that survive a restart (`edge.sinks.mqtt.journal`)."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from broker import Broker, Listener, soon

from edge.classes import CAMVID
from edge.errors import ConfigError
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.sinks.mqtt import outbox as outbox_module
from edge.sinks.mqtt.journal import Journal
from edge.sinks.mqtt.options import check_mqtt, mqtt_of_camera
from edge.sinks.mqtt.outbox import Outbox
from edge.timing import Stages

pytest.importorskip("paho.mqtt")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def box_of(file: Path) -> Iterator[Callable[[str], Outbox]]:
    """An outbox of one start of the program; the one before is gone as after `kill -9`: never closed in peace."""
    with ExitStack() as stack:
        last: list[Journal] = []

        def make(boot: str) -> Outbox:
            if last:
                last.pop().close()  # the lock goes with the process
            journal = Journal(file)
            stack.callback(journal.close)
            last.append(journal)
            box = Outbox(boot, "edge/car-7", journal)
            box.open()
            return box

        yield make


def taken(box: Outbox) -> list[dict[str, Any]]:
    """All events that would be sent, in their order."""
    key, found = 0, []
    while (message := box.next_event(key)) is not None:
        key = message.seq
        found.append(json.loads(message.payload))
    return found


def test_events_of_an_earlier_start_come_first_and_with_its_numbers(box_of: Callable[[str], Outbox]) -> None:
    first = box_of("one")
    for number in range(3):
        first.put_event("told", {"number": number})
    second = box_of("two")
    second.put_event("told", {"number": 3})
    assert [(said["boot"], said["seq"], said["number"]) for said in taken(second)] == [
        ("one", 1, 0),
        ("one", 2, 1),
        ("one", 3, 2),
        ("two", 1, 3),
    ]


def test_only_what_may_have_come_before_is_marked(box_of: Callable[[str], Outbox]) -> None:
    first = box_of("one")
    for number in range(3):
        first.put_event("told", {"number": number})
    message = first.next_event(0)
    assert message is not None
    first.next_event(message.seq)
    first.event_sent(message.seq)
    assert [(said["number"], "resent" in said) for said in taken(box_of("two"))] == [(1, True), (2, False)]


def test_of_more_than_are_kept_the_oldest_go(
    box_of: Callable[[str], Outbox], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    first = box_of("one")
    for number in range(20):
        first.put_event("told", {"number": number})
    monkeypatch.setattr(outbox_module, "EVENTS_KEPT", 5)
    second = box_of("two")
    second.put_event("told", {"number": 20})
    assert [said["number"] for said in taken(second)] == [16, 17, 18, 19, 20]
    second.close()
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (5,)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_a_damaged_file_is_laid_aside(box_of: Callable[[str], Outbox], file: Path, damage: bytes | None) -> None:
    first = box_of("one")
    first.put_event("told", {"number": 1})
    first.close()
    if damage is None:  # a page in its middle
        content = bytearray(file.read_bytes())
        content[4096:8192] = b"\xff" * 4096
        damage = bytes(content)
    file.write_bytes(damage)
    second = box_of("two")
    second.put_event("told", {"number": 2})
    assert [said["number"] for said in taken(second)] == [2]
    assert second.fault == ""
    assert file.with_name("events.db.damaged").exists() == bool(damage)


def test_each_file_that_is_laid_aside_is_kept(file: Path) -> None:
    for content in (b"one" * 1000, b"two" * 1000):
        file.write_bytes(content)
        with closing(Journal(file)) as journal:
            journal.open(9)
            assert journal.fault == ""
    aside = [file.with_name(name).read_bytes() for name in ("events.db.damaged", "events.db.damaged-2")]
    assert aside == [b"one" * 1000, b"two" * 1000]


@pytest.mark.parametrize("how", ["removed", "moved away", "replaced"])
def test_a_file_that_is_gone_while_it_is_used_is_reported_and_loses_no_event(
    how: str, box_of: Callable[[str], Outbox], file: Path
) -> None:
    box = box_of("one")
    box.put_event("told", {"number": 1})
    assert box.fault == ""
    file.rename(file.with_name("away"))
    if how == "removed":
        file.with_name("away").unlink()
    elif how == "replaced":
        file.write_bytes(b"")
    box.put_event("told", {"number": 2})
    assert "removed or replaced while it was used" in box.fault
    assert "Events are kept in memory alone" in box.fault
    assert [said["number"] for said in taken(box)] == [1, 2]


def test_a_disk_that_takes_nothing_is_told_and_loses_no_event(box_of: Callable[[str], Outbox], file: Path) -> None:
    box = box_of("one")
    assert box._journal is not None
    assert box._journal._db is not None
    box._journal._db.execute("PRAGMA max_page_count = 3")
    for number in range(200):
        box.put_event("told", {"number": number, "padding": "x" * 200})
    assert "full" in box.fault
    assert str(file) in box.fault
    assert [said["number"] for said in taken(box)] == list(range(200))


def test_a_second_program_keeps_its_events_in_memory_and_says_so(file: Path) -> None:
    boxes = [Outbox(boot, "edge/car-7", Journal(file)) for boot in ("one", "two")]
    for box in boxes:
        box.open()
        box.put_event("told", {})
    assert boxes[0].fault == ""
    assert "another program" in boxes[1].fault
    assert [len(taken(box)) for box in boxes] == [1, 1]
    for box in boxes:
        box.close()


def test_only_its_owner_can_read_it(box_of: Callable[[str], Outbox], file: Path) -> None:
    box_of("one").put_event("told", {})
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}


def test_an_event_is_on_the_disk_soon(box_of: Callable[[str], Outbox], file: Path) -> None:
    """The file alone, without its log, is what a checkpoint has brought to the disk."""
    box_of("one").put_event("told", {"number": 1})

    def settled() -> bool:
        copy = file.with_name("copy.db")
        copy.write_bytes(file.read_bytes())
        with sqlite3.connect(copy) as db:
            try:
                return db.execute("SELECT count(*) FROM events").fetchone() == (1,)
            except sqlite3.Error:
                return False

    assert soon(settled)


def test_each_camera_has_a_file_of_its_own() -> None:
    options = MqttOptions("mqtt://localhost", "edge/car-7", events_file="/var/lib/edge/events.db")
    assert mqtt_of_camera(options, "front", 2).events_file == "/var/lib/edge/events-front.db"


@pytest.mark.parametrize(
    ("path", "message"),
    [("{}/no/events.db", "folder not found"), ("{}", "expected a file")],
)
def test_a_file_that_cannot_be_is_refused_before_any_work(tmp_path: Path, path: str, message: str) -> None:
    options = MqttOptions("mqtt://localhost", "edge/car-7", events_file=path.format(tmp_path))
    with pytest.raises(ConfigError, match=message):
        check_mqtt(options)


CHILD = """
import sys, time
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.timing import Stages
from edge.engine import find_bundle
options = MqttOptions(sys.argv[1], "edge/car-7", events_file=sys.argv[2])
with MqttSink(options, find_bundle("road").card, Stages()) as sink:
    for number in range(int(sys.argv[3]), int(sys.argv[4])):
        sink.announce("told", number=number)
        print(number, flush=True)
        time.sleep(0.002)
    while sink.health.levels["events_waiting"]:
        time.sleep(0.01)
"""


KILLS = int(os.environ.get("EDGE_EVENT_KILLS", "12"))


@pytest.mark.slow
def test_no_event_is_lost_where_program_and_broker_are_killed(tmp_path: Path, file: Path) -> None:
    """Each round kills the program at a moment of chance; every third, the broker is away meanwhile."""
    rng = random.Random(1)
    with ExitStack() as stack:
        broker = Broker(tmp_path, ["allow_anonymous true"])
        stack.callback(broker.kill)
        broker.start()
        listener = Listener(broker.port)
        stack.callback(listener.close)
        said = 0
        for turn in range(KILLS):
            if turn % 3 == 2:
                broker.kill()
            wanted = listener.subscriptions + (turn % 3 == 2)
            command = [sys.executable, "-c", CHILD, f"mqtt://localhost:{broker.port}", str(file), str(said), "100000"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                lines = [child.stdout.readline() for _ in range(rng.randrange(1, 60))]
                child.kill()
                lines += child.stdout.readlines()
            said = int([line for line in lines if line.endswith(b"\n")][-1]) + 1
            if turn % 3 == 2:
                broker.start()
                assert soon(lambda wanted=wanted: listener.subscriptions == wanted)
        command[-2:] = [str(said), str(said + 1)]
        assert subprocess.run(command, stdout=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
        assert soon(lambda: {event["number"] for event in listener.said("events")} >= set(range(said + 1)))
        time.sleep(0.2)
        seen: set[tuple[str, int]] = set()
        for event in listener.said("events"):
            key = event["boot"], event["seq"]
            assert key not in seen or event.get("resent")
            seen.add(key)


def test_a_service_goes_on_where_the_last_one_was_killed(make_card: Any, tmp_path: Path, file: Path) -> None:
    broker = Broker(tmp_path, ["allow_anonymous true"])
    card = make_card(b"no graph", table=CAMVID, input_wh=(32, 24), name="street")
    options = MqttOptions(f"mqtt://localhost:{broker.port}", "edge/car-7", events_file=str(file))
    with MqttSink(options, card, Stages()) as sink:  # there is no broker
        sink.announce("pedestrian ahead", number=1)
    broker.start()
    with ExitStack() as stack:
        stack.callback(broker.kill)
        listener = Listener(broker.port)
        stack.callback(listener.close)
        again = stack.enter_context(MqttSink(options, card, Stages()))
        assert soon(lambda: len(listener.said("events")) == 1)
        event = listener.said("events")[0]
        assert (event["boot"], event["number"]) == (sink.boot, 1)
        assert again.health.levels["events_waiting"] == 0 or soon(lambda: again.health.levels["events_waiting"] == 0)
