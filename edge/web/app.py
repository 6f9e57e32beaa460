"""The addresses of the page: the page itself, its feed, events, probes and metrics. Zones are all that can be changed,
by who knows the token, where a config has a file for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from edge.errors import EdgeError
from edge.web.feed import Feed
from edge.web.guard import COOKIE, Guard, constant_time_equal, session_token
from edge.web.metrics import CONTENT_TYPE, Metrics
from edge.web.state import Live
from edge.web.zones import LIMIT_BYTES as ZONES_BYTES
from edge.web.zones import Save, read_zones

STATIC = Path(__file__).parent / "static"
SCRIPTS = (
    "page",
    "frame",
    "video",
    "maps",
    "birdseye",
    "tiles",
    "charts",
    "choices",
    "shared",
    "events",
    "snapshot",
    "theme",
    "zones",
)
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in (*SCRIPTS, "login")},
}
FORM_LIMIT_BYTES = 1024
WEEK_S = 7 * 24 * 3600


class View(NamedTuple):
    """One camera as the page has it: large, or as one of several."""

    live: Live
    feed: Feed
    tile: Feed


def make_app(
    views: Mapping[str, View],
    *,
    names: frozenset[str],
    token: bytes | None,
    secure: bool,
    ready_within_s: float,
    save_zones: Save | None = None,
) -> ASGIApp:
    """The app behind its guard, for cameras by name; `secure` says that it is served over TLS. Without a token, nothing
    is saved with `save_zones`.
    """
    lives = {name: view.live for name, view in views.items()}
    metrics = Metrics(lives, lambda name: views[name].feed.viewers + views[name].tile.viewers)

    async def is_ready(request: Request) -> Response:
        body = readiness(lives, ready_within_s)
        return JSONResponse(body, 200 if body["ready"] else 503)

    async def is_alive(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def show_metrics(request: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    async def list_cameras(request: Request) -> Response:
        return JSONResponse(list(views))

    async def list_events(request: Request) -> Response:
        return JSONResponse(events_of(lives))

    async def thumbnail(request: Request) -> Response:
        live = lives.get(request.query_params.get("camera", next(iter(lives))))
        jpeg = b"" if live is None else live.watch.timeline.thumbnail(request.path_params["number"])
        return Response(jpeg, 200 if jpeg else 404, media_type="image/jpeg")

    async def feed(socket: WebSocket) -> None:
        view = views.get(socket.query_params.get("camera", next(iter(views))))
        if view is None:
            await socket.close()
            return
        of = view.tile if "tile" in socket.query_params else view.feed
        await of.serve(socket, with_h264="h264" in socket.query_params)

    routes: list[Route | WebSocketRoute] = [
        *(Route(path, partial(_file, *file)) for path, file in FILES.items()),
        Route("/healthz", is_alive),
        Route("/readyz", is_ready),
        Route("/metrics", show_metrics),
        Route("/cameras", list_cameras),
        Route("/events", list_events),
        Route("/events/{number:int}.jpg", thumbnail),
        Route("/zones", partial(_zones, lives, save_zones if token else None), methods=["GET", "POST"]),
        WebSocketRoute("/feed", feed),
    ]
    if token is not None:
        routes.append(Route("/login", partial(_file, "login.html", "text/html")))
        routes.append(Route("/login", partial(_log_in, token, secure), methods=["POST"]))
    return Guard(Starlette(routes=routes), names, token)


def readiness(lives: Mapping[str, Live], within_s: float) -> dict[str, Any]:
    """The answer of /readyz: ready is who has masks of every camera. How outputs are is said, and decides nothing."""
    reasons, outputs = [], dict[str, str]()
    for name, live in lives.items():
        now, of = live.snapshot(), f"{name} " if name else ""
        if (reason := now.unready_reason(within_s)) is not None:
            reasons.append(f"{name}: {reason}" if name else reason)
        outputs |= {of + output: str(health) for output, health in now.outputs.items()}
    return {"ready": not reasons, "reason": "; ".join(reasons), "outputs": outputs}


def events_of(lives: Mapping[str, Live]) -> list[dict[str, object]]:
    """The answer of /events: what happened at all cameras, the newest first."""
    found = [
        (moment.began_ns, {"camera": name, **moment.as_json()})
        for name, live in lives.items()
        for moment in live.watch.timeline.moments()
    ]
    return [moment for _, moment in sorted(found, key=lambda one: one[0], reverse=True)]


async def _zones(lives: Mapping[str, Live], save: Save | None, request: Request) -> Response:
    """GET says whether zones can be saved; POST saves those of `camera`."""
    if request.method != "POST":
        return JSONResponse({"can_save": save is not None})
    if save is None:
        return PlainTextResponse(
            "Zones cannot be saved here: the service's config needs events.zones_file and web.token_file.\n", 403
        )
    if (camera := request.query_params.get("camera", "")) not in lives:
        return PlainTextResponse("There is no such camera.\n", 404)
    if (body := await _body(request, ZONES_BYTES)) is None:
        return PlainTextResponse(f"The zones are longer than {ZONES_BYTES} bytes.\n", 413)
    try:
        await asyncio.to_thread(save, camera, read_zones(body))  # a disk may be slow
    except EdgeError as error:
        return PlainTextResponse(f"{error}\n", 400)
    return PlainTextResponse("", 204)


async def _body(request: Request, most_bytes: int) -> bytes | None:
    """All of it; None where it is longer. A client that is gone has sent an empty one."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > most_bytes:
                return None
    except ClientDisconnect:
        return b""
    return body


async def _file(name: str, media_type: str, request: Request) -> Response:
    return Response((STATIC / name).read_bytes(), media_type=media_type)


async def _log_in(token: bytes, secure: bool, request: Request) -> Response:
    """A form with the right token gives a cookie; the token itself appears in no address."""
    if (body := await _body(request, FORM_LIMIT_BYTES)) is None:
        return PlainTextResponse(f"The form is longer than {FORM_LIMIT_BYTES} bytes.\n", 413)
    given = parse_qs(body.decode("latin-1")).get("token", [""])[0]
    if not constant_time_equal(given.strip().encode("utf-8", "replace"), token):
        return RedirectResponse("/login#wrong", 303)
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, session_token(token), max_age=WEEK_S, httponly=True, secure=secure, samesite="strict")
    return response
