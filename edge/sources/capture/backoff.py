"""How long to wait before trying again."""

from __future__ import annotations

import random

FIRST_S, LONGEST_S = 0.05, 0.3


class Backoff:
    """Waits that double up to 0.3 s, each shortened by chance so that several cameras do not try in step.

    They stay short: one more attempt costs a millisecond, and a camera that is back should be in use within a second.
    """

    def __init__(self) -> None:
        self._wait_s = FIRST_S

    def next_s(self) -> float:
        """How long to wait before the next attempt, in s; chance keeps cameras from coming back all at once."""
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, LONGEST_S)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It went well: the next wait is the shortest again."""
        self._wait_s = FIRST_S
