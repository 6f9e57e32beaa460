"""A state that begins and ends by a figure over time, and not by a single odd figure."""

from __future__ import annotations

from typing import Protocol

from edge.errors import ConfigError


class Bounds(Protocol):
    """The figure that begins the state, the one that ends it, and for how long in seconds it must hold for either."""

    @property
    def begin(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def hold_s(self) -> float: ...


class Hysteresis:
    """Whether an event is on, from a figure over time."""

    def __init__(self, limits: Bounds) -> None:
        """Raises:
        ConfigError: the event would end where it begins.
        """
        if limits.end > limits.begin:
            raise ConfigError(f"events: end ({limits.end:g}) must not be above begin ({limits.begin:g})")
        self._limits = limits
        self.active = False
        self._since_ns: int | None = None  # the figure is on the other side since

    def update(self, value: float, now_ns: int) -> bool:
        """Whether this figure begins or ends the event."""
        crosses = value <= self._limits.end if self.active else value >= self._limits.begin
        if not crosses:
            self._since_ns = None
            return False
        return self._hold(now_ns)

    def _hold(self, now_ns: int) -> bool:
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < self._limits.hold_s * 1e9:
            return False
        self.active, self._since_ns = not self.active, None
        return True
