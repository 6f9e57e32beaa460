"""One camera of the service, from its frames to its outputs, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge.backends.shared import SharedEngines
from edge.card import Card
from edge.errors import ConfigError, EdgeError, SourceError
from edge.gps import Gps
from edge.pipeline import buffered, run
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.service.changes import EngineChanges
from edge.service.config import ServeConfig
from edge.service.engines import EarlyEngine, Seat
from edge.service.load import Load
from edge.service.outputs import Outputs
from edge.sources.flow import Ahead, Latest
from edge.sources.looped import Looped
from edge.sources.open import is_supervised, open_live, open_source
from edge.sources.source import Source
from edge.sources.supervised import Supervised
from edge.status import Status
from edge.timing import Durations, Stages
from edge.web.state import Live
from edge.web.zones import ZoneView

if TYPE_CHECKING:
    from edge.service.shadow import Shadow

PATIENCE_S = 5.0  # each wait for a camera that is not there yet
OPENING_S = 600.0  # TensorRT may have plans to build
_LESS = "a lower rate, a smaller engine (`--engine small`), or `ladder: {}` in a config (`edge init` writes one)"
_LESS_OF_SEVERAL = (
    "fewer cameras, a lower rate, `ladder: {}` or a smaller engine; `edge bench --cameras 8` says how many cameras it"
    " carries"
)
RETRY_S = 5.0  # after a failure, where other cameras go on meanwhile

STALE_S, STALE_PERIODS = 1.0, 3  # without a newer mask for longer, the newest is not reported as what is there now

LOOP = "camera loop"  # what its thread's name begins with

Phase = Literal["waiting", "opening", "running", "resting", "ended"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _NotOpen:
    """What is shown of an engine until it is there."""

    card: Card
    precision: str = "opening"


@dataclass(frozen=True, slots=True)
class _Seen:
    """How far all was."""

    published: int = 0
    newest_ns: int | None = None
    corrupt: int = 0


class CameraLoop:
    """Serves one camera until it is stopped or its source ends.

    A source that is not there, or breaks off, is tried again after a while. So is a camera that fails beside others,
    which go on; the failure of an only one ends it, and a config that cannot be always does.

    Attributes:
        live: what is true now, for the page.
        trouble: what it failed with, while it rests before it begins anew.
        failure: what it ended with; None if in good order.
        published: results that were handed to all outputs.
    """

    def __init__(
        self,
        name: str,
        config: ServeConfig,
        on_news: Callable[[], object],
        early: EarlyEngine | None = None,
        gps: Gps | None = None,
        shared: SharedEngines | None = None,
    ) -> None:
        """`name` is one of the config's; `on_news` is called from the loop's thread at its first result and its end.
        `early` is its engine, where one was opened for it; it is the loop's to close. `gps` says where the car is.
        `shared` are the engines of the process; without it, the camera shares none.
        """
        self.name, self._gps = name, gps
        self.changes = EngineChanges(name, config, shared or SharedEngines(), early)
        self._shadow: Shadow | None = None
        self._config, self._on_news = config, on_news
        self._card = config.bundle().card
        self.live = Live(
            _NotOpen(self._card),
            "",
            self._stages_now,
            health=self._health,
            outputs=self._outputs_health,
            unlike_limits=config.events.out_of_domain if config.events else None,
            zones=ZoneView.of(config.events, name) if config.events else None,
        )
        self.trouble: EdgeError | None = None
        self._last_trouble = ""
        self.failure: BaseException | None = None
        self.published, self._age_ms, self._captured_ns = 0, 0.0, 0
        self._masks_of_run = 0
        self._phase: Phase = "waiting"
        self._phase_since_s = time.monotonic()
        self._seen = _Seen()
        self._over = threading.Event()
        self._camera: Supervised | None = None
        self._source: Source | None = None
        self._frames: Ahead | Latest | None = None
        self._load = Load()
        self._segmenter: Segmenter | None = None
        self._stages = Stages()
        self._outputs: Outputs | None = None
        self._thread = threading.Thread(target=self._work, name=f"{LOOP} {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let it end behind the frame that it works on. Any thread may ask."""
        self._over.set()
        for part in (self._camera, self._frames):
            if part is not None:
                part.stop()

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Of its frames; None while that is not known."""
        return self._source.size_wh if self._source is not None else None

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended, in that time."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    @property
    def is_opening(self) -> bool:
        """Whether an engine or a recorded source is opened: work which cannot be ended and need not be."""
        return self._phase == "opening" or (self._phase == "waiting" and self._camera is None)

    @property
    def has_ended(self) -> bool:
        """Whether its loop is over for good."""
        return self._phase == "ended"

    # -- what is asked by the service's thread

    def tell_outputs(self) -> None:
        """Once in a while: the page's timeline and the outputs hear how the camera is."""
        self.live.look()
        if self._outputs is not None:
            self._outputs.tell_camera(self._health())

    def watch_load(self) -> None:
        """Once in a while: log it where more is asked for than this machine carries, and where that is over."""
        dropped, of = self._frames.dropped if self._frames else 0, f"camera {self.name}: ".removeprefix("camera : ")
        if not self._load.update(self._masks_of_run, dropped, time.monotonic_ns()):
            return
        if not self._load.is_over:
            log.warning("%sno longer more than this machine carries", of)
            return
        log.warning(
            "%smore than this machine carries: %.0f %% of the frames are dropped, %.1f masks of %.1f frames a second."
            " Give it %s",
            of,
            100 * self._load.dropped,
            self._load.masks_hz,
            self._load.frames_hz,
            _LESS_OF_SEVERAL if self.name else _LESS,
        )

    def stuck(self) -> str:
        """What has made no progress since `mark_progress`; "" if all has, or is known to wait for something."""
        last, now = self._seen, self._look()
        if self._phase == "opening" and time.monotonic() - self._phase_since_s > OPENING_S:
            return f"the engine is not open after {OPENING_S:.0f} s"
        if self._phase != "running" or self._outputs is None:
            return ""
        if late := self._outputs.late():
            return late
        health = self._health()
        is_gone = health is not None and health.state in ("lost", "stopped")
        is_broken = now.newest_ns == last.newest_ns and now.corrupt > last.corrupt  # frames come, and all are corrupt
        return "" if now.published > last.published or is_gone or is_broken else "no mask comes"

    def mark_progress(self) -> None:
        """The progress made so far was noted: what comes now is new."""
        self._seen = self._look()

    def _look(self) -> _Seen:
        health = self._camera.health if self._camera else None
        return _Seen(self.published, health.newest_ns if health else None, health.totals["corrupt"] if health else 0)

    def words(self) -> str:
        """How it is, on one line, for whoever runs `systemctl status`."""
        camera, outputs = self._health(), self._outputs_health()
        if self._phase == "waiting":
            return f"waiting for {self.live.source}: {camera}" if camera else "opening its source"
        if self._phase == "opening":
            return f"opening engine {self.changes.config.engine}"
        if self._phase != "running":
            return f"{self.trouble}; tried again each {RETRY_S:.0f} s" if self.trouble else self._phase
        of_camera = [f"camera {camera}"] if camera and camera.state != "ok" else []
        if self._load.is_over:
            of_camera.append(f"overload: {100 * self._load.dropped:.0f} % of its frames are dropped")
        return ", ".join([self._masks_words(), *of_camera, *(f"{name} {health}" for name, health in outputs.items())])

    def _masks_words(self) -> str:
        """The newest mask's age; where none follows it, since when."""
        if not self.published:
            return "no mask yet"
        since_s = (time.monotonic_ns() - self._captured_ns) / 1e9
        rate_hz = self._source.rate_hz if self._source else None
        if since_s > max(STALE_S, STALE_PERIODS / (rate_hz or float("inf"))):
            return f"no mask of {self.live.source} for {since_s:.0f} s"
        return f"masks of {self.live.source}, {self._age_ms:.0f} ms old"

    def _health(self) -> Status | None:
        return self._camera.health if self._camera else None

    def _outputs_health(self) -> Mapping[str, Status]:
        gps = {"gps": self._gps.health} if self._gps else {}
        shadow = {"shadow": self._shadow.compared.health} if self._shadow else {}
        return {**gps, **shadow, **(self._outputs.health() if self._outputs else {})}

    def _stages_now(self) -> Mapping[str, Durations]:
        """In the order in which a frame passes them."""
        decode = {"decode": self._source.decode} if self._source else {}
        segment = self._segmenter.stages.by_name if self._segmenter else {}
        return {**decode, **segment, **self._stages.by_name}

    # -- the thread

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                self._attempt()
        except BaseException as error:  # noqa: BLE001 handed to the service, which ends with it
            self.failure = error
        finally:
            self.changes.close()
            self._enter("ended")
            self._on_news()

    def _attempt(self) -> None:
        """Once from the camera to the outputs, and the rest behind a failure."""
        try:
            with ExitStack() as stack:
                self._serve(stack)
            self._over.set()  # the source has an end
        except EdgeError as error:
            # A source may always come, or come back; another fault is worth a new process, unless cameras go on.
            if isinstance(error, ConfigError) or (
                len(self._config.sources) == 1 and not isinstance(error, SourceError)
            ):
                raise
            self._rest(error)
        finally:
            self._outputs = self._source = self._segmenter = self._frames = self._shadow = None
            self._masks_of_run = 0

    def _rest(self, error: EdgeError) -> None:
        """Wait before the next attempt; the log has each reason once."""
        if str(error) != self._last_trouble:
            name = f"camera {self.name}".strip()
            log.error("%s: %s. It is tried again each %g s", name, error, RETRY_S)
        self.trouble, self._last_trouble, self._camera = error, str(error), None
        self.live.set_camera_state("lost", str(error))
        self._enter("resting")
        self._on_news()
        self._over.wait(RETRY_S)
        self.trouble = None

    def _serve(self, stack: ExitStack) -> None:
        self._enter("waiting")
        early = self.changes.early(f"{LOOP} {self.name}: engine")
        stack.callback(early.close)
        source = self._open_source()
        owned = stack.enter_context(ExitStack())
        owned.push(source)  # closed even if the engine cannot be opened
        if self._over.is_set():  # perhaps before its first frame, whose size is not known then
            return
        self._source, self.live.source = source, source.name
        self._enter("opening")
        stack.callback(self.changes.end)
        engine = self.changes.begin(early, source.size_wh, self._engine_changed)
        self.live.engine = engine
        config = self.changes.config
        asked, geometry = config.asked(engine.card), self._config.geometry_of(self.name)
        segmenter = self._segmenter = Segmenter(engine, asked, geometry)
        outputs = self._outputs = Outputs(config, self.name, engine.card, source.rate_hz, self.live, self._stages)
        if self._camera is None:
            self.live.set_camera_state("ok")
        self._begin_shadow(stack, engine, outputs)
        fix_at = self._gps.fix_at if self._gps else None
        frames = self._frames = buffered(source, True, fix_at, engine.await_turn)
        self._enter("running")
        owned.pop_all()  # the run closes it
        if self._over.is_set():
            frames.stop()
        summary = run(
            frames,
            segmenter,
            outputs.backgrounds,
            self._stages,
            on_result=self._take_in,
            is_over=self._over.is_set,
        )
        if summary.failure is not None:
            raise summary.failure

    def _enter(self, phase: Phase) -> None:
        self._phase, self._phase_since_s = phase, time.monotonic()

    def _open_source(self) -> Source:
        """The camera, with its first frame, unless it is over before; one that is not there is waited for."""
        name = self._config.sources[self.name]
        if not is_supervised(name):
            source = open_source(name)
            return Looped(source, name) if self._config.loop and not source.live else source
        camera = self._camera = open_live(name)
        self.live.source = camera.name
        try:
            self._await(camera)
        except BaseException:  # no other owner could close it
            camera.close()
            raise
        return camera

    def _await(self, camera: Supervised) -> None:
        """Wait for the first frame, or until it is over."""
        while not self._over.is_set():
            until_s = time.monotonic() + PATIENCE_S
            if _has_frame(camera):
                return
            self._over.wait(max(0.0, until_s - time.monotonic()))  # some are known at once not to come

    def _begin_shadow(self, stack: ExitStack, engine: Seat, outputs: Outputs) -> None:
        """A second engine beside the first, where one is asked for."""
        options = self._config.shadow
        if options is None:
            return
        from edge.service.shadow import Shadow, Wish

        def keep(result: Prediction, share: float) -> None:
            if share > options.worst:
                outputs.keep(f"shadow {options.engine}: {share:.0%} of frame {result.frame.index} is of another class")

        wish = Wish(options.engine, options.precision, self._config.backend, self._config.trusted_keys)
        self._shadow = Shadow(wish, lambda: engine.card, options.every, self.name, keep)
        stack.callback(self._shadow.close)

    def _engine_changed(self, engine: Seat) -> None:
        """Another one works from the next frame on."""
        if self._outputs is not None:
            self._outputs.set_engine(engine.card, engine.precision)
        of = f"camera {self.name}: " if self.name else ""
        log.info("%sengine is now %s (%s)", of, engine.card.name, engine.precision)

    def announce_engine(self, step: str, facts: Mapping[str, Any]) -> None:
        """A step of a change of the engine, to whoever hears of events. Any thread may ask."""
        if (outputs := self._outputs) is not None:
            outputs.announce("engine", step, facts)

    def _take_in(self, result: Prediction) -> None:
        """Behind each result that the outputs have."""
        self._count(result)
        if self._shadow is not None:
            self._shadow.offer(result)
        self.live.reduced = self.changes.add(result)

    def _count(self, result: Prediction) -> None:
        self._age_ms, self._captured_ns = result.age_ms, result.frame.captured_ns
        self.published += 1
        self._masks_of_run += 1
        if self.published == 1:
            self._on_news()


def _has_frame(camera: Supervised) -> bool:
    """Whether a first frame came, within a while; why it did not is in the log."""
    try:
        camera.await_first(PATIENCE_S)
    except SourceError as error:
        log.warning("%s", error)
        return False
    return True
