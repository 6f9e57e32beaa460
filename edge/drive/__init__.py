"""Recorded drives: the MCAP format they have, written and read. docs/drives.md describes it."""
