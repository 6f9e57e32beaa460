"""`edge doctor`: what on this machine helps or hinders edge, and what to type about it.

It only looks: nothing is changed, no camera streams, nothing is sent. What may crash or hang is asked in child
processes, all at once, so that a report takes a second or two and always comes.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge.doctor import access, libraries, machine
from edge.doctor.finding import Finding, Host
from edge.doctor.probe import probe_all

Check = Callable[[Host], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    libraries.check_default_engine,
    libraries.check_engines,
    libraries.check_python,
    machine.check_jetson,
    machine.check_processors,
    machine.check_memory,
    machine.check_governor,
    machine.check_heat,
    machine.check_time,
    libraries.check_driver,
    libraries.check_cuda_toolkit,
    libraries.check_tensorrt,
    libraries.check_pycuda,
    access.check_gpu_nodes,
    libraries.check_openvino,
    libraries.check_onnxruntime,
    libraries.check_opencv,
    libraries.check_av,
    access.check_cameras,
    access.check_cache,
)
LIMIT_S = 3.0  # for all checks together; a home directory whose server is gone never answers


@dataclass(frozen=True)
class Examination:
    """What was found on this machine, and whether the default engine can run here."""

    findings: Sequence[Finding]
    default_engine_runs: bool

    def as_json(self) -> dict[str, object]:
        """As JSON takes it."""
        rows = [dataclasses.asdict(finding) for finding in self.findings]
        return {"default_engine_runs": self.default_engine_runs, "findings": rows}

    def __str__(self) -> str:
        """For people."""
        return report_text(self.findings, self.default_engine_runs)


def doctor() -> Examination:
    """Look at all that edge needs on this machine."""
    host = Host(facts=probe_all())
    return Examination(check_all(host), libraries.default_engine_runs(host))


def check_all(host: Host | None = None, checks: Sequence[Check] = CHECKS, limit_s: float = LIMIT_S) -> list[Finding]:
    """What every check finds, in their order. A check that fails, or is not through within the limit, is a finding."""
    host = host or Host(facts=probe_all())
    deadline_s = time.monotonic() + limit_s
    running = [_Running(check, host) for check in checks]
    return [finding for check in running for finding in check.findings(deadline_s)]


class _Running(threading.Thread):
    """A check under way. The interpreter does not wait for its end: it may hang in a file that does not answer."""

    def __init__(self, check: Check, host: Host) -> None:
        super().__init__(name=check.__name__, daemon=True)
        self._check, self._host = check, host
        self._findings: list[Finding] | None = None
        self.start()

    def run(self) -> None:
        try:
            self._findings = list(self._check(self._host))
        except Exception as error:  # noqa: BLE001 one odd file of one odd machine must not cost the whole report
            self._findings = [self._failure(f"could not be looked at: {type(error).__name__}: {error}")]

    def findings(self, deadline_s: float) -> list[Finding]:
        self.join(max(0.0, deadline_s - time.monotonic()))
        return self._findings if self._findings is not None else [self._failure("no answer in time")]

    def _failure(self, found: str) -> Finding:
        return Finding(self.name.removeprefix("check_").replace("_", " "), found, "problem", "sudo dmesg | tail")


def report_text(findings: Sequence[Finding], runs: bool) -> str:
    """A line per finding, what to type below it, and the verdict."""
    width = max((len(finding.about) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level:<7}  {finding.about:<{width}}  {finding.found}")
        if finding.fix:
            lines.append(f"{'':<7}  {'':<{width}}  → {finding.fix}")
    problems, notes = (sum(finding.level == level for finding in findings) for level in ("problem", "note"))
    slow = any(finding.about == "default engine" and finding.level == "note" for finding in findings) and not runs
    verdict = "The default engine can run here" if runs else "The default engine cannot run here"
    verdict = "Whether the default engine can run here is not known" if slow else verdict
    return "\n".join([*lines, "", f"{verdict}. {problems} problem(s), {notes} note(s)."])
