"""What the checks of each container raise."""

from __future__ import annotations


class NotWhole(Exception):
    """Where a file's structure breaks, in words."""
