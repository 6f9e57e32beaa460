"""Capture in a process of its own, which may hang or die without taking the rest along.

`child` is what runs there; `edge.sources.supervised` starts it, listens, and kills it. It imports neither numpy nor
OpenCV unless a device needs them, so that a new process is soon at work.
"""
