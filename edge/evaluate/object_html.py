"""Objects in the HTML report: figures, each true track over time in the colours of the ids that it was given, and the
moments at which most went wrong.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.contours import draw_bgr, track_rgb
from edge.evaluate import overlaps as o
from edge.evaluate.object_figures import (
    OBJECT_COLUMNS,
    TRACK_COLUMNS,
    class_rows,
    counted_groups,
    group_numbers,
    matched,
    track_rows,
)
from edge.evaluate.objects import moments_of
from edge.evaluate.overlaps import TrueObjects
from edge.evaluate.page import html_table, section
from edge.evaluate.records import Records
from edge.evaluate.reprocess import Seen
from edge.evaluate.run import DriveResult, Worker
from edge.evaluate.tracks import Moment, follow
from edge.evaluate.worst import WIDTH_PX, Place, data_uri, edges_of, thinned, visits
from edge.frame import Image

DRIVES, ROWS, COUNT = 10, 24, 6  # drives with a strip, tracks in each, images of moments
_WIDTH, _LEFT, _ROW_PX = 1060, 130, 16
_OF_SWITCH = 3  # a moment's badness: so many objects missed or false


def object_sections(
    report: Mapping[str, Any], results: Sequence[DriveResult], worker: Worker, table: ClassTable
) -> str:
    """HTML; "" where the objects of no frame are known.

    Raises:
        SourceError, DataError: a drive or its labels are gone since they were measured.
    """
    figures = report.get("objects")
    if not figures:
        return ""
    histories = [_History.of(result, table) for result in results if result.measured is not None]
    histories = [history for history in histories if history.moments]
    return _figures(figures) + _strips(histories[:DRIVES]) + _worst(histories, worker, table)


def _figures(figures: Mapping[str, Any]) -> str:
    tables = [
        html_table(("", *columns), [(escape(name), *cells) for name, *cells in rows])
        for columns, rows in ((OBJECT_COLUMNS, class_rows(figures)), (TRACK_COLUMNS, track_rows(figures)))
        if rows
    ]
    return section("Objects", "".join(tables), f"{figures['frames']} frames whose objects are known.") if tables else ""


@dataclass(frozen=True)
class _History:
    """The tracks of a drive's groups: what happened in each frame."""

    result: DriveResult
    moments: dict[str, list[Moment]]

    @classmethod
    def of(cls, result: DriveResult, table: ClassTable) -> _History:
        drive = matched(_records(result), group_numbers(table))
        moments = {group: moments_of(drive, table.ids(group)) for group in counted_groups(table)}
        return cls(result, {group: own for group, own in moments.items() if own})

    def mistakes(self) -> dict[int, Counter[str]]:
        """Of each frame's index: id switches, objects missed, and objects that are not there."""
        found: dict[int, Counter[str]] = {}
        for moments in self.moments.values():
            pairs, switches = follow(moments)
            for moment, pair in zip(moments, pairs, strict=True):
                own = found.setdefault(moment.frame, Counter())
                own["missed"] += len(moment.truths) - len(pair)
                own["not there"] += len(moment.found) - len(pair)
            for switch in switches:
                found[switch.frame]["id switches"] += 1
        return found

    def places(self) -> Iterator[Place]:
        """Every frame in which something is wrong, and how bad it is."""
        row_of = {int(index): row for row, index in enumerate(_records(self.result).index)}
        for frame, counts in self.mistakes().items():
            score = counts.total() + (_OF_SWITCH - 1) * counts["id switches"]
            if score:
                yield Place(self.result, row_of[frame], score)


def _records(result: DriveResult) -> Records:
    assert result.measured is not None
    return result.measured.records


# ----------------------------------------------------------------------------------------------------- tracks over time


def _strips(histories: Sequence[_History]) -> str:
    note = (
        "A row for each true track, the longest ones; a colour for each id that it was given, light where missed."
        " Point at a bar for its id."
    )
    return section("Tracks over time", "".join(map(_strip, histories)), note) if histories else ""


def _strip(history: _History) -> str:
    frames = _records(history.result).index
    first, last = int(frames[0]), int(frames[-1]) + 1
    lives = [
        (f"{group} {track}", life)
        for group, moments in history.moments.items()
        for track, life in _lives(moments).items()
    ]
    lives = sorted(lives, key=lambda one: (-len(one[1]), one[0]))[:ROWS]
    lives.sort(key=lambda one: one[1][0][0])
    scale = (_WIDTH - _LEFT) / max(1, last - first)
    rows = [
        f'<text x="0" y="{12 + place * _ROW_PX}">{escape(name)}</text>'
        + "".join(_bar(begin - first, end - first, found, scale, place) for begin, end, found in _runs(life))
        for place, (name, life) in enumerate(lives)
    ]
    svg = f'<svg viewBox="0 0 {_WIDTH} {4 + _ROW_PX * len(lives)}" width="100%">{"".join(rows)}</svg>'
    return f"<h3>{escape(history.result.drive.name)}</h3>{svg}"


