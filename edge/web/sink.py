"""Results into what the page shows."""

from __future__ import annotations

from edge.prediction import Prediction
from edge.web.state import Live


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
