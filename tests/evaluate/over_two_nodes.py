"""Drives over a Ray cluster of two nodes, one of which is cut off half-way: `over_two_nodes.py BUNDLE FOLDER ADDRESS`.

A program of its own, as over_ray.py is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import ray
from bundles import COLOURS
from drives_made import make_drive, without_times
from two_nodes import HEAD_IP, WORKER_IP, cut_the_link

from edge.evaluate import schedule
from edge.evaluate.cluster import Cluster
from edge.evaluate.figures import report_of
from edge.evaluate.run import EvaluationConfig, Outcome, Shard
from edge.evaluate.schedule import evaluate_drives, one_by_one

PATIENCE_S = 300.0
log = logging.getLogger("two nodes")


def await_two_nodes(address: str) -> None:
    """Ray knows both."""
    until_s = time.monotonic() + PATIENCE_S
    while known_nodes(address) != {HEAD_IP, WORKER_IP}:
        assert time.monotonic() < until_s, "the nodes did not come up"
        time.sleep(0.2)


def known_nodes(address: str) -> set[str]:
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    except (ConnectionError, RuntimeError):  # the head itself is not there yet
        return set()
    finally:
        ray.shutdown()


def main() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    config, folder, address = EvaluationConfig(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    await_two_nodes(address)
    schedule.SHARD_FRAMES = 3
    drives = [make_drive(folder, "a"), make_drive(folder, "b", (1, 2))]
    finished: list[Shard] = []
    with Cluster(config, address, 2) as cluster:
        assert len(cluster.pids()) == 2  # both have started

        def execute(shards: Sequence[Shard]) -> Iterator[Outcome]:
            for shard, outcome in cluster.execute(shards):
                if len(finished) == 3:
                    log.warning("hosts %s", sorted(cluster._hosts.values()))
                    cut_the_link()
                finished.append(shard)
                yield shard, outcome

        spread = evaluate_drives(drives, execute, in_shards=True)
    assert len(finished) == 8, finished  # four shards of each drive, once each
    alone = evaluate_drives(drives, one_by_one(config))
    assert without_times(report_of(spread, COLOURS)) == without_times(report_of(alone, COLOURS))
    assert all(result.is_whole for result in spread)
    log.warning("the same")


if __name__ == "__main__":
    main()
