"""`edge` with a fault at the next frame: one stage hangs, or eats all memory, while a file in the service's
RuntimeDirectory says so: hang-capture, hang-infer, hang-publish, hog.

Orders that are there at the start are taken away: the next start is sound.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

from edge.backends.openvino import OpenVinoEngine
from edge.cli import main
from edge.sources.supervised import Supervised
from edge.web.sink import WebSink

STAGES = {"capture": (Supervised, "_take_in"), "infer": (OpenVinoEngine, "infer"), "publish": (WebSink, "write")}


def let_hang(owner: type, method: str, order: Path) -> None:
    sound = getattr(owner, method)

    @functools.wraps(sound)
    def faulty(*words: Any, **more: Any) -> Any:
        while order.exists():
            time.sleep(0.01)
        return sound(*words, **more)

    setattr(owner, method, faulty)


def let_hog(order: Path) -> None:
    sound, hoard = WebSink.write, list[bytes]()

    def faulty(*words: Any) -> None:
        while order.exists():
            hoard.append(b"x" * (1 << 26))
        sound(*words)

    setattr(WebSink, "write", faulty)  # noqa: B010 a type checker is right to refuse the assignment


folder = Path(os.environ["RUNTIME_DIRECTORY"])
for old in (*folder.glob("hang-*"), *folder.glob("hog")):
    old.unlink()
let_hog(folder / "hog")
for stage, (owner, method) in STAGES.items():
    let_hang(owner, method, folder / f"hang-{stage}")
main()
