"""A service in a thread of the test, and what systemd would hear of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videos import write_video

from edge.config import parse_tree
from edge.service.config import ServeConfig
from edge.service.reload import Next
from edge.service.service import Inbox, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.engine import Bundle

RATE_HZ = 20

Run = Callable[[dict[str, Any]], tuple[Any, "Manager"]]


def played(folder: Path, rate_hz: int = RATE_HZ, *names: str) -> dict[str, Any]:
    """The part of a config that has short videos played without end, as cameras would: one, or one for each name."""
    paths = {name: str(write_video(folder / f"{name}.mp4", RATE_HZ, rate=rate_hz)) for name in names or ("played",)}
    return {"loop": True, **({"cameras": paths} if names else {"camera": paths["played"]})}


class Manager:
    """Hears what systemd would."""

    watchdog_s: float | None = 0.3

    def __init__(self) -> None:
        self.fed, self.status_text = 0, ""

    def progress(self) -> None:
        self.fed += 1

    def ready(self, status: str) -> None:
        self.status_text = status

    status = ready

    def starting(self, status: str, within_s: float) -> None:
        self.status_text = status


@contextmanager
def running(folder: Path, engine: Bundle | None = None) -> Iterator[Run]:
    """Gives what serves a config in a thread until the block's end, with this engine where the config names none."""
    with ExitStack() as stack:

        def run(settings: dict[str, Any]) -> tuple[Any, Manager]:
            named = {"engine": str(engine.folder)} if engine else {}
            config = parse_tree({**named, **settings}, ServeConfig, "a test")
            manager, inbox = Manager(), Inbox()
            service: Any = Service(Next(config, {}), manager, inbox, folder)  # type: ignore[arg-type]
            thread = threading.Thread(target=service.run)

            def end() -> None:
                inbox.put(signal.SIGTERM)
                thread.join(10)
                assert not thread.is_alive()

            thread.start()
            stack.callback(end)
            return service, manager

        yield run


def soon(holds: Any, within_s: float = 60.0) -> bool:
    """Whether it holds within that time."""
    waits = threading.Event()
    return any(holds() or waits.wait(0.02) for _ in range(round(within_s / 0.02)))
