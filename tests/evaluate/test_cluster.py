"""Drives over a local Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import COLOURS
from drives_made import make_drive, without_times
from two_nodes import HEAD_IP, PORT, WORKER_IP, NoNode, TwoNodes, no_nodes_reason

from edge.engine import Bundle
from edge.errors import ConfigError, EngineError
from edge.evaluate import cluster, schedule
from edge.evaluate.cluster import Cluster
from edge.evaluate.figures import report_of
from edge.evaluate.run import DriveResult, EvaluationConfig
from edge.evaluate.schedule import evaluate_drives, one_by_one

HERE = Path(__file__).parent


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time_and_a_missing_engine_or_cluster_is_told(
    colour_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'edge-segmentation[scale]'")
    places = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "over_ray.py"), str(colour_bundle.folder), str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.release
@pytest.mark.timeout(900)  # two nodes of Ray start slowly on a machine with other work
def test_a_node_that_is_cut_off_half_way_costs_nothing_but_time_and_is_named(
    colour_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'edge-segmentation[scale]'")
    if reason := no_nodes_reason():
        pytest.skip(reason)
    places = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "over_two_nodes.py"), str(colour_bundle.folder), str(tmp_path)]
    with ExitStack() as stack:
        try:
            nodes = stack.enter_context(TwoNodes())
        except NoNode as error:
            pytest.skip(f"Ray's nodes do not come up, perhaps the machine is too busy: {error}")
        done = nodes.run([*command, f"{HEAD_IP}:{PORT}"], {"PYTHONPATH": places}, 500)
        assert done.returncode == 0, done.stdout + done.stderr + nodes.said()
    assert f"hosts ['{HEAD_IP}', '{WORKER_IP}']" in done.stdout
    assert f"node {WORKER_IP} is gone; what it worked on is given to others" in done.stdout
    assert done.stdout.endswith("the same\n")


class Died(Exception):
    """Stands for all that Ray raises about a lost worker."""


class ObjectLost(Exception):
    pass


class NodeDied(Exception):
    pass


class Thing:
    """A handle, as Ray gives them: it can be a key."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


class FakeRay:
    """Runs in this process what Ray would run elsewhere, each worker on a host of its own. `fail(method, times before)`
    gives what is raised in place of an answer, or None; where `never(method, times before)`, none comes at all.
    """

    exceptions = SimpleNamespace(RayActorError=Died, ObjectLostError=ObjectLost, NodeDiedError=NodeDied)

    def __init__(self, fail: Any = lambda method, before: None, never: Any = lambda method, before: False) -> None:
        self._fail, self._never = fail, never
        self._calls: Counter[str] = Counter()
        self._hosts = 0
        self.gone: set[str] = set()

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **options: Any) -> Any:
        return lambda kind: SimpleNamespace(remote=lambda config: self._actor(kind(config)))

    def _actor(self, worker: Any) -> Any:
        self._hosts += 1
        host = f"10.0.0.{self._hosts}"

        def method(name: str, answer: Any) -> Any:
            def remote(*words: Any) -> Any:
                self._calls[name] += 1
                before = self._calls[name] - 1
                error = self._fail(name, before)
                if error is not None and name == "measure" and isinstance(error, NodeDied):
                    self.gone.add(host)
                ready = not self._never(name, before)
                return Thing(ready=ready, error=error, answer=None if error else answer(*words))

            return SimpleNamespace(remote=remote)

        return Thing(measure=method("measure", worker.measure), host=method("host", lambda: host))

    def wait(self, jobs: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
        ready = [job for job in jobs if job.ready]
        assert ready or timeout, "this would wait for ever"
        return ready[:1], jobs

    def get(self, job: Any) -> Any:
        if job.error is not None:
            raise job.error
        return job.answer

    def nodes(self) -> list[dict[str, Any]]:
        hosts = [f"10.0.0.{number + 1}" for number in range(self._hosts)]
        return [{"NodeManagerAddress": host, "Alive": host not in self.gone} for host in hosts]

    def kill(self, worker: Any) -> None:
        pass

    def shutdown(self) -> None:
        pass


@pytest.fixture
def evaluated(colour_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What comes of a drive of four shards on a cluster of two workers that is that Ray."""
    config = EvaluationConfig(str(colour_bundle.folder))
    monkeypatch.setattr(schedule, "SHARD_FRAMES", 3)
    drive = make_drive(tmp_path / "drives")

    def evaluate(ray: FakeRay) -> DriveResult:
        monkeypatch.setattr(cluster, "_ray_at", lambda address: ray)
        with Cluster(config, "fake", 2) as workers:
            (result,) = evaluate_drives([drive], workers.execute, in_shards=True)
        return result

    evaluate.alone = evaluate_drives([drive], one_by_one(config))
    return evaluate


def is_same(result: DriveResult, alone: list[DriveResult]) -> bool:
    return without_times(report_of([result], COLOURS)) == without_times(report_of(alone, COLOURS))


def test_a_shard_that_kills_every_worker_is_given_up_with_the_reason(evaluated: Any) -> None:
    ray = FakeRay(lambda method, before: Died("out of memory") if method == "measure" else None)
    result = evaluated(ray)
    assert "3 workers died" in result.error
    assert "out of memory" in result.error


@pytest.mark.parametrize("error", [Died("gone"), ObjectLost("its result is gone"), NodeDied("its machine is gone")])
def test_however_a_worker_is_lost_its_shard_is_measured_by_another(evaluated: Any, error: Exception) -> None:
    ray = FakeRay(lambda method, before: error if method == "measure" and before == 1 else None)
    assert is_same(evaluated(ray), evaluated.alone)


def test_a_machine_that_goes_away_is_named_and_no_fault_of_the_shard(
    evaluated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ray = FakeRay(lambda method, before: NodeDied("cut") if method == "measure" and before < 5 else None)
    assert is_same(evaluated(ray), evaluated.alone)
    assert sorted(ray.gone) == [f"10.0.0.{number}" for number in range(1, 6)]
    assert all(f"node {host} is gone" in caplog.text for host in ray.gone)


def test_the_workers_left_do_all_where_a_replacement_finds_no_room(evaluated: Any) -> None:
    ray = FakeRay(
        lambda method, before: NodeDied("cut") if method == "measure" and before == 0 else None,
        never=lambda method, before: method == "host" and before >= 2,
    )
    assert is_same(evaluated(ray), evaluated.alone)


def test_a_cluster_without_any_worker_ends_with_what_to_type(evaluated: Any) -> None:
    with pytest.raises(EngineError, match=r"no room for a worker for 300 s\. See: ray status"):
        evaluated(FakeRay(never=lambda method, before: method == "host"))


def test_workers_that_cannot_start_end_with_the_reason(evaluated: Any) -> None:
    ray = FakeRay(lambda method, before: Died("No module named 'edge'") if method == "host" else None)
    with pytest.raises(ConfigError, match=r"3 workers in a row did not start.*No module named 'edge'"):
        evaluated(ray)
