"""Drives over a local Ray cluster of two workers, one of which is killed half-way: `over_ray.py BUNDLE FOLDER`.

A program of its own: Ray takes over the signals of the process that it is in, and does not give them back.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bundles import COLOURS
from drives_made import make_drive, without_times

from edge.errors import ConfigError, EngineError
from edge.evaluate import schedule
from edge.evaluate.cluster import Cluster
from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of
from edge.evaluate.run import EvaluationConfig, Outcome, Shard
from edge.evaluate.schedule import evaluate_drives, one_by_one


def kill_one_half_way(cluster: Cluster, config: EvaluationConfig, folder: Path) -> list[Drive]:
    """The results are those of one process, but for times."""
    schedule.SHARD_FRAMES = 5
    drives = [make_drive(folder, "a"), make_drive(folder, "b", (1, 2)), Drive("gone", str(folder / "gone.mp4"))]
    victim = cluster.pids()[0]
    finished: list[Shard] = []

    def execute(shards: Sequence[Shard]) -> Iterator[Outcome]:
        for shard, outcome in cluster.execute(shards):
            if len(finished) == 1:
                os.kill(victim, signal.SIGKILL)
            finished.append(shard)
            yield shard, outcome

    spread = evaluate_drives(drives, execute, in_shards=True)
    assert victim not in cluster.pids()
    assert len(finished) == 7  # three shards of each drive, and the one that is gone
    alone = evaluate_drives(drives, one_by_one(config))
    assert without_times(report_of(spread, COLOURS)) == without_times(report_of(alone, COLOURS))
    assert [result.is_whole for result in spread] == [True, True, False]
    return drives


def ask_for_no_engine(cluster: Cluster, drive: Drive) -> None:
    """What is wrong with an engine ends everything."""
    cluster._config = EvaluationConfig("no-such-engine")
    cluster._idle.clear()
    cluster._starting.clear()
    for worker in list(cluster._workers):
        cluster._replace(worker)
    with pytest.raises(EngineError, match="no engine is called 'no-such-engine'"):
        evaluate_drives([drive], cluster.execute)


def main() -> None:
    config, folder = EvaluationConfig(sys.argv[1]), Path(sys.argv[2])
    with Cluster(config, "local", 2) as cluster:
        drives = kill_one_half_way(cluster, config, folder)
        ask_for_no_engine(cluster, Drive("a", drives[0].frames))
    with pytest.raises(ConfigError, match="ray start --head"):
        Cluster(config, "nonsense://here")


if __name__ == "__main__":
    main()
