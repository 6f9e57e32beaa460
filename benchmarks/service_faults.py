"""How soon the service is ready again after a fault, under a real systemd; and how soon SIGTERM ends it.

    python -m benchmarks.service_faults [--faults 20] [--ends 5]

The unit is the installer's, with the WatchdogSec of the tests (tests/systemd/unit.py), in a container whose PID 1 is
systemd; root is wanted. The camera is an HTTP one on this machine, 640x360 at 30 Hz. READY is taken from systemd's own
clock. SIGTERM is sent to a plain process in each state of tests/systemd/states.py, and measured to its end.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.report import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "systemd"))

from container import Container, why_no_container
from states import STATES, TestCamera
from unit import WATCHDOG_S, Unit, install

FAULTS = {
    "kill -9": ("kill -9 $PID", 1.5),
    "frozen whole (SIGSTOP)": ("kill -STOP $PID", WATCHDOG_S + 1.0),
    "capture hangs": ("touch /run/edge/hang-capture", WATCHDOG_S + 1.0),
    "inference hangs": ("touch /run/edge/hang-infer", WATCHDOG_S + 1.0),
    "publishing hangs": ("touch /run/edge/hang-publish", WATCHDOG_S + 1.0),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--faults", type=int, default=20, help="of each kind")
    words.add_argument("--ends", type=int, default=5, help="in each state")
    chosen = words.parse_args()
    if chosen.faults and why_no_container():
        sys.exit(why_no_container())
    if chosen.faults:
        print(f"until READY again, WatchdogSec={WATCHDOG_S:g}\n")
        print(_text(suffer(chosen.faults), {name: limit_s for name, (_, limit_s) in FAULTS.items()}))
    if chosen.ends:
        print("\nSIGTERM until the process has ended\n")
        seconds = end(chosen.ends)
        print(_text(seconds, dict.fromkeys(seconds, 1.0)))


def suffer(faults: int) -> dict[str, list[float]]:
    """Each fault in turn, at no particular moment; seconds until READY."""
    chance, seconds = random.Random(1), {name: list[float]() for name in FAULTS}
    with Container() as container, TestCamera("http", "640x360x30") as camera:
        install(container)
        unit, config = Unit(container), f"camera: {camera.url}\nweb: {{port: 0}}\n"
        unit.begin(config)
        for number in range(faults):
            for name, (order, _) in FAULTS.items():
                time.sleep(chance.uniform(0.5, 1.5))
                seconds[name].append(unit.befall(order))
                print(f"\r{number + 1} of {faults}: {name}\033[K", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def end(ends: int) -> dict[str, list[float]]:
    """SIGTERM in each state; seconds until the process has ended, in good order."""
    seconds: dict[str, list[float]] = {}
    for state in STATES:
        for _ in range(ends):
            with tempfile.TemporaryDirectory() as folder, state(Path(folder)) as serving:
                code, elapsed_s = serving.end()
                assert code == 0, f"{state.__name__}: exit code {code}: {serving.log}"
            seconds.setdefault(state.__name__.replace("_", " "), []).append(elapsed_s)
    return seconds


def _text(seconds: dict[str, list[float]], limits_s: dict[str, float]) -> str:
    rows = []
    for name, found in seconds.items():
        p50, p95 = np.percentile(found, [50, 95])
        within = sum(figure <= limits_s[name] for figure in found)
        row = [name, str(len(found)), f"{p50:.2f}", f"{p95:.2f}", f"{max(found):.2f}"]
        rows.append([*row, f"{within} <= {limits_s[name]:g} s"])
    return table(["", "n", "p50 s", "p95 s", "max s", "within"], rows)


if __name__ == "__main__":
    main()
