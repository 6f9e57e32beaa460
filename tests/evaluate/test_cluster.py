"""Drives over a local Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drives_made import make_drive
from two_nodes import HEAD_IP, PORT, WORKER_IP, TwoNodes, no_nodes_reason

from edge.engine import Bundle
from edge.evaluate.cluster import Cluster
from edge.evaluate.run import EvaluationConfig, evaluate_drives

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


@pytest.mark.system
@pytest.mark.slow
def test_a_node_that_is_cut_off_half_way_costs_nothing_but_time_and_is_named(
    colour_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'edge-segmentation[scale]'")
    if reason := no_nodes_reason():
        pytest.skip(reason)
    places = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "over_two_nodes.py"), str(colour_bundle.folder), str(tmp_path)]
    with TwoNodes() as nodes:
        done = nodes.run([*command, f"{HEAD_IP}:{PORT}"], {"PYTHONPATH": places}, 280)
        assert done.returncode == 0, done.stdout + done.stderr + nodes.said()
    assert f"hosts ['{HEAD_IP}', '{WORKER_IP}']" in done.stdout
    assert f"node {WORKER_IP} is gone; what it worked on is given to others" in done.stdout
    assert done.stdout.endswith("the same\n")


def test_a_part_that_kills_every_worker_is_given_up_with_the_reason(colour_bundle: Bundle, tmp_path: Path) -> None:
    config = EvaluationConfig(str(colour_bundle.folder))

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

        def remote(self, config: EvaluationConfig) -> Maker:
            return Maker()

    dead = Cluster.__new__(Cluster)
    dead._ray, dead._config, dead._make, dead._workers = Ray(), config, Maker(), [Maker()]
    (result,) = evaluate_drives([make_drive(tmp_path)], dead.execute)
    assert "3 workers died" in result.error
    assert "out of memory" in result.error
