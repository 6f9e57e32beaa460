"""Two machines of a Ray cluster on one: a network namespace each, joined by a link that can be cut. It takes root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

HEAD_IP, WORKER_IP = "10.213.77.1", "10.213.77.2"
PORT = 6379
# How long a node may be silent: with Ray's own values a minute or so. And a token, without which nothing connects.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    # And what a machine with other work takes: Ray gives up a node after half a minute, and runs workers at nice 15.
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
# Ports by number: a node waits for its agents to choose some, and dies where that takes half a minute.
PORTS = {
    "metrics-export": 9101,
    "dashboard-agent-listen": 9102,
    "dashboard-agent-grpc": 9103,
    "runtime-env-agent": 9104,
}
STORE_BYTES = 100 << 20
ATTEMPTS = 3


def no_nodes_reason() -> str:
    """Why two nodes cannot be made here; "" where they can."""
    if shutil.which("ip") is None:
        return "ip is not installed; see: apt-get install iproute2"
    name = f"edge-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces take root with CAP_NET_ADMIN and CAP_SYS_ADMIN: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class NoNode(Exception):
    """Ray itself gave a node up, which is a matter of the machine: why is in it."""


class TwoNodes:
    """A cluster of a head and a worker node, a core each; programs run beside the head.

    Raises:
        NoNode: one of them does not come up.
    """

    def __enter__(self) -> TwoNodes:
        number = os.getpid()
        self.head, self.worker = f"edge-head-{number}", f"edge-worker-{number}"
        self._inner, self._outer = f"eh{number}", f"ew{number}"
        self._stack = ExitStack()
        # Paths of sockets are short: at most 107 characters.
        self._temp = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="er", dir="/tmp")))
        with ExitStack() as failed:
            failed.callback(self._stack.close)
            self._join()
            self._start_nodes()
            failed.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _join(self) -> None:
        for name in (self.head, self.worker):
            _run("ip", "netns", "add", name)
            self._stack.callback(_run, "ip", "netns", "del", name)
        _run(
            "ip",
            "link",
            "add",
            self._inner,
            "netns",
            self.head,
            "type",
            "veth",
            "peer",
            self._outer,
            "netns",
            self.worker,
        )
        for name, device, address in ((self.head, self._inner, HEAD_IP), (self.worker, self._outer, WORKER_IP)):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "link", "set", device, "up")

    def _start_nodes(self) -> None:
        (self._temp / "ray").mkdir()
        (self._temp / "other").mkdir()
        common = ["--num-cpus=1", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats", "--block"]
        common += [f"--{name}-port={port}" for name, port in PORTS.items()]
        head = ["--head", f"--node-ip-address={HEAD_IP}", f"--port={PORT}", "--include-dashboard=false"]
        self._start(self.head, "true", [*head, f"--temp-dir={self._temp}/ray", *common])
        # A node keeps its address in the folder for temporary files; two machines have one each.
        own_folder = f"mount --bind {self._temp}/other {self._temp}/ray"
        self._start(self.worker, own_folder, [f"--address={HEAD_IP}:{PORT}", f"--node-ip-address={WORKER_IP}", *common])

    def _start(self, namespace: str, first: str, words: list[str]) -> None:
        """A node, once it is up."""
        ray = str(Path(sys.executable).with_name("ray"))
        command = ["ip", "netns", "exec", namespace, "sh", "-c", f'{first} && exec "$@"', "sh", ray, "start", *words]
        path = self._temp / f"{namespace}.log"
        for _ in range(ATTEMPTS):
            with path.open("w") as log:
                process = subprocess.Popen(
                    command, env={**os.environ, **SETTINGS}, stdout=log, stderr=log, start_new_session=True
                )
            self._stack.callback(_end, process)
            while process.poll() is None:
                if "Ray runtime started" in path.read_text():
                    return
                time.sleep(0.1)
        text = path.read_text()
        if "timed out during startup" in text:
            raise NoNode(text.strip().splitlines()[-1])
        raise AssertionError(text)

    def run(
        self, command: list[str], environment: dict[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """A program beside the head; what it and the nodes said, where it fails."""
        whole = ["ip", "netns", "exec", self.head, *command]
        variables = {**os.environ, **SETTINGS, **environment, "EDGE_TEST_CUT": f"{self.worker} {self._outer}"}
        return subprocess.run(whole, env=variables, capture_output=True, text=True, timeout=timeout_s)

    def said(self) -> str:
        """What the nodes printed."""
        return "\n".join(path.read_text() for path in self._temp.glob("*.log"))


def cut_the_link() -> None:
    """For the program that `TwoNodes.run` runs: the worker node is there, and nothing reaches it any more."""
    namespace, device = os.environ["EDGE_TEST_CUT"].split()
    _run("ip", "-n", namespace, "link", "set", device, "down")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its node's processes end with it: `ray start --block` has a process that sees to that."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
