"""How an output is, in the same words for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

OutputState = Literal["ok", "degraded", "lost", "hung", "stopped"]
OUTPUT_STATES: tuple[OutputState, ...] = get_args(OutputState)


class HealthReport(Protocol):
    """What a sink says of itself, at one moment, in the words of `OutputHealth`."""

    @property
    def state(self) -> OutputState: ...
    @property
    def reason(self) -> str: ...
    @property
    def totals(self) -> Mapping[str, int]: ...
    @property
    def levels(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class OutputHealth:
    """How an output is at one moment.

    Attributes:
        state, reason: "hung" is in a single write for too long; the others are the sink's own words.
        totals: what it counts since its start, by name; names in bytes or frames say so.
        levels: what it has now, by name.
    """

    state: OutputState = "ok"
    reason: str = ""
    totals: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, report: HealthReport) -> OutputHealth:
        """What the sink says of itself."""
        return cls(report.state, report.reason, report.totals, report.levels)

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state
