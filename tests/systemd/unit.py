"""The service as the installer leaves it, but for what lies elsewhere in a container; and what befalls it."""

from __future__ import annotations

import time
from collections.abc import Callable

from container import Container, State

INSTALL = (
    "cd /opt/checkout && PYTHON=/opt/python/bin/python3 PYTHONPATH=/opt/site"
    # The packages are there already, and no index may be.
    " PIP_NO_INDEX=1 PIP_NO_DEPS=1 PIP_NO_BUILD_ISOLATION=0 systemd/install.sh"
)
FAULTY = "/opt/edge/bin/python /opt/checkout/tests/systemd/faulty.py serve -c /etc/edge/edge.yaml"
# Half a second for each look at it is too much for tests; a busy machine needs some patience all the same.
WATCHDOG_S = 2.0
ELSEWHERE = "Environment=PYTHONPATH=/opt/site LD_LIBRARY_PATH=/opt/python/lib"


class Unit:
    """A service in the container, whose stages can be made to hang: see faulty.py.

    `begin` starts it under a config; it has the state in which it was left where nothing changed.
    """

    def __init__(
        self, container: Container, name: str = "edge", config: str = "edge.yaml", program: str | None = FAULTY
    ) -> None:
        """`program` is run in place of the unit's own."""
        self.container, self.name = container, name
        self._config, self._program = f"/etc/edge/{config}", program
        self._set: tuple[str, str] = ("", "")
        self._since_s = time.time()

    def begin(self, config: str, more: str = "", wait: bool = True) -> State:
        """Have it run with this config and these lines more in its [Service]; ready, where that is waited for."""
        self._since_s = time.time()
        if self._set != (config, more) or self.show()["ActiveState"] != "active":
            self._set = config, more
            program = ["ExecStart=", f"ExecStart={self._program}"] if self._program else []
            lines = [f"WatchdogSec={WATCHDOG_S:g}", ELSEWHERE, *program, more]
            self.container.write(
                f"/etc/systemd/system/{self.name}.service.d/test.conf", "\n".join(["[Service]", *lines, ""])
            )
            self.container.write(self._config, config)
            # Not restart --no-block: until systemd comes to it, the state to be seen is that of the process before.
            self.container.sh(
                f"systemctl daemon-reload; systemctl stop {self.name}; systemctl reset-failed;"
                f" systemctl start --no-block {self.name}"
            )
        return self.await_state(lambda state: state["ActiveState"] == "active") if wait else self.show()

    def write_config(self, config: str) -> None:
        """Change the file under a service that runs; the next `begin` starts it anew."""
        self._set = ("", "")
        self.container.write(self._config, config)

    def show(self) -> State:
        return self.container.show(self.name)

    def await_state(self, condition: Callable[[State], bool], within_s: float = 90) -> State:
        return self.container.await_state(self.name, condition, within_s)

    def journal(self) -> str:
        """What it and systemd said of it since it was begun."""
        return self.container.journal(self.name, self._since_s)

    def await_line(self, text: str, after: str = "", within_s: float = 90) -> None:
        """Wait until the journal has a text, somewhere behind another one.

        Raises:
            AssertionError: it did not have it in that time.
        """
        until_s = time.monotonic() + within_s
        while (journal := self.journal()).find(text, journal.find(after)) < 0 or after not in journal:
            assert time.monotonic() < until_s, f"{text!r} is not in: {journal}"
            time.sleep(0.05)

    def befall(self, order: str) -> float:
        """Run a shell command, in which $PID is the service, that makes systemd start it anew; seconds until READY."""
        before = self.show()
        start_ns = time.monotonic_ns()
        self.container.sh(f"PID={before['MainPID']}; {order}")
        after = self.await_state(
            lambda state: state["NRestarts"] != before["NRestarts"] and state["ActiveState"] == "active"
        )
        return int(after["ActiveEnterTimestampMonotonic"]) / 1e6 - start_ns / 1e9


def install(container: Container, options: str = "") -> str:
    """What the installer says."""
    return container.sh(f"{INSTALL} {options}", timeout_s=120)
