"""Many drives at once: shards of drives spread over the workers of a Ray cluster, one engine each."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import cv2

from edge.errors import ConfigError, DataError, EdgeError, SourceError
from edge.evaluate.run import EvaluationConfig, Measured, Outcome, Shard, Worker

LOCAL = "local"
_log = logging.getLogger(__name__)
ATTEMPTS = 3  # of a shard whose worker dies: perhaps the shard kills it
_STORE_BYTES = 256 << 20  # records are small; Ray would reserve a third of the memory


class Cluster:
    """Workers on a Ray cluster: `address` is that of a running one, "auto" for the one this machine belongs to, or
    "local" to start one here. Owns the workers, and the cluster if it started it.

    Drives, labels and engines must lie at the same paths on every machine.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        address: str = LOCAL,
        workers: int | None = None,
        on_shard: Callable[[Shard, int], None] = lambda shard, frames: None,
    ) -> None:
        self._ray = _ray_at(address)
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        # Two threads share one engine well; with two cores, two workers show that a second one helps.
        count = workers or max(min(2, cores), cores // 2)
        threads = max(1, cores // count)
        self._config, self._on_shard = replace(config, threads=threads), on_shard
        self._make = self._ray.remote(num_cpus=min(threads, cores / count))(_RemoteWorker)
        self._workers: list[Any] = [self._make.remote(self._config) for _ in range(count)]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        self._ray.shutdown()

    def pids(self) -> list[int]:
        """The process of each worker, on its machine."""
        return self._ray.get([worker.pid.remote() for worker in self._workers])

    def execute(self, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Measure the shards; one comes out when it is finished. A shard whose worker dies is given to a new one.

        Raises:
            EngineError, ConfigError: an engine cannot be run or compared; as in one process, this ends everything.
        """
        waiting, idle = deque(shards), list(self._workers)
        tries: Counter[tuple[str, int]] = Counter()
        running: dict[Any, tuple[Any, Shard]] = {}
        while waiting or running:
            while waiting and idle:
                worker, shard = idle.pop(), waiting.popleft()
                running[worker.measure.remote(shard)] = worker, shard
            (done,), _ = self._ray.wait(list(running), num_returns=1)
            worker, shard = running.pop(done)
            try:
                outcome = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                idle.append(self._replaced(worker))
                tries[key := (shard.drive.name, shard.start)] += 1
                if tries[key] < ATTEMPTS:
                    _log.warning("%s: its worker died; it is given to a new one", shard.drive.name)
                    waiting.appendleft(shard)
                else:
                    yield shard, _given_up(shard, error)
                continue
            idle.append(worker)
            yield shard, self._checked(shard, outcome)

    def _checked(self, shard: Shard, outcome: Measured | EdgeError) -> Measured | EdgeError:
        if isinstance(outcome, EdgeError):
            if not isinstance(outcome, (SourceError, DataError)):
                raise outcome
            return outcome
        self._on_shard(shard, len(outcome.records))
        return outcome

    def _replaced(self, dead: Any) -> Any:
        self._workers.remove(dead)
        fresh = self._make.remote(self._config)
        self._workers.append(fresh)
        return fresh


class _RemoteWorker:
    """What runs on the cluster: a worker that gives its errors as values, which Ray would wrap otherwise."""

    def __init__(self, config: EvaluationConfig) -> None:
        cv2.setNumThreads(1)
        self._worker = Worker(config)

    def pid(self) -> int:
        return os.getpid()

    def measure(self, shard: Shard) -> Measured | EdgeError:
        try:
            return self._worker.measure(shard)
        except EdgeError as error:
            return error


def _given_up(shard: Shard, error: Exception) -> SourceError:
    reason = " ".join(str(error).split())[:300]
    span = f"frames {shard.start} to {shard.stop}" if shard.stop else "all frames"
    return SourceError(
        f"{shard.drive.frames}: {span} could not be measured: {ATTEMPTS} workers died over them. Is memory short?"
        f" Does `edge evaluate {shard.drive.frames}` crash, too? Ray says: {reason}"
    )


def _ray_at(address: str) -> Any:
    """Ray, connected. Its usage statistics are switched off, which must happen before it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what its next version does, unasked
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs the library Ray. Install it: pip install 'edge-segmentation[scale]'") from error
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == LOCAL:
            cores = len(os.sched_getaffinity(0))
            ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--ray {address}: there is no cluster ({first})."
            " Start one: ray start --head; or have one for this run: --ray local"
        ) from error
    return ray
