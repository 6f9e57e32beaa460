from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import PROGRAM, Broker, Listener, free_port, make_certificate, soon
from stand_in import ROAD, SKY, result_of
from test_maskcodec import pasted_decoder

from edge.card import Card
from edge.classes import CAMVID
from edge.errors import ConfigError
from edge.prediction import Prediction
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.sinks.mqtt import outbox as outbox_module
from edge.sinks.mqtt import sink as sink_module
from edge.sinks.mqtt.options import address_of
from edge.status import Status
from edge.timing import Stages

pytest.importorskip("paho.mqtt")
# paho leaves the socket of a TLS handshake that failed to the garbage collector, which closes it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)

MakeSink = Callable[..., MqttSink]
CLASSES = np.full((24, 32), SKY, np.uint8)
CLASSES[10:, 5:28] = ROAD


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_broker(tmp_path: Path, cleanup: ExitStack) -> Callable[..., Broker]:
    def make(*lines: str, start: bool = True) -> Broker:
        broker = Broker(tmp_path, lines or ["allow_anonymous true"])
        cleanup.callback(broker.kill)
        if start:
            broker.start()
        return broker

    return make


@pytest.fixture
def listen(cleanup: ExitStack) -> Callable[..., Listener]:
    def make(broker: Broker, **kwargs: Any) -> Listener:
        listener = Listener(broker.port, **kwargs)
        cleanup.callback(listener.close)
        return listener

    return make


@pytest.fixture
def card(make_card: Any) -> Card:
    return make_card(b"no graph", table=CAMVID, input_wh=(32, 24), name="street")


@pytest.fixture
def make_sink(card: Card, cleanup: ExitStack) -> MakeSink:
    def make(port: int, scheme: str = "mqtt", host: str = "localhost", **options: Any) -> MqttSink:
        sink = MqttSink(MqttOptions(f"{scheme}://{host}:{port}", "edge/car-7", **options), card, Stages())
        cleanup.push(sink)
        return sink.__enter__()

    return make


def result(index: int, image_wh: tuple[int, int] = (64, 48)) -> Prediction:
    image = np.zeros((image_wh[1], image_wh[0], 3), np.uint8)
    return result_of(index, CLASSES, image=image, captured_ns=time.monotonic_ns())


def numbers(listener: Listener) -> list[int]:
    """Of the events that came, each once."""
    return list(dict.fromkeys(said["number"] for said in listener.said("events")))


# ------------------------------------------------------------------------------------------------------- what is sent


def test_a_result_arrives_with_its_mask_and_its_age(make_broker: Any, make_sink: Any, listen: Any) -> None:
    broker = make_broker()
    listener = listen(broker)
    sink = make_sink(broker.port)
    sink.write(result(7, image_wh=(64, 36)), 3)
    assert soon(lambda: listener.payloads("masks"))
    (said,), (payload,) = listener.said("results"), listener.payloads("masks")
    assert said["boot"] == sink.boot
    assert (said["seq"], said["frame"], said["dropped"], said["age_ms"]) == (1, 7, 3, 20.0)
    assert abs(said["captured_unix_ms"] / 1e3 - time.time()) < 60
    head, mask = payload.split(b"\n", 1)
    assert json.loads(head) == {
        "boot": sink.boot,
        "seq": 1,
        "captured_unix_ms": pytest.approx(said["captured_unix_ms"], abs=5),
        "frame": 7,
        "age_ms": 20.0,
        "source_wh": [64, 36],
    }
    assert np.array_equal(pasted_decoder()(mask), CLASSES[3:21])  # without the bars above and below
    assert soon(lambda: sink.health.totals["frames_sent"] == 1)


def test_who_comes_later_learns_what_the_classes_are_and_that_the_program_has_ended(
    make_broker: Any, make_sink: Any, listen: Any
) -> None:
    broker = make_broker()
    sink = make_sink(broker.port)
    assert soon(lambda: sink.health.state == "ok")
    sink.set_camera_state(Status("degraded", 'black "pictures"'))
    listener = listen(broker)
    assert soon(lambda: listener.said("status")[-1:] and listener.said("status")[-1]["state"] == "degraded")
    said = listener.said("status")[-1]
    assert (said["online"], said["engine"], said["reason"]) == (True, "street", 'black "pictures"')
    assert said["classes"] == list(CAMVID.names)
    assert said["groups"]["road"] == ["Road"]
    sink.__exit__()
    assert soon(lambda: not listener.said("status")[-1]["online"])
    late = listen(broker)
    assert soon(lambda: late.said("status"))
    assert late.messages[0].retain
    assert late.said("status")[0]["reason"] == "stopped"
    assert [said["seq"] for said in listener.said("status")] == sorted(said["seq"] for said in listener.said("status"))
    assert (sink.health.state, str(sink.health)) == ("stopped", "stopped")


