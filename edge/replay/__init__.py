"""Replays: a recording on its own clock, its masks bit for bit, and where two engines disagree. docs/replay.md."""
