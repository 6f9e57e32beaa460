"""A replay as fast as the machine is: every frame through the loop that drives, and a name for what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.errors import SourceDamaged
from edge.pipeline import Summary, run
from edge.prediction import Prediction
from edge.replay.digest import MaskDigest
from edge.replay.identity import library_versions, machine_kind
from edge.replay.session import Session
from edge.replay.strip import Strip
from edge.replay.survey import Survey
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
        strip: where the first two lanes disagree; None where nothing was compared.
    """

    summary: Summary
    expected: int
    sha256: str
    libraries: str
    machine: str
    strip: Strip | None

    def as_json(self) -> dict[str, object]:
        """For a file; the disagreement of frame i is at place i, null where it is not known."""
        summary, strip = self.summary, self.strip
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
        if strip is not None:
            found = [strip.at(index) for index in range(strip.frame_count)]
            figures["groups"] = strip.comparer.groups
            figures["differing"] = [None if one is None else round(one.share, 6) for one in found]
            figures["iou"] = [None if one is None else one.iou for one in found]
        return figures


def replay_fast(
    session: Session,
    sinks: Sequence[Sink],
    stages: Stages,
    *,
    on_result: Callable[[Prediction], None] = lambda result: None,
    on_compared: Callable[[Strip], None] = lambda strip: None,
) -> Replay:
    """Take every frame through the first lane's engine into the sinks; then compare the first two lanes.

    What is wrong with the recording is in the summary, behind the frames that could be read.

    Raises:
        EdgeError: the comparison ended early.
    """
    digest, engine, source = MaskDigest(), session.engine, session.source
    summary = run(Ahead(source), Segmenter(engine), [*sinks, digest], stages, on_result=on_result)
    strip = session.strip if not summary.interrupted else None
    if strip is not None:
        with Survey(source.name, session.lanes, strip) as survey:
            survey.wait(lambda: on_compared(strip))
        summary.failure = summary.failure or _incomparable(survey, strip, source.name)
    return Replay(summary, source.frame_count, digest.hexdigest(), library_versions(engine), machine_kind(), strip)


def _incomparable(survey: Survey, strip: Strip, name: str) -> SourceDamaged | None:
    """Why frames are missing from the comparison; None where the recording is in order."""
    if survey.damaged:
        counts = f"{survey.damaged} of {strip.frame_count} frames could not be compared"
        return SourceDamaged(f"{counts}, first: {survey.first_damage}")
    if strip.frame_count and not strip.known:
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
    if replay.strip is not None:
        lines += ["", disagreement_text(replay.strip, *(lane.name for lane in session.lanes[:2]))]
    return "\n".join(lines)


def disagreement_text(strip: Strip, first: str, second: str) -> str:
    """The mean over all frames, and the worst ones."""
    groups, mean = strip.comparer.groups, strip.mean()
    if mean is None:
        return f"{first} and {second}: no frame could be compared"
    worst = [(str(index), found) for index in strip.worst(1, WORST) if (found := strip.at(index)) is not None]
    rows = [
        (name, f"{found.share:.3%}", *("-" if iou is None else f"{iou:.4f}" for iou in found.iou))
        for name, found in [("mean", mean), *worst]
    ]
    head = f"{first} and {second}: {strip.known} of {strip.frame_count} frames compared, the worst ones"
    return f"{head}\n{table(('frame', 'differing', *(f'IoU {group}' for group in groups)), rows)}"
