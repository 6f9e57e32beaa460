"""Drives over a local Ray cluster of two workers, one of which is killed half-way."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bundles import COLOURS
from drives_made import make_drive

from edge.engine import Bundle
from edge.errors import ConfigError, EngineError
from edge.evaluate import run
from edge.evaluate.cluster import Cluster
from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of, without_times
from edge.evaluate.run import Contest, Outcome, Part, evaluate_drives, one_by_one

pytest.importorskip("ray", reason="needs Ray: pip install 'edge-segmentation[scale]'")
pytestmark = [
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*ray.*:FutureWarning"),
]


@pytest.fixture
def contest(colour_bundle: Bundle) -> Contest:
    return Contest(str(colour_bundle.folder))


@pytest.fixture
def cluster(contest: Contest) -> Iterator[Cluster]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own imports
        made = Cluster(contest, "local", 2)
    with made:
        yield made


def test_a_killed_worker_costs_nothing_but_time(
    cluster: Cluster, contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PART_FRAMES", 5)
    drives = [make_drive(tmp_path, "a"), make_drive(tmp_path, "b", (1, 2)), Drive("gone", str(tmp_path / "gone.mp4"))]
    victim = cluster.pids()[0]
    finished: list[Part] = []

    def execute(parts: Sequence[Part]) -> Iterator[Outcome]:
        for part, outcome in cluster.execute(parts):
            if len(finished) == 1:
                os.kill(victim, signal.SIGKILL)
            finished.append(part)
            yield part, outcome

    spread = evaluate_drives(drives, execute, in_parts=True)
    assert victim not in cluster.pids()
    assert len(finished) == 7  # three parts of each drive, and the one that is gone
    alone = evaluate_drives(drives, one_by_one(contest))
    assert without_times(report_of(spread, COLOURS)) == without_times(report_of(alone, COLOURS))
    assert [result.is_whole for result in spread] == [True, True, False]

    broken = [Drive("a", drives[0].frames)]
    monkeypatch.setattr(cluster, "_contest", Contest("no-such-engine"))
    for worker in list(cluster._workers):
        cluster._ray.kill(worker)
        cluster._replaced(worker)
    with pytest.raises(EngineError, match="no engine is called 'no-such-engine'"):
        evaluate_drives(broken, cluster.execute)


def test_a_part_that_kills_every_worker_is_given_up_with_the_reason(contest: Contest, tmp_path: Path) -> None:
    class Died(Exception):
        pass

    class Ray:
        """Stands in for Ray: every worker dies."""

        class exceptions:  # noqa: N801 as Ray calls it
            RayActorError = Died

        def wait(self, jobs: list[object], num_returns: int) -> tuple[list[object], list[object]]:
            return jobs[:1], jobs[1:]

        def get(self, job: object) -> object:
            raise Died("out of memory")

    class Method:
        def remote(self, *words: object) -> object:
            return object()

    class Maker:
        measure = Method()

        def remote(self, contest: Contest) -> Maker:
            return Maker()

    dead = Cluster.__new__(Cluster)
    dead._ray, dead._contest, dead._make, dead._workers = Ray(), contest, Maker(), [Maker()]
    (result,) = evaluate_drives([make_drive(tmp_path)], dead.execute)
    assert "3 workers died" in result.error
    assert "out of memory" in result.error


def test_an_address_without_cluster_says_how_to_start_one(contest: Contest) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match="ray start --head"):
            Cluster(contest, "nonsense://here")
