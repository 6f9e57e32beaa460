"""A real systemd as PID 1, in a container over this machine's own files: nothing it writes reaches them."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
TARGET = "edge-test.target"
CONTROLLERS = ("memory", "pids", "cpu", "devices")
# Nothing else that this machine has installed is started.
_TARGET_UNIT = f"[Unit]\nDescription={TARGET}\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
# The mounts are seen by nobody else, and gone with the last process that sees them. nspawn refuses "/" itself.
_START = 'mount --make-rprivate / && mount --bind / "$1" && shift && exec systemd-nspawn "$@"'

State = dict[str, str]


@functools.cache
def why_no_container() -> str:
    """Why no container can be started here; "" where one can."""
    if os.geteuid() != 0:
        return "a container takes root"
    for program, package in (("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} is not installed; see: apt-get install {package}"
    return ""


class NoContainer(Exception):
    """It does not come up; why is in it."""


class Container:
    """Runs commands beside its systemd. The checkout is at /opt/checkout, this Python at /opt/python, its packages at
    /opt/site: where a service that may not look into /root and /home finds them.
    """

    def __init__(self) -> None:
        """Boots, which takes a second.

        Raises:
            NoContainer: it does not come up.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="edge-test-", dir="/run"))
        root, target = self._folder / "root", self._folder / TARGET
        root.mkdir()
        target.write_text(_TARGET_UNIT)
        self._log = (self._folder / "log.txt").open("w")
        self._groups = _own_groups(self._folder.name)
        binds = {sys.base_prefix: "/opt/python", site.getsitepackages()[0]: "/opt/site"}
        words = ["sh", "-c", _START, "sh", str(root), "--quiet", "--register=no", "--keep-unit", "-M", "edge-test"]
        words += ["-D", str(root), "--volatile=overlay", f"--bind-ro={target}:/etc/systemd/system/{TARGET}"]
        words += [f"--bind-ro={here}:{there}" for here, there in binds.items()]
        words += [f"--overlay={CHECKOUT}::/opt/checkout", "--console=pipe", "-b"]
        words += [f"systemd.unit={TARGET}", "systemd.show_status=0"]
        self._process = subprocess.Popen(
            ["unshare", "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=self._join_groups,
            start_new_session=True,
        )
        self._leader = 0
        try:
            self._boot()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _join_groups(self) -> None:
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def _boot(self) -> None:
        self._await(lambda: self._find_leader() != 0, "no systemd runs")
        for controller in CONTROLLERS:  # nspawn leaves these read-only, and MemoryMax= would silently do nothing
            self.run("mount", "-o", "remount,bind,rw", f"/sys/fs/cgroup/{controller}", check=False)
        self._await(lambda: self.run("systemctl", "is-active", TARGET, check=False).strip() == "active", "no target")
        self.run("systemctl", "daemon-reexec")  # it looks for controllers when it starts

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        until_s = time.monotonic() + 30
        while not condition():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise NoContainer(f"{otherwise}: {self._log_path.read_text().strip()}")
            time.sleep(0.02)

    @property
    def _log_path(self) -> Path:
        return self._folder / "log.txt"

    def _find_leader(self) -> int:
        """The PID of its systemd as seen from here; 0 while there is none."""
        with contextlib.suppress(OSError):
            for pid in _children(self._process.pid):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    self._leader = pid
        return self._leader

    def run(self, *words: str, check: bool = True, timeout_s: float = 60) -> str:
        """What a command in the container says, standard output and error together.

        Raises:
            AssertionError: it fails, and `check` says that this matters.
        """
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run(
            [*enter, *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: exit code {done.returncode}: {done.stdout}"
        return done.stdout

    def sh(self, script: str, check: bool = True, timeout_s: float = 60) -> str:
        return self.run("sh", "-c", script, check=check, timeout_s=timeout_s)

    def write(self, path: str, text: str) -> None:
        """Make or replace a file; its folder is made, too."""
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    def show(self, unit: str) -> State:
        """All properties of a unit, by name."""
        return dict(line.split("=", 1) for line in self.run("systemctl", "show", unit).splitlines() if "=" in line)

    def journal(self, unit: str, since_s: float = 0.0) -> str:
        """The unit's lines since a time of the wall clock."""
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat", f"--since=@{since_s:.6f}")

    def await_state(self, unit: str, condition: Callable[[State], bool], within_s: float = 90) -> State:
        """The unit's properties once they are as wanted.

        Raises:
            AssertionError: they were not in that time; the journal is in it.
        """
        until_s = time.monotonic() + within_s
        while not condition(state := self.show(unit)):
            facts = {name: state.get(name) for name in ("ActiveState", "SubState", "Result", "NRestarts", "StatusText")}
            assert time.monotonic() < until_s, f"{unit}: {facts}\n{self.journal(unit)[-4000:]}"
            time.sleep(0.03)
        return state

    def close(self) -> None:
        """Power off, and leave nothing behind."""
        if self._leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGRTMIN + 4)  # "power off" to a systemd
        try:
            self._process.wait(10 if self._leader else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        shutil.rmtree(self._folder)


def _own_groups(name: str) -> list[Path]:
    """A new group for it in each hierarchy of cgroup v1 that can limit something; v2 alone has none."""
    groups = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in CONTROLLERS:
            group = Path(f"/sys/fs/cgroup/{controllers}{path.rstrip('/')}/{name}")
            group.mkdir()
            groups.append(group)
    return groups


def _children(pid: int) -> list[int]:
    """The processes below one, near and far."""
    near = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return near + [child for each in near for child in _children(each)]
