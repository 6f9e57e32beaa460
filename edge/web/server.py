"""The live page, of one camera or of several."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from starlette.types import ASGIApp

from edge.web.app import View, make_app
from edge.web.encoder import TILE_WIDTH, FrameEncoder, JpegImages
from edge.web.feed import Feed
from edge.web.h264 import H264Images
from edge.web.images import VIEW_WIDTH
from edge.web.options import WebOptions, allowed_names, read_files
from edge.web.state import Live
from edge.web.thread import ServerThread
from edge.web.zones import Save


class WebServer(ServerThread):
    """Serves one camera, or several by name, while it is entered.

    with WebServer(live, WebOptions(port=8008)) as server:
        print(server.url)
    """

    def __init__(
        self,
        live: Live | Mapping[str, Live],
        options: WebOptions,
        *,
        retry: bool = False,
        save_zones: Save | None = None,
    ) -> None:
        """Reads token and certificate, so that what is wrong with them is known before a camera is opened.
        `retry`: a port that is taken is tried again until it can be had. `save_zones`: who knows the token may save
        zones with it.

        Raises:
            ConfigError: the options are not safe, or their files not in order.
        """
        self._token, tls = read_files(options)
        self._lives = {"": live} if isinstance(live, Live) else dict(live)
        self._options, self._save_zones = options, save_zones
        self._is_secure = tls is not None
        super().__init__("live page", options.address, options.port, self._app, tls, retry=retry)

    def _app(self, stack: ExitStack) -> ASGIApp:
        return make_app(
            {name: _view(stack, live) for name, live in self._lives.items()},
            names=allowed_names(self._options),
            token=self._token,
            secure=self._is_secure,
            ready_within_s=self._options.ready_within_s,
            save_zones=self._save_zones,
        )


def _view(stack: ExitStack, live: Live) -> View:
    jpeg, h264, tiles = (
        stack.enter_context(FrameEncoder(live, images, with_maps))
        for images, with_maps in (
            (JpegImages(VIEW_WIDTH), True),
            (H264Images(VIEW_WIDTH), True),
            (JpegImages(TILE_WIDTH), False),  # a tile offers no maps
        )
    )
    return View(live, Feed(live, jpeg, h264), Feed(live, tiles))
