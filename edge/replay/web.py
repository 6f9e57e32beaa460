"""A replay in a browser, on this machine alone: who opens the page leads the one player."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

import edge.web.guard
from edge.replay.background import BackgroundComparison
from edge.replay.feed import Feed
from edge.replay.player import Player
from edge.replay.session import Session
from edge.web.guard import Guard
from edge.web.options import WebOptions, allowed_names
from edge.web.thread import ServerThread

STATIC = Path(__file__).parent / "static"
_SHARED = Path(edge.web.guard.__file__).parent / "static"  # the live page's: both look alike
FILES = {
    "/": (STATIC / "index.html", "text/html"),
    "/replay.css": (STATIC / "replay.css", "text/css"),
    "/replay.js": (STATIC / "replay.js", "text/javascript"),
    "/frame.js": (_SHARED / "frame.js", "text/javascript"),
    "/shared.js": (_SHARED / "shared.js", "text/javascript"),
    "/page.css": (_SHARED / "page.css", "text/css"),
    "/icon.svg": (_SHARED / "icon.svg", "image/svg+xml"),
}


class ReplayServer(ServerThread):
    """Serves a player while it is entered.

    Requests under another name than this machine's, and those that another site's page makes, are refused.
    """

    def __init__(self, player: Player, session: Session, comparison: BackgroundComparison | None, port: int) -> None:
        self._player, self._session, self._comparison = player, session, comparison
        self._options = WebOptions(port=port)
        super().__init__("page of the replay", self._options.address, port, self._app)

    def wait(self) -> None:
        """Until the page's thread ends, which it does only if it fails.

        Raises:
            EdgeError: what ended the player, an engine's failure.
        """
        while not self.has_ended(0.5):
            self._player.snapshot()

    def _app(self, stack: ExitStack) -> ASGIApp:
        feed = stack.enter_context(Feed(self._player, self._session, self._comparison))
        return make_app(feed, allowed_names(self._options))


def make_app(feed: Feed, names: frozenset[str]) -> ASGIApp:
    """The page and its line behind the live page's guard."""
    routes: list[Route | WebSocketRoute] = [Route(path, partial(_file, *file)) for path, file in FILES.items()]
    return Guard(Starlette(routes=[*routes, WebSocketRoute("/feed", feed.serve)]), names, None)


async def _file(path: Path, media_type: str, request: Request) -> Response:
    return Response(path.read_bytes(), media_type=media_type)


def serve_replay(
    player: Player,
    session: Session,
    comparison: BackgroundComparison | None,
    port: int,
    say: Callable[[str], object] = print,
) -> None:
    """Until Ctrl-C or SIGTERM.

    Raises:
        EdgeError: the port cannot be listened on, or an engine failed.
    """
    with ReplayServer(player, session, comparison, port) as server:
        say(f"{session.source.name}: replayed at {server.url} (Ctrl-C ends it)")
        server.wait()
