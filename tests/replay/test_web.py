"""The guard of a replay's page, without a browser."""

from __future__ import annotations

import http.client
from typing import Any, cast

import pytest
from bundles import MakeCard
from recordings import Numbers
from served import serving

from edge.replay.feed import obey
from edge.replay.player import Player


def answer(url: str, path: str, **headers: str) -> tuple[int, str]:
    """The status, and the policy for scripts that came with it."""
    line = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    try:
        line.request("GET", path, headers=headers)
        response = line.getresponse()
        response.read()
        return response.status, response.getheader("Content-Security-Policy") or ""
    finally:
        line.close()


def test_only_this_machines_name_and_its_own_page_may_ask(make_card: MakeCard) -> None:
    with serving(make_card) as (url, _):
        assert url.startswith("http://127.0.0.1:")
        assert answer(url, "/")[0] == 200
        assert answer(url, "/", Host="evil.example")[0] == 421
        assert answer(url, "/", Origin="https://evil.example")[0] == 403
        assert "script-src 'self'" in answer(url, "/")[1]
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        feed = url.replace("http", "ws", 1) + "feed"
        with pytest.raises(InvalidStatus), connect(feed, proxy=None, origin=cast("Any", "https://evil.example")):
            pass


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"do": "fly"}', '{"do": "seek", "index": "x"}', '{"do": "seek", "index": 1e99}',
     '{"do": "speed", "speed": 7}', '{"do": "step", "frames": true}', '{"do": ["seek"]}', "\ud800", "[" * 5000],
)  # fmt: skip
def test_what_is_no_command_is_refused_and_does_nothing(text: str) -> None:
    player = Player(Numbers(), [])
    before = player._wanted, player.snapshot()
    with pytest.raises(ValueError, match=r"command|whole number"):
        obey(player, text)
    assert (player._wanted, player.snapshot()) == before


def test_a_viewer_who_talks_nonsense_is_let_go_and_told_why(make_card: MakeCard) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with serving(make_card) as (url, _), connect(url.replace("http", "ws", 1) + "feed", proxy=None) as line:
        line.send('{"do": "fly"}')
        with pytest.raises(ConnectionClosed) as end:
            [line.recv(timeout=10) for _ in range(100)]
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1008
    assert "there is no such command" in end.value.rcvd.reason
