"""Damages configs, clips, bundles and live streams by chance, thousands of times, and looks what edge makes of it.

    python -m benchmarks.fuzz configs --count 10000
    python -m benchmarks.fuzz clips --count 10000
    python -m benchmarks.fuzz bundles --count 20000
    python -m benchmarks.fuzz streams --count 300
    python -m benchmarks.fuzz clips --start 4711 --count 1      # one finding again

The mutants are tried in a process of their own: one that crashes it, or keeps it for a minute, is a finding, and the
next one is tried in a new process. A finding is told with its number, from which it is made again. Ctrl-C says where to
go on. The exit code is 1 where there are findings.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fuzz"))

from mutants import Target, chance_of

from edge.report import table

KINDS = ("configs", "clips", "bundles", "streams")
PATIENCE_S = 60.0


def target_of(kind: str) -> Callable[[Path], Target]:
    if kind == "configs":
        from configs_fuzzed import Configs

        return Configs
    if kind == "clips":
        from clips_fuzzed import Clips

        return Clips
    if kind == "bundles":
        from bundles_fuzzed import Bundles

        return Bundles
    from streams_fuzzed import Streams

    return Streams


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("kind", choices=KINDS)
    words.add_argument("--count", type=int, default=1000)
    words.add_argument("--start", type=int, default=0)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.worker:
        work(chosen.kind, chosen.seed, range(chosen.start, chosen.start + chosen.count))
        return
    outcomes, findings, start_s = Counter[str](), list[str](), time.monotonic()
    slowest, following, end = (0.0, chosen.start), chosen.start, chosen.start + chosen.count
    try:
        while following < end:
            for number, outcome, finding, seconds in tried(chosen.kind, chosen.seed, following, end):
                following = number + 1
                outcomes[outcome] += 1
                slowest = max(slowest, (seconds, number))
                if finding:
                    findings.append(f"{chosen.kind} --seed {chosen.seed} --start {number}: {finding}")
                    print(f"\r{findings[-1]}", flush=True)
                print(f"\r{number + 1 - chosen.start} of {chosen.count}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"\nbroken off; go on with --start {following} --count {end - following}", file=sys.stderr)
    total = sum(outcomes.values())
    rows = [[name, str(count), f"{100 * count / total:.2f} %"] for name, count in sorted(outcomes.items())]
    print(f"\n\n{chosen.kind}: {total} mutants, seed {chosen.seed}, {time.monotonic() - start_s:.0f} s\n")
    print(table(["outcome", "mutants", ""], rows))
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"\nfindings: {len(findings)}; slowest: {slowest[0]:.2f} s (number {slowest[1]});"
        f" largest process: {peak_mb:.0f} MB"
    )
    sys.exit(bool(findings))


def tried(kind: str, seed: int, start: int, end: int) -> Iterator[tuple[int, str, str, float]]:
    """Number, outcome, finding ("" if none) and seconds of each, until the end or until the process is lost."""
    choice = [kind, "--worker", "--seed", str(seed), "--start", str(start), "--count", str(end - start)]
    worker = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fuzz", *choice], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stderr is not None
    ready, number = selectors.DefaultSelector(), start - 1
    ready.register(worker.stdout, selectors.EVENT_READ)
    try:
        while True:
            # Twice: the whole machine may have been stopped meanwhile.
            line = worker.stdout.readline() if ready.select(PATIENCE_S) or ready.select(PATIENCE_S) else "hangs"
            if line == "hangs" or (not line and number + 1 < end):
                worker.kill()
                code = worker.wait()
                if number < start and code == 1:  # nothing was tried
                    sys.exit(f"the {kind} to begin with cannot be made:\n{worker.stderr.read()[-800:]}")
                why = "hangs" if line else f"process ended with {code}: {worker.stderr.read()[-800:]}"
                yield number + 1, f"lost: {why.split(':')[0]}", why, PATIENCE_S
                return
            if not line:
                return
            number, outcome, finding, seconds = json.loads(line)
            yield number, outcome, finding, seconds
    finally:
        worker.kill()
        worker.communicate()


def work(kind: str, seed: int, numbers: range) -> None:
    """Tell a line for each mutant; a traceback of it is a finding like any other."""
    with tempfile.TemporaryDirectory(prefix="edge-fuzz-") as folder:
        target = target_of(kind)(Path(folder))
        try:
            for number in numbers:
                start_s, finding = time.monotonic(), ""
                try:
                    outcome = target.try_one(chance_of(seed, number))
                except Exception as error:  # noqa: BLE001 whatever comes out is what we are after
                    outcome, finding = f"finding: {type(error).__name__}", _told(error)
                print(json.dumps([number, outcome, finding, time.monotonic() - start_s]), flush=True)
        finally:
            target.close()


def _told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:300]} ({Path(last.filename).name}:{last.lineno})"


if __name__ == "__main__":
    main()
