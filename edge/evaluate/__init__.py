"""Recorded drives: how right, how steady and how fast an engine is, and which frames to look at."""

from edge.evaluate.score import Labelled, evaluate, labelled_results

__all__ = ["Labelled", "evaluate", "labelled_results"]