def _lives(moments: Sequence[Moment]) -> dict[int, list[tuple[int, int]]]:
    """Of each true track: the frames in which it is there, and the id that it was given, 0 where it was missed."""
    lives: dict[int, list[tuple[int, int]]] = {}
    for moment, pair in zip(moments, follow(moments)[0], strict=True):
        found = dict(pair.tolist())
        for truth in moment.truths.tolist():
            lives.setdefault(truth, []).append((moment.frame, found.get(truth, 0)))
    return lives


def _runs(life: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """First frame, the one behind the last, and the id of each piece with one id."""
    begin, (before, found) = life[0][0], life[0]
    for frame, now in life[1:]:
        if now != found or frame != before + 1:
            yield begin, before + 1, found
            begin, found = frame, now
        before = frame
    yield begin, before + 1, found


def _bar(begin: int, end: int, found: int, scale: float, place: int) -> str:
    colour = 'class="track"' if not found else 'fill="#{:02x}{:02x}{:02x}"'.format(*track_rgb(found))
    box = f'x="{_LEFT + begin * scale:.1f}" y="{4 + place * _ROW_PX}" width="{(end - begin) * scale:.1f}" height="9"'
    words = f"id {found}" if found else "missed"
    return f"<rect {colour} {box}><title>{words}, {end - begin} frames from {begin}</title></rect>"


# ------------------------------------------------------------------------------------------------------- worst moments


def _worst(histories: Sequence[_History], worker: Worker, table: ClassTable) -> str:
    places = [place for history in histories for place in history.places()]
    places = thinned(sorted(places, key=lambda place: -place.score), COUNT)
    if not places:
        return ""
    words = {id(history.result): history.mistakes() for history in histories}
    figures = {
        places.index(place): _figure(place, seen, words[id(place.result)][place.index])
        for place, seen in visits(places, worker, table)
    }
    body = "".join(figures[number] for number in sorted(figures))
    note = "Left: objects found, with their ids. Right: those that are there; dark ones do not count."
    return section("Worst moments of tracks", f'<div class="shots">{body}</div>', note)


def _figure(place: Place, seen: Seen, mistakes: Mapping[str, int]) -> str:
    media_ns = int(place.records.media_ns[place.row])
    when = f", {media_ns / 1e9:.2f} s" if media_ns >= 0 else ""
    words = ", ".join(f"{count} {name}" for name, count in mistakes.items() if count)
    left, right = (data_uri(image) for image in _images(place, seen))
    return (
        f'<figure><div><img alt="found" src="{left}"><img alt="true" src="{right}"></div><figcaption><b>{words}</b> ·'
        f" {escape(place.result.drive.name)}, frame {place.index}{when}</figcaption></figure>"
    )


def _images(place: Place, seen: Seen) -> tuple[Image, Image]:
    """uint8 BGR: the frame with the objects found, and with the true ones."""
    frame = seen.result.frame
    size_wh = (WIDTH_PX, max(1, round(frame.size_wh[1] * WIDTH_PX / frame.size_wh[0])))
    found = cv2.resize(frame.image, size_wh, interpolation=cv2.INTER_AREA)
    true = found.copy()
    ids = {int(row[o.NUMBER]): int(row[o.TRACK]) for row in _rows_of(place)}
    named = [dataclasses.replace(one, track_id=ids.get(one.id) or None) for one in seen.result.instances or ()]
    draw_bgr(found, dataclasses.replace(seen.result, instances=tuple(named)).marks(size_wh))
    if seen.objects is not None:
        _draw_true(true, seen.objects, frame.size_wh)
    return found, true


def _rows_of(place: Place) -> Any:
    table = place.records.found
    return table[table[:, o.FRAME] == place.index]


def _draw_true(image: Image, truth: TrueObjects, source_wh: tuple[int, int]) -> None:
    """Into the image, in place: each object with a track in the colour of its track."""
    scale = np.array(image.shape[1::-1]) / source_wh
    for place, (number, _, track, counts) in enumerate(truth.rows.tolist()):
        colour = tuple(part // (1 if counts else 3) for part in track_rgb(track)[::-1])
        if truth.boxes is not None:
            left, top, width, height = truth.boxes[place]
            corners = np.rint(np.array([(left, top), (left + width, top + height)]) * scale).astype(int)
            cv2.rectangle(image, corners[0].tolist(), corners[1].tolist(), colour, 1)
        elif truth.ids is not None and track:
            mask = (truth.ids == number).view(np.uint8)
            image[edges_of(cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT))] = colour
