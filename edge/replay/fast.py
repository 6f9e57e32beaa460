"""A replay as fast as the machine is: every frame through the loop that drives, and a name for what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.backends.cpu import cpu_kind
from edge.errors import SourceDamaged
from edge.pipeline import Summary, run
from edge.prediction import Prediction
from edge.replay.background import BackgroundComparison
from edge.replay.digest import MaskDigest
from edge.replay.identity import library_versions
from edge.replay.session import Session
from edge.replay.timeline import DisagreementTimeline
from edge.report import summary_text, table
from edge.segmenter import Segmenter
from edge.sinks.sink import Sink
from edge.sources.flow import Ahead
from edge.timing import Stages

WORST = 10


@dataclass(frozen=True)
class Replay:
    """What a replay came to.

    Attributes:
        summary: of the run; its `failure` says what was wrong with the recording.
        expected: frames that the recording should hold.
        sha256: names the masks; see `MaskDigest`. Equal for the same recording, engine, libraries and machine kind.
        libraries, machine: what else the masks depend on.
        timeline: where the first two tracks disagree; None where nothing was compared.
    """

    summary: Summary
    expected: int
    sha256: str
    libraries: str
    machine: str
    timeline: DisagreementTimeline | None

    def as_json(self) -> dict[str, object]:
        """For a file; the disagreement of frame i is at place i, null where it is not known."""
        summary, timeline = self.summary, self.timeline
        figures: dict[str, object] = {
            "source": summary.source,
            "engine": summary.engine,
            "frames_decoded": summary.frames_out,
            "frames_expected": self.expected,
            "sha256": self.sha256,
            "libraries": self.libraries,
            "machine": self.machine,
            "failure": str(summary.failure) if summary.failure else None,
        }
        if timeline is not None:
            found = [timeline.at(index) for index in range(timeline.frame_count)]
            figures["groups"] = timeline.comparer.groups
            figures["differing"] = [None if one is None else round(one.share, 6) for one in found]
            figures["iou"] = [None if one is None else one.iou for one in found]
        return figures


def replay_fast(
    session: Session,
    sinks: Sequence[Sink],
    stages: Stages,
    *,
    on_result: Callable[[Prediction], None] = lambda result: None,
    on_compared: Callable[[DisagreementTimeline], None] = lambda timeline: None,
) -> Replay:
    """Take every frame through the first track's engine into the sinks; then compare the first two tracks.

    What is wrong with the recording is in the summary, behind the frames that could be read.

    Raises:
        EdgeError: the comparison ended early.
    """
    digest, engine, source = MaskDigest(), session.engine, session.source
    summary = run(Ahead(source), Segmenter(engine), [*sinks, digest], stages, on_result=on_result)
    timeline = session.timeline if not summary.interrupted else None
    if timeline is not None:
        with BackgroundComparison(source.name, session.tracks, timeline) as comparison:
            comparison.wait(lambda: on_compared(timeline))
        summary.failure = summary.failure or _incomparable(comparison, timeline, source.name)
    return Replay(summary, source.frame_count, digest.hexdigest(), library_versions(engine), cpu_kind(), timeline)


def _incomparable(comparison: BackgroundComparison, timeline: DisagreementTimeline, name: str) -> SourceDamaged | None:
    """Why frames are missing from the comparison; None where the recording is in order."""
    if comparison.damaged:
        counts = f"{comparison.damaged} of {timeline.frame_count} frames could not be compared"
        return SourceDamaged(f"{counts}, first: {comparison.first_damage}")
    if timeline.frame_count and not timeline.known:
        return SourceDamaged(f"{name}: no frame could be compared: none has masks of both")
    return None


def replay_text(replay: Replay, session: Session) -> str:
    """What a person reads."""
    lines = [
        summary_text(replay.summary),
        "",
        f"decoded  {replay.summary.frames_out} of {replay.expected} frames",
        f"masks    sha256 {replay.sha256}",
        f"made by  {replay.libraries}",
        f"machine  {replay.machine}",
    ]
    if replay.timeline is not None:
        lines += ["", disagreement_text(replay.timeline, *(track.name for track in session.tracks[:2]))]
    return "\n".join(lines)


def disagreement_text(timeline: DisagreementTimeline, first: str, second: str) -> str:
    """The mean over all frames, and the worst ones."""
    groups, mean = timeline.comparer.groups, timeline.mean()
    if mean is None:
        return f"{first} and {second}: no frame could be compared"
    worst = [(str(index), found) for index in timeline.worst(1, WORST) if (found := timeline.at(index)) is not None]
    rows = [
        (name, f"{found.share:.3%}", *("-" if iou is None else f"{iou:.4f}" for iou in found.iou))
        for name, found in [("mean", mean), *worst]
    ]
    head = f"{first} and {second}: {timeline.known} of {timeline.frame_count} frames compared, the worst ones"
    return f"{head}\n{table(('frame', 'differing', *(f'IoU {group}' for group in groups)), rows)}"
