"""Which requests are allowed: the name the page is opened under, where a request comes from, and the token."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

COOKIE = "edge-page"
OPEN_PATHS = frozenset(
    {"/healthz", "/login", "/login.js", "/theme.js", "/page.css", "/icon.svg"}
)  # without a token; they show nothing
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would have a browser send our own form with the origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Stands before the app. Without a token, names and origins alone are checked."""

    def __init__(self, app: ASGIApp, names: frozenset[str], token: bytes | None) -> None:
        self._app, self._names, self._token = app, names, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal: ASGIApp | None = self._refusal(scope)
        if refusal is not None and scope["type"] == "websocket":
            # Without words: uvicorn logs an error for each refusal of a WebSocket that has any (Kludex/uvicorn#3138).
            refusal = WebSocketClose()
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_name(host) not in self._names:
            return PlainTextResponse(
                f"The page is not served under the name {json.dumps(host[:100])}. Open it under its address, or list"
                " the name under web.names in the config file.\n",
                421,
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return PlainTextResponse("Another site's page may not ask this one.\n", 403)
        if self._token is None or scope["path"] in OPEN_PATHS or self._knows_token(headers):
            return None
        if scope["type"] == "http" and scope["path"] == "/":
            return RedirectResponse("/login", 303)
        return PlainTextResponse("Authentication required.\n", 401, {"WWW-Authenticate": 'Bearer realm="edge"'})

    def _knows_token(self, headers: Headers) -> bool:
        assert self._token is not None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and constant_time_equal(bearer.strip().encode("latin-1"), self._token):
            return True
        return constant_time_equal(_cookie(headers).encode("latin-1", "replace"), session_token(self._token).encode())


def host_name(host: str) -> str:
    """The name in a Host header, "car.local:8008" or "[::1]:8008", in small letters; "" if it is not valid."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?", host)
    return (match[1] or match[2]).lower() if match else ""


def constant_time_equal(given: bytes, expected: bytes) -> bool:
    """Equal; how long it takes does not depend on where they differ."""
    return hmac.compare_digest(given, expected)


def session_token(token: bytes) -> str:
    """What the cookie holds: it proves that its bearer knew the token, does not show it, and ends with it."""
    return hmac.new(token, b"edge live page", hashlib.sha256).hexdigest()


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
