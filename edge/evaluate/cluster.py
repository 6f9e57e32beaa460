"""Many drives at once: shards of drives spread over the workers of a Ray cluster, one engine each."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import cv2

from edge.errors import ConfigError, DataError, EdgeError, EngineError, SourceError
from edge.evaluate.run import EvaluationConfig, Measured, Outcome, Shard, Worker
from edge.install import install_command
from edge.shortage import check_shortage

LOCAL = "local"
_log = logging.getLogger(__name__)
ATTEMPTS = 3  # of a shard whose worker dies: perhaps the shard kills it
PATIENCE_S = 300.0  # without any worker: a machine that went away may come back
_STORE_BYTES = 256 << 20  # records are small; Ray would reserve a third of the memory


class Cluster:
    """Workers on a Ray cluster: `address` is that of a running one, "auto" for the one this machine belongs to, or
    "local" to start one here. Owns the workers, and the cluster if it started it.

    Drives, labels and engines must lie at the same paths on every machine. A machine may go away: what it worked on is
    given to the others, and the replacement of its worker starts where and when there is room for it, perhaps never.

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
        self._lost = _lost_errors(self._ray)
        self._workers: list[Any] = []
        self._starting: dict[Any, Any] = {}  # by what it answers when it has started
        self._idle: list[Any] = []
        self._hosts: dict[Any, str] = {}  # of each worker that has started
        self._gone: set[str] = set()  # hosts that went away and were reported
        self._failed_starts = 0  # in a row
        for _ in range(count):
            self._start()

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
        """Measure the shards; one comes out when it is finished. A shard whose worker is lost is given to another one.

        Raises:
            EngineError, ConfigError: an engine cannot be run or compared; as in one process, this ends everything. Or
                the cluster has no worker any more.
        """
        waiting = deque(shards)
        tries: Counter[tuple[str, int]] = Counter()
        running: dict[Any, tuple[Any, Shard]] = {}
        while waiting or running:
            while waiting and self._idle:
                worker, shard = self._idle.pop(), waiting.popleft()
                running[worker.measure.remote(shard)] = worker, shard
            done = self._wait(running)
            if done in self._starting:
                self._take_up(done)
                continue
            worker, shard = running.pop(done)
            try:
                outcome = self._ray.get(done)
            except self._lost as error:
                is_hosts_fault = self._replace(worker)
                tries[key := (shard.drive.name, shard.start)] += not is_hosts_fault
                if tries[key] < ATTEMPTS:
                    _log.warning("%s: its worker was lost; it is given to another one", shard.drive.name)
                    waiting.appendleft(shard)
                else:
                    yield shard, _given_up(shard, error)
                continue
            self._idle.append(worker)
            yield shard, self._checked(shard, outcome)

    def _wait(self, running: Mapping[Any, Any]) -> Any:
        """What is finished next: a shard, or the start of a worker."""
        patience_s = None if running else PATIENCE_S
        done, _ = self._ray.wait([*self._starting, *running], num_returns=1, timeout=patience_s)
        if not done:
            raise EngineError(
                f"--ray: the cluster has had no room for a worker for {PATIENCE_S:g} s. See: ray status."
                " With --work FOLDER, the same command goes on where it stood"
            )
        return done[0]

    def _checked(self, shard: Shard, outcome: Measured | EdgeError) -> Measured | EdgeError:
        if isinstance(outcome, EdgeError):
            if not isinstance(outcome, (SourceError, DataError)):
                raise outcome
            return outcome
        self._on_shard(shard, len(outcome.records))
        return outcome

    def _start(self) -> None:
        """A new worker. It gets work when it has started: where the cluster has no room, that is never."""
        worker = self._make.remote(self._config)
        self._workers.append(worker)
        self._starting[worker.host.remote()] = worker

    def _take_up(self, started: Any) -> None:
        worker = self._starting.pop(started)
        try:
            self._hosts[worker] = self._ray.get(started)
        except self._lost as error:
            self._failed_starts += 1
            if self._failed_starts >= ATTEMPTS:
                reason = " ".join(str(error).split())[-300:]
                raise ConfigError(
                    f"--ray: {ATTEMPTS} workers in a row did not start. Is the same edge installed on every machine?"
                    f" Ray says: {reason}"
                ) from error
            self._replace(worker)
        else:
            self._failed_starts = 0
            self._idle.append(worker)

    def _replace(self, lost: Any) -> bool:
        """Start a worker in place of one that is lost; whether its whole machine is gone."""
        self._workers.remove(lost)
        self._ray.kill(lost)  # it may be alive behind a link that is cut, and would keep its core when that is mended
        self._start()
        host = self._hosts.pop(lost, "")
        if not host or host in {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}:
            return False
        if host not in self._gone:
            self._gone.add(host)
            _log.warning("node %s is gone; what it worked on is given to others", host)
        return True


class _RemoteWorker:
    """What runs on the cluster: a worker that gives its errors as values, which Ray would wrap otherwise."""

    def __init__(self, config: EvaluationConfig) -> None:
        cv2.setNumThreads(1)
        self._worker = Worker(config)

    def pid(self) -> int:
        return os.getpid()

    def host(self) -> str:
        """The address of its machine, as Ray lists it."""
        from ray.util import get_node_ip_address

        return get_node_ip_address()

    def measure(self, shard: Shard) -> Measured | EdgeError:
        try:
            return self._worker.measure(shard)
        except EdgeError as error:
            return error


def _lost_errors(ray: Any) -> tuple[type[Exception], ...]:
    """What says that a worker, or what it had answered, is no more: results that are large stay on its machine."""
    known = ray.exceptions
    return known.RayActorError, known.ObjectLostError, known.NodeDiedError


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
        check_shortage(error)
        raise ConfigError(
            f"--ray needs the library Ray. Install it: {install_command('edge-segmentation[scale]')}"
        ) from error
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
            " Start one: ray start --head; or have one for this run: --ray local."
            " One that asks for a token (~/.ray/auth_token) is joined with RAY_AUTH_MODE=token"
        ) from error
    return ray
