"""The overlay as a live H.264 stream to a media server, which may come and go.

Each frame that is sent is the newest one when the server has taken the one before: a slow server, or none, costs frames
of the stream and nothing else.
"""

from __future__ import annotations

import logging
import random
import time
from fractions import Fraction
from typing import TYPE_CHECKING

from edge.errors import OutputError
from edge.frame import Yuv420
from edge.prediction import Prediction
from edge.secrets import without_secrets
from edge.sinks.drawing import Drawing
from edge.sinks.publish.identity import Identity
from edge.sinks.publish.process import PublishProcess
from edge.sinks.publish.targets import ANSWER_S, Target
from edge.sinks.video import AVCOL_RANGE, AVCOL_SPC, ENCODER, TICKS_HZ, nominal_rate
from edge.status import State, Status, StatusKeeper

if TYPE_CHECKING:
    from edge.sinks.table import PublishOptions, SinkContext

_CONNECT_S = 2 * ANSWER_S  # with the start of the process
_RETRY_S = (0.5, 10.0)  # first and longest wait before the next attempt
_SETTLED_S = 5.0  # a stream that lasted so long was a good one

log = logging.getLogger(__name__)


class PublishSink:
    """Draws each result and hands it to a process that publishes it. It never waits for the server, and never raises
    between its start and its end.
    """

    def __init__(self, options: PublishOptions, context: SinkContext) -> None:
        """Raises:
        ConfigError: the URL names no media server, FFmpeg or openssl lacks something, or the overlay cannot look
            like that.
        """
        self._url, self._look = options.url, options.look
        self._target = Target.parse(options.url)
        self._target.check_muxer()
        self._identity: Identity | None = None
        if self._target.muxer == "whip":
            self._identity = Identity()
            self._target.options.update(self._identity.options)
        self._look.table(context.card.table)
        self._unattended = context.unattended
        self._rate, self._stages = nominal_rate(context.rate_hz), context.stages
        totals = ["connections", "frames_sent", "frames_superseded"]
        self._health = StatusKeeper("lost", "not connected yet", totals=totals)
        self._process: PublishProcess | None = None
        self._drawing: Drawing | None = None
        self._began_s = self._asked_s = self._next_try_s = 0.0
        self._failures, self._first_ns, self._tick = 0, 0, -1

    def __enter__(self) -> PublishSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """End the stream.

        Raises:
            OutputError: a run published nothing. A service, which goes on, logs it.
        """
        self._hear(time.monotonic())
        unsent = not self._health.now.totals["frames_sent"]
        said = f"publish: {self._target.shown}: no frame was published ({self._health.now.reason})"
        if self._process is not None:
            self._process.close()
            self._process = None
        if self._identity is not None:
            self._identity.close()
        self._become("stopped", "")
        if unsent and kind is None and not self._unattended:
            raise OutputError(f"{said}. Is a media server there that takes streams at this address? See docs/live.md.")
        if unsent:
            log.warning("%s", said)

    @property
    def health(self) -> Status:
        """How the stream is. Any thread may ask."""
        return self._health.now

    def write(self, result: Prediction, dropped: int) -> None:
        """Publish the result, if the server took the last one; see `edge.sinks.sink.Sink.write`."""
        now_s = time.monotonic()
        self._hear(now_s)
        if self._process is None and now_s >= self._next_try_s:
            self._begin(result, now_s)
        if self._process is None or self._drawing is None or self._process.busy:
            self._health.count(frames_superseded=1)
            return
        with self._stages["overlay"].span():
            self._drawing.draw(result, dropped)
        self._tick = max(self._tick + 1, round((result.frame.captured_ns - self._first_ns) * TICKS_HZ / 1e9))
        self._asked_s = now_s
        self._process.send(self._tick)

    def _begin(self, first: Prediction, now_s: float) -> None:
        """A process of its own for each attempt: what is left of a stream that failed goes with it."""
        try:
            self._drawing = drawing = Drawing(first, self._look, self._new_planes)
        except OSError as error:
            self._lose(f"no process can be started: {error.strerror}", now_s)
            return
        assert self._process is not None
        self._began_s, self._first_ns, self._tick = now_s, first.frame.captured_ns, -1
        target, rate = self._target, self._rate
        # A key frame a second, for viewers that join later; no frame is kept back.
        encoder = {**ENCODER, "tune": "zerolatency", "g": str(max(1, round(rate))), "sc_threshold": "0"}
        self._process.begin(
            {
                "url": target.url,
                "muxer": target.muxer,
                "options": target.options,
                "encoder": encoder | target.encoder,
                "rate": str(rate),
                "ticks_hz": TICKS_HZ,
                "width": drawing.size_wh[0],
                "height": drawing.size_wh[1],
                "aspect": str(Fraction(first.frame.pixel_aspect).limit_denominator(1000)),
                "colorspace": AVCOL_SPC[drawing.matrix],
                "color_range": AVCOL_RANGE[drawing.full_range],
            }
        )

    def _new_planes(self, width: int, height: int) -> Yuv420:
        self._process = PublishProcess(width, height)
        return self._process.planes

    def _hear(self, now_s: float) -> None:
        if self._process is None:
            return
        taken, lost = self._process.hear()
        if taken:
            self._health.count(frames_sent=taken)
            if self._health.state != "ok":
                self._health.count(connections=1)
                self._become("ok", "")
        if lost is None and self._process.busy:
            patience_s = ANSWER_S if self._health.state == "ok" else _CONNECT_S
            if now_s - self._asked_s > patience_s:
                lost = f"the server takes nothing for {patience_s:g} s"
        if lost is not None:
            self._lose(lost, now_s)

    def _lose(self, reason: str, now_s: float) -> None:
        if self._process is not None:
            self._process.close()
        self._process = self._drawing = None
        self._failures = 1 if now_s - self._began_s > _SETTLED_S and self._health.state == "ok" else self._failures + 1
        wait_s = min(_RETRY_S[0] * 2 ** min(self._failures - 1, 16), _RETRY_S[1]) * random.uniform(0.5, 1.0)
        self._next_try_s = time.monotonic() + wait_s
        self._become("lost", without_secrets(reason, self._url))

    def _become(self, state: State, reason: str) -> None:
        if self._health.become(state, reason):
            log.log(
                logging.WARNING if state == "lost" else logging.INFO,
                "publish: %s: %s",
                self._target.shown,
                self._health.now,
            )
