"""Zones that a page sends: who may save them, and what is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from web_client import place_of

from edge.errors import OutputError
from edge.events import CameraZones
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live
from edge.web.zones import CORNERS_MAX, LIMIT_BYTES, ZONES_MAX

TOKEN = "correct-horse-battery-staple"
SQUARE = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.8]]


@contextmanager
def posting(server: WebServer, body: bytes, path: str = "/zones?camera=", **headers: str) -> Iterator[Any]:
    line = http.client.HTTPConnection(*place_of(server), timeout=10)
    try:
        line.request("POST", path, body, headers)
        yield line.getresponse()
    finally:
        line.close()


def post(server: WebServer, tree: object, path: str = "/zones?camera=", token: str | None = TOKEN) -> tuple[int, str]:
    body = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    with posting(server, body, path, **({"Authorization": f"Bearer {token}"} if token else {})) as answer:
        return answer.status, answer.read().decode()


@pytest.fixture
def saved() -> list[tuple[str, CameraZones]]:
    return []


@pytest.fixture
def guarded(live: Live, token_file: Path, saved: list[tuple[str, CameraZones]]) -> Iterator[WebServer]:
    options = WebOptions(port=0, token_file=str(token_file))
    with WebServer(live, options, save_zones=lambda *what: saved.append(what)) as server:
        yield server


def test_who_knows_the_token_saves_zones(guarded: WebServer, saved: list[tuple[str, CameraZones]]) -> None:
    assert post(guarded, {"zone": None, "zones": {"gate": SQUARE}}) == (204, "")
    ((camera, zones),) = saved
    assert (camera, zones.zone) == ("", None)
    assert zones.zones == {"gate": tuple(map(tuple, SQUARE))}


@pytest.mark.parametrize("token", [None, "another-token-of-some-length"])
def test_who_does_not_know_it_saves_nothing(
    guarded: WebServer, saved: list[tuple[str, CameraZones]], token: str | None
) -> None:
    assert post(guarded, {"zones": {}}, token=token)[0] == 401
    assert saved == []


def test_without_a_token_nothing_is_saved_by_anyone(live: Live, saved: list[tuple[str, CameraZones]]) -> None:
    with WebServer(live, WebOptions(port=0), save_zones=lambda *what: saved.append(what)) as server:
        status, text = post(server, {"zones": {}}, token=None)
    assert (status, saved) == (403, [])
    assert "web.token_file" in text


def test_another_sites_page_saves_nothing(guarded: WebServer, saved: list[tuple[str, CameraZones]]) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    with posting(guarded, b'{"zones": {}}', **headers) as answer:
        assert answer.status == 403
    assert saved == []


@pytest.mark.parametrize(
    ("tree", "status", "said"),
    [
        (b"no json", 400, "expected zones as JSON"),
        (b"[" * 20_000, 400, "expected zones as JSON"),
        (b"\xff\xfe\x00", 400, "expected zones as JSON"),
        ([], 400, "zones"),
        ({"zone": [[0, 0], [1, 1]]}, 400, "zone"),
        ({"zone": [[0, 0], [2, 0], [1, 1]]}, 400, "zone"),
        ({"zones": {"a b": SQUARE}}, 400, "a b"),
        ({"zones": {"gate": [[0, 0], [0.5, 0.5], [1, 1]]}}, 400, "holds no pixel"),
        ({"zones": {"gate": SQUARE * CORNERS_MAX}}, 400, "at most"),
        ({"zones": {f"z{n}": SQUARE for n in range(ZONES_MAX + 1)}}, 400, "at most"),
        ({"mqtt": {}}, 400, "mqtt"),
        (b" " * (LIMIT_BYTES + 1), 413, "longer"),
    ],
)
def test_zones_that_cannot_be_are_refused_with_the_reason(
    guarded: WebServer, saved: list[tuple[str, CameraZones]], tree: object, status: int, said: str
) -> None:
    got, text = post(guarded, tree)
    assert (got, saved) == (status, [])
    assert said in text


def test_a_camera_that_is_not_there_has_no_zones(guarded: WebServer) -> None:
    assert post(guarded, {"zones": {}}, "/zones?camera=side")[0] == 404


def test_a_disk_that_is_full_is_said(live: Live, token_file: Path) -> None:
    def fails(camera: str, zones: CameraZones) -> None:
        raise OutputError("zones.yaml: cannot be written: No space left on device")

    options = WebOptions(port=0, token_file=str(token_file))
    with WebServer(live, options, save_zones=fails) as server:
        assert post(server, {"zones": {}}) == (400, "zones.yaml: cannot be written: No space left on device\n")