def test_events_of_just_before_the_end_still_arrive(
    make_broker: Any, make_sink: Any, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "CLOSING_S", 20.0)  # how fast a loaded machine sends them is not the question
    broker = make_broker()
    listener, sink = listen(broker), make_sink(broker.port)
    assert soon(lambda: sink.health.state == "ok")
    for number in range(200):
        sink.announce("told", number=number)
    sink.__exit__()
    assert soon(lambda: len(listener.said("events")) == 200)
    assert numbers(listener) == list(range(200))
    assert (sink.health.totals["events_sent"], sink.health.levels["events_waiting"]) == (200, 0)


CHILD = """
import sys, time
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.timing import Stages
from edge.engine import find_bundle
sink = MqttSink(MqttOptions(sys.argv[1], "edge/car-7"), find_bundle("road").card, Stages()).__enter__()
while sink.health.state != "ok":
    time.sleep(0.01)
print("ok", flush=True)
time.sleep(60)
"""


def test_a_program_that_is_killed_is_said_to_be_offline(make_broker: Any, listen: Any) -> None:
    broker = make_broker()
    listener = listen(broker)
    command = [sys.executable, "-c", CHILD, f"mqtt://localhost:{broker.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ok\n"
        assert soon(lambda: listener.said("status"))
        child.kill()
    assert soon(lambda: not listener.said("status")[-1]["online"])
    assert listener.said("status")[-1]["reason"] == "connection lost"
    assert listener.said("status")[-1]["boot"] == listener.said("status")[0]["boot"]


# ----------------------------------------------------------------------------------------------- a broker that is away


def test_no_event_is_lost_while_the_broker_is_killed_and_comes_back(
    make_broker: Any, make_sink: Any, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The listener is back first: what comes before that is lost to him, though not to the broker.
    monkeypatch.setattr(sink_module, "BROKEN_S", (1.0, 1.0))
    broker = make_broker()
    listener, sink = listen(broker), make_sink(broker.port)
    told = itertools.count()
    for subscriptions in (2, 3):
        for _ in range(20):
            sink.announce("told", number=next(told))
        assert soon(lambda: sink.health.state == "ok" and sink.health.levels["events_waiting"] == 0)
        assert soon(lambda: len(numbers(listener)) == sink.health.totals["events_sent"])
        broker.kill()
        assert soon(lambda: sink.health.state == "lost")
        for _ in range(20):
            sink.announce("told", number=next(told))
            sink.write(result(1), 0)
        broker.start()
        assert soon(lambda wanted=subscriptions: listener.subscriptions == wanted)
        assert soon(lambda: sink.health.state == "ok" and sink.health.levels["events_waiting"] == 0)
    assert soon(lambda: len(numbers(listener)) == 80)
    assert numbers(listener) == list(range(80))
    totals = sink.health.totals
    assert (totals["events_sent"], totals["events_dropped"], totals["connections"]) == (80, 0, 3)
    assert sink.health.totals["frames_superseded"] >= 2 * 19


def test_events_beyond_what_is_kept_go_oldest_first_and_are_counted(
    make_broker: Any, make_sink: Any, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "EVENTS_KEPT", 300)
    broker = make_broker(start=False)
    sink = make_sink(broker.port)
    for number in range(350):
        sink.announce("told", number=number)
    assert soon(lambda: sink.health.state == "lost" and "refused" in sink.health.reason)
    assert (sink.health.levels["events_waiting"], sink.health.totals["events_dropped"]) == (300, 50)
    sink.set_camera_state(Status("lost", "unplugged"))
    wait = threading.Event()
    monkeypatch.setattr(sink, "_connected", lambda: wait.wait() and type(sink)._connected(sink))
    broker.start()
    listener = listen(broker)
    wait.set()
    assert soon(lambda: sink.health.levels["events_waiting"] == 0)
    assert soon(lambda: len(listener.said("events")) >= 300)
    assert numbers(listener) == list(range(50, 350))
    assert [said["seq"] for said in listener.said("events")] == list(range(51, 351))


def test_a_frozen_broker_holds_nobody_up_and_gets_the_events_when_it_thaws(
    make_broker: Any, make_sink: Any, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "SILENT_S", 0.3)
    broker = make_broker()
    listener, sink = listen(broker), make_sink(broker.port)
    assert soon(lambda: sink.health.state == "ok")
    broker.freeze()
    for number in range(100):
        sink.write(result(number), 0)
        sink.announce("told", number=number)
        time.sleep(0.005)
    assert soon(lambda: sink.health.state == "degraded")
    assert sink.health.reason == "the broker acknowledges nothing"
    assert sink.health.totals["frames_superseded"] >= 80  # a handful is on its way, the rest made room for newer ones
    broker.thaw()
    assert soon(lambda: len(numbers(listener)) == 100)
    assert numbers(listener) == list(range(100))
    assert soon(lambda: sink.health.state == "ok")
    assert sink.health.totals["events_dropped"] == 0
    assert soon(lambda: listener.said("masks")[-1:] and listener.said("masks")[-1]["frame"] == 99)


def test_a_broker_that_stays_frozen_is_given_up_and_another_connection_tried(
    make_broker: Any, make_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt.link.KEEPALIVE_S", 1)
    monkeypatch.setattr("edge.sinks.mqtt.link.CONNECT_S", 0.5)
    broker = make_broker()
    sink = make_sink(broker.port)
    assert soon(lambda: sink.health.state == "ok")
    broker.freeze()
    sink.announce("told", number=1)
    assert soon(lambda: "says nothing" in sink.health.reason)
    assert sink.health.state == "lost"
    broker.thaw()
    assert soon(lambda: sink.health.state == "ok" and sink.health.totals["events_sent"] == 1)


# -------------------------------------------------------------------------------------------- a broker that says no


def credentials(folder: Path, password: str = "right") -> str:
    path = folder / "credentials"
    path.write_text(f"edge\n{password}\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def tls_broker(tmp_path: Path, make_broker: Any) -> Callable[..., tuple[Broker, Path]]:
    """Wants TLS and the password "right"; gives itself and who vouches for it."""

    def make(*lines: str) -> tuple[Broker, Path]:
        certificate, key = make_certificate(tmp_path, "broker")
        passwords = tmp_path / "passwords"
        if PROGRAM is not None:
            command = [Path(PROGRAM).parent.parent / "bin" / "mosquitto_passwd", "-b", "-c", passwords, "edge", "right"]
            subprocess.run(command, check=True, capture_output=True)
        tls = [f"certfile {certificate}", f"keyfile {key}"]
        return make_broker(*tls, "allow_anonymous false", f"password_file {passwords}", *lines), certificate

    return make


def test_it_speaks_tls_with_a_password(tls_broker: Any, make_sink: Any, tmp_path: Path) -> None:
    broker, authority = tls_broker()
    options = {"credentials_file": credentials(tmp_path), "ca_file": str(authority)}
    for host in ("localhost", "127.0.0.1"):
        sink = make_sink(broker.port, "mqtts", host, **options)
        sink.announce("told", number=1)
        for number in range(30):
            sink.write(result(number), 0)
            time.sleep(0.005)
        assert soon(
            lambda sink=sink: sink.health.totals["events_sent"] == 1 and sink.health.totals["frames_sent"] >= 1
        ), sink.health


def test_a_certificate_of_somebody_else_is_never_trusted(tls_broker: Any, make_sink: Any, tmp_path: Path) -> None:
    broker, _ = tls_broker()
    stranger, _ = make_certificate(tmp_path, "stranger")
    for authority in (str(stranger), None):
        sink = make_sink(broker.port, "mqtts", ca_file=authority, credentials_file=credentials(tmp_path))
        assert soon(lambda sink=sink: "its certificate is not to be trusted" in sink.health.reason), sink.health
        assert sink.health.state == "lost"


def test_a_wrong_password_is_told_and_a_changed_one_is_taken_without_a_restart(
    tls_broker: Any, make_sink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sink_module, "REFUSED_S", (0.1, 0.2))
    broker, authority = tls_broker()
    options = {"credentials_file": credentials(tmp_path, "wr0ng-secret"), "ca_file": str(authority)}
    sink = make_sink(broker.port, "mqtts", **options)
    sink.announce("told", number=1)
    assert soon(lambda: sink.health.reason == "the broker refuses us: Not authorized"), sink.health
    Path(options["credentials_file"]).unlink()
    assert soon(lambda: "cannot be read" in sink.health.reason), sink.health
    credentials(tmp_path)
    assert soon(lambda: sink.health.state == "ok" and sink.health.totals["events_sent"] == 1), sink.health
    assert "wr0ng-secret" not in caplog.text


def test_a_forbidden_topic_is_told_and_its_events_come_when_it_is_allowed(
    make_broker: Any, make_sink: Any, listen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "RETRY_S", 0.3)
    rules = tmp_path / "rules"
    allowed = "topic read #\ntopic write edge/car-7/status\ntopic write edge/car-7/results\n"
    rules.write_text(allowed)
    broker = make_broker("allow_anonymous true", f"acl_file {rules}")
    listener, sink = listen(broker), make_sink(broker.port)
    for number in range(40):
        sink.announce("told", number=number)
    sink.write(result(1), 0)
    wanted = {"edge/car-7/events: Not authorized", "edge/car-7/masks: Not authorized"}
    assert soon(lambda: set(sink.health.reason.split("; ")) == wanted), sink.health
    assert sink.health.state == "degraded"
    assert soon(lambda: listener.said("results"))
    assert (sink.health.levels["events_waiting"], sink.health.totals["events_dropped"]) == (40, 0)
    rules.write_text(f"{allowed}topic write edge/car-7/#\n")
    broker.signal(signal.SIGHUP)
    assert soon(lambda: numbers(listener) == list(range(40)))
    frames = itertools.count(2)
    assert soon(lambda: sink.write(result(next(frames)), 0) or listener.payloads("masks"))
    assert soon(lambda: sink.health.state == "ok")


@pytest.mark.parametrize("limit", ["max_packet_size 5000", "message_size_limit 5000"])
def test_a_message_that_is_too_large_keeps_back_no_other(
    limit: str, make_broker: Any, make_sink: Any, listen: Any
) -> None:
    broker = make_broker("allow_anonymous true", limit)
    listener, sink = listen(broker), make_sink(broker.port)
    for number in range(20):
        sink.announce("told", number=number, text="x" * 20_000 if number in (3, 4) else "")
    assert soon(lambda: len(numbers(listener)) == 18), sink.health
    assert soon(lambda: sink.health.levels["events_waiting"] == 0)
    assert (sink.health.totals["events_sent"], sink.health.totals["events_too_large"]) == (18, 2)
    assert set(numbers(listener)) == set(range(20)) - {3, 4}


ANSWERS = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x20\x03\x00\x00\x00" + b"\xff" * 50,  # a welcome, then nonsense
    b"\x20\x03\x00\x00\x00\x40\x03\x00\x01\x99",  # a welcome, then an answer of an unknown kind
    b"\x20\x03\x00\x00\x00\x40\x01\x00",  # a welcome, then half an answer
    b"\x20\x02\x00\x05",  # a refusal as MQTT 3 words it
    b"\x20\xff\xff\xff\x7f",
    b"",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_stranger_answers_the_sink_goes_on_trying(
    answer: bytes, make_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "REFUSED_S", (0.05, 0.1))
    callers = []

    def answering(line: socket.socket) -> None:
        while True:
            try:
                caller, _ = line.accept()
            except OSError:
                return
            with caller:
                callers.append(caller.recv(1000))
                caller.sendall(answer)
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as line:
        line.settimeout(20)
        threading.Thread(target=answering, args=(line,), daemon=True).start()
        sink = make_sink(line.getsockname()[1])
        sink.announce("told", number=1)
        assert soon(lambda: len(callers) >= 3)
        assert soon(lambda: sink.health.state == "lost")
        assert sink._thread.is_alive()
        assert sink.health.levels["events_waiting"] == 1
        sink.__exit__()
        line.shutdown(socket.SHUT_RDWR)


# ------------------------------------------------------------------------------------------------------------ the end


@pytest.mark.parametrize("state", ["ok", "frozen", "away", "silent", "refused"])
def test_it_closes_within_a_second_in_every_state(
    state: str, make_broker: Any, make_sink: Any, tls_broker: Any, tmp_path: Path
) -> None:
    if state == "silent":
        silent = socket.create_server(("127.0.0.1", 0), backlog=5)
        sink = make_sink(silent.getsockname()[1])
        time.sleep(0.1)  # in the midst of connecting
    elif state == "refused":
        broker, authority = tls_broker()
        options = {"credentials_file": credentials(tmp_path, "wrong"), "ca_file": str(authority)}
        sink = make_sink(broker.port, "mqtts", **options)
        assert soon(lambda: "refuses" in sink.health.reason)
    else:
        broker = make_broker(start=state != "away")
        sink = make_sink(broker.port)
        assert soon(lambda: (sink.health.state == "ok") == (state != "away") and sink.health.reason != "starting")
        if state == "frozen":
            broker.freeze()
    for number in range(50):
        sink.announce("told", number=number)
        sink.write(result(number), 0)
    began_s = time.monotonic()
    sink.__exit__()
    assert time.monotonic() - began_s < 2  # 0.95, on a machine that does other work besides
    assert sink.health.state == "stopped"
    sink.announce("told", number=51)  # too late, and no harm
    if state == "silent":
        silent.close()
        assert soon(lambda: not sink._thread.is_alive())


# -------------------------------------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://localhost"}, "expected mqtts://HOST"),
        ({"url": "localhost:1883"}, "expected mqtts://HOST"),
        ({"url": "mqtts://"}, "expected mqtts://HOST"),
        ({"url": "mqtts://broker/path"}, "expected mqtts://HOST"),
        ({"url": "mqtts://broker:99999"}, "is no URL"),
        ({"url": "mqtts://[::1"}, "is no URL"),
        ({"url": "mqtts://edge:hunter2@broker"}, "holds a user or password"),
        ({"url": "mqtt://broker.example"}, "without TLS everybody on the way reads along; take mqtts://broker.example"),
        ({"url": "mqtt://192.168.1.5"}, "without TLS"),
        ({"url": "mqtt://localhost", "ca_file": "ca.pem"}, r"mqtt\.ca_file: is for mqtts://"),
        ({"ca_file": "/nowhere/ca.pem"}, "cannot be read as PEM certificates"),
        ({"credentials_file": "/nowhere/password"}, "/nowhere/password: cannot be read: No such file"),
        *(
            ({"topic": topic}, "cannot begin topics")
            for topic in ("", "/a", "a/", "a/#", "+", "$SYS", "a\n", "x" * 201)
        ),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(changes: Any, message: str, card: Card) -> None:
    options = dataclasses.replace(MqttOptions("mqtts://broker.example", "edge/car-7"), **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        MqttSink(options, card, Stages())
    assert "hunter2" not in str(caught.value)


def test_a_password_that_others_may_read_or_that_is_none_is_refused(card: Card, tmp_path: Path) -> None:
    options = MqttOptions("mqtts://broker.example", "edge/car-7", credentials(tmp_path))
    MqttSink(options, card, Stages())
    path = tmp_path / "credentials"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=f"may read it. Run: chmod o-rwx {path}"):
        MqttSink(options, card, Stages())
    path.chmod(0o600)
    long = b"edge\n" + b"hunter2" * 20_000  # it would be cut off
    for text in (b"edge\n", b"", b"edge\nhunter2\nmore\n", b"edge\n\n", b"\xff\xfe", b"edge\nhunter2\0\n", long):
        path.write_bytes(text)
        with pytest.raises(ConfigError) as caught:
            MqttSink(options, card, Stages())
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [b"edge\r\nhunter2\r\n", b"\xef\xbb\xbfedge\nhunter2"])
def test_a_password_is_the_same_whatever_editor_wrote_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(content)
    path.chmod(0o600)
    address = address_of(MqttOptions("mqtts://broker.example", "edge/car-7", str(path)))
    assert (address.user, address.password) == ("edge", "hunter2")


def test_without_paho_the_way_to_it_is_told(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"paho-mqtt is not installed. Run: .*pip install .*\[serve\]'"):
        MqttSink(MqttOptions("mqtts://broker.example", "edge/car-7"), card, Stages())


def test_a_port_that_nobody_listens_on_is_named(make_sink: Any) -> None:
    port = free_port()
    sink = make_sink(port)
    assert soon(lambda: sink.health.reason == f"localhost:{port}: cannot be reached: Connection refused")
