"""Results into what the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.prediction import Prediction
from edge.sinks.table import SinkKind
from edge.web.options import WebOptions, read_files
from edge.web.state import Live

if TYPE_CHECKING:
    from edge.events import Event


class WebSink:
    """Puts each result where the page finds it. No image is encoded here: that happens when a viewer waits for it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __enter__(self) -> WebSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._live.set_camera_state("stopped", str(error) if error else "")

    def write(self, result: Prediction, dropped: int) -> None:
        """Publish the result and notify the listeners; see `Live.publish`."""
        self._live.publish(result, dropped)

    def event(self, event: Event, result: Prediction) -> None:
        """Into the page's timeline."""
        self._live.watch.event(event, result)


KIND = SinkKind(
    "web",
    lambda options, context: WebSink(context.live),
    WebOptions,
    ("uvicorn", "starlette", "websockets", "prometheus_client"),
    "edge-segmentation[serve]",
    check=read_files,
)
