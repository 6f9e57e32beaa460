"""Recorded drives: how right, how steady and how fast an engine is, and which frames to look at."""

from edge.evaluate.labels import UNLABELLED, Labels, make_confusion
from edge.evaluate.score import Score, evaluate, plain, score_text

__all__ = ["UNLABELLED", "Labels", "Score", "evaluate", "make_confusion", "plain", "score_text"]
