"""MP4 (ISO/IEC 14496-12): fragments that join and hold what they announce; times that agree with the media's length."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from edge.sources.wholeness.fault import NotWhole

_TOP_BOXES = {*(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid")}
_TOP_BOXES |= {b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"udta", b"pdin", b"imda"}
_CUT_OFF = "broken off within the last one"
_NOTHING_SHOWN = -1
_UNKNOWN_LENGTHS = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class _Box(NamedTuple):
    kind: bytes
    start: int  # of what it holds
    end: int


class _Video(NamedTuple):
    """The first video track by the file's header."""

    track: int
    samples: int  # in the header's own tables
    sample_bytes: int  # where a fragment does not say


def count_samples(file: BinaryIO, size: int) -> int:
    """How many samples of the video a file in fragments announces; 0 without fragments: FFmpeg counts the index then.

    Raises:
        NotWhole: a fragment is missing, or does not hold what it announces; or the times are not those of the media.
    """
    moov = next((box for box in itertools.islice(_boxes(file, 0, size), 4) if box.kind == b"moov"), None)
    if moov is not None and _first(file, moov, b"mvex"):
        return _samples_of_fragments(file, size, _video_of(file, moov))
    moov = moov or next((box for box in _boxes(file, 0, size) if box.kind == b"moov"), None)
    if moov is not None:
        _check_times(file, moov)
    return 0


# ----------------------------------------------------------------------------------------------------------- fragments


def _samples_of_fragments(file: BinaryIO, size: int, video: _Video) -> int:
    boxes = list(_boxes(file, 0, size))
    samples, next_number = video.samples, None
    announced = held = 0
    for box in boxes:
        if box.kind in (b"mdat", b"imda") and next_number is not None:
            held += box.end - box.start
        elif box.kind == b"moof":
            if held:
                _check_bytes(announced, held)
                announced = held = 0
            fragment = _fragment(_read(file, box), video)
            if next_number not in (None, fragment.number):
                raise NotWhole(f"{abs(fragment.number - next_number)} fragments missing")
            next_number = fragment.number + 1
            samples, announced = samples + fragment.samples, announced + fragment.bytes
    _check_bytes(announced, held)
    strange = {box.kind for box in boxes} - _TOP_BOXES
    if strange:
        raise NotWhole(f"no sense in {len(strange)} places")
    return samples


def _check_bytes(announced: int, held: int) -> None:
    """Some muxers pad; where far more lies there than is announced, a frame's announcement is lost."""
    if announced > held or held > announced + announced // 4:
        raise NotWhole(f"a fragment holds {held} bytes and announces {announced}")


class _Fragment(NamedTuple):
    number: int
    samples: int  # of the video
    bytes: int  # of all tracks


def _fragment(moof: bytes, video: _Video) -> _Fragment:
    number = samples = size = 0
    for kind, start, end in _inner(moof, 0, len(moof)):
        if kind == b"mfhd":
            (number,) = _unpack(">I", moof, start + 4)
        elif kind == b"traf":
            track, sizes = _track_run(moof, start, end, video)
            samples += np.count_nonzero(sizes) if track == video.track else 0
            size += int(sizes.sum())
    return _Fragment(number, samples, size)


def _track_run(moof: bytes, start: int, end: int, video: _Video) -> tuple[int, np.ndarray]:
    """A track's id and the sizes of its samples in this fragment (8.8.7, 8.8.8)."""
    track, default, runs = 0, 0, []
    for kind, at, until in _inner(moof, start, end):
        if kind == b"tfhd":
            flags, track = _unpack(">II", moof, at)
            default = video.sample_bytes if track == video.track else 0
            if flags & 0x10:
                before = 8 * (flags & 1) + 4 * (flags >> 1 & 1) + 4 * (flags >> 3 & 1)
                (default,) = _unpack(">I", moof, at + 8 + before)
        elif kind == b"trun":
            runs.append(_sizes(moof, at, until, default))
    return track, np.concatenate(runs) if runs else np.zeros(0, np.int64)


def _sizes(moof: bytes, at: int, end: int, default: int) -> np.ndarray:
    flags, count = _unpack(">II", moof, at)
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    table = at + 8 + 4 * (flags & 1) + 4 * (flags >> 2 & 1)
    if table + 4 * len(fields) * count > end:
        raise NotWhole(_CUT_OFF)
    if 0x200 not in fields:
        return np.full(min(count, 1 << 20), default)
    rows = np.frombuffer(moof, ">u4", count * len(fields), table).reshape(count, len(fields))
    return rows[:, fields.index(0x200)].astype(np.int64)


# -------------------------------------------------------------------------------------------------------------- header


def _video_of(file: BinaryIO, moov: _Box) -> _Video:
    """The first video track; a fragment whose track a damaged header does not give belongs to none, track 0."""
    for trak in _tracks(file, moov):
        tkhd, stsz = _first(file, trak, b"tkhd"), _first(file, trak, b"mdia", b"minf", b"stbl", b"stsz")
        if tkhd is None:
            continue
        head = _read(file, tkhd)
        (track,) = _unpack(">I", head, 20 if head[:1] == b"\x01" else 12)
        samples = _unpack(">I", _read(file, stsz, 12), 8)[0] if stsz else 0
        return _Video(track, samples, _sample_bytes(file, moov, track))
    return _Video(0, 0, 0)


def _tracks(file: BinaryIO, moov: _Box) -> Iterator[_Box]:
    """The video tracks."""
    for trak in _boxes(file, moov.start, moov.end):
        handler = _first(file, trak, b"mdia", b"hdlr") if trak.kind == b"trak" else None
        if handler is not None and _read(file, handler, 12)[8:12] == b"vide":
            yield trak


def _sample_bytes(file: BinaryIO, moov: _Box, track: int) -> int:
    mvex = _first(file, moov, b"mvex")
    for box in _boxes(file, mvex.start, mvex.end) if mvex else ():
        if box.kind == b"trex":
            _, its_track, _, _, sample_bytes = _unpack(">5I", _read(file, box), 0)
            if its_track == track:
                return sample_bytes
    return 0


def _check_times(file: BinaryIO, moov: _Box) -> None:
    """An edit list cuts by time, and damaged times look like a cut.

    Two that no writer makes: samples that last longer or shorter than their media does, and after the last frame
    that is shown half as much again. Who cuts without decoding copies what is shown and the frames before it.
    """
    mvhd, trak = _first(file, moov, b"mvhd"), next(_tracks(file, moov), None)
    paths = (b"mdia", b"mdhd"), (b"mdia", b"minf", b"stbl"), (b"edts", b"elst")
    mdhd, stbl, elst = (_first(file, trak, *path) if trak else None for path in paths)
    if not (mvhd and mdhd and stbl and elst):
        return
    stts = [box for box in _boxes(file, stbl.start, stbl.end) if box.kind == b"stts"]
    if len(stts) != 1:
        raise NotWhole(f"{len(stts)} tables of times")
    movie_hz, _ = _scale_and_length(_read(file, mvhd))
    media_hz, length = _scale_and_length(_read(file, mdhd))
    samples, lasts = _samples_and_length(_read(file, stts[0]))
    if not (movie_hz and media_hz and samples):
        return
    edits = [(start, round(duration / movie_hz * media_hz)) for start, duration in _edits(_read(file, elst))]
    shown, step = sum(duration for _, duration in edits), lasts / samples
    before = max(0, min((start for start, _ in edits), default=0))  # which FFmpeg leaves out of the media's length
    differs = length not in _UNKNOWN_LENGTHS and abs(lasts - length) > before + max(2 * step, length / 100)
    if differs and shown < lasts - step:
        raise NotWhole("times that make no sense")
    hidden = lasts - max((start + duration for start, duration in edits), default=lasts)
    if shown and hidden > max(shown / 2, step):
        raise NotWhole(f"the last {hidden / media_hz:.2f} s hidden by its edit list")


def _samples_and_length(stts: bytes) -> tuple[int, int]:
    """How many samples an `stts` is for, and how long they last together, in the media's ticks (8.6.1.2)."""
    runs = np.frombuffer(stts[8 : len(stts) // 8 * 8], ">u4").reshape(-1, 2).astype(np.int64)
    return int(runs[:, 0].sum()), int(runs.prod(axis=1).sum())


def _scale_and_length(head: bytes) -> tuple[int, int]:
    """Ticks per second and duration of an `mvhd` or `mdhd` (8.2.2, 8.4.2)."""
    return _unpack(">IQ", head, 20) if head[:1] == b"\x01" else _unpack(">II", head, 12)


def _edits(elst: bytes) -> list[tuple[int, int]]:
    """Where each edit of an `elst` starts, in the media's ticks, and how long it lasts, in the movie's (8.6.6)."""
    entry = struct.Struct(">Qqi" if elst[:1] == b"\x01" else ">Iii")
    rows = entry.iter_unpack(elst[8 : 8 + (len(elst) - 8) // entry.size * entry.size])
    return [(start, duration) for duration, start, _ in rows if start != _NOTHING_SHOWN]


# --------------------------------------------------------------------------------------------------------------- boxes


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    while start < end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or start + 8 > end:
            raise NotWhole(_CUT_OFF)
        size, kind = struct.unpack_from(">I4s", head)
        body = start + 8
        if size == 1 and len(head) == 16:
            (size,), body = struct.unpack_from(">Q", head, 8), start + 16
        size = size or end - start
        if not all(32 <= letter < 127 or letter == 0xA9 for letter in kind) or size < body - start:
            raise NotWhole(f"no sense at byte {start}")
        if start + size > end:
            raise NotWhole(_CUT_OFF)
        yield _Box(kind, body, start + size)
        start += size


def _inner(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """The boxes of one that is in memory. None of them may be without a size (4.2)."""
    while start < end:
        size, kind = _unpack(">I4s", data, start)
        if size < 8 or start + size > end:
            raise NotWhole("no sense in a fragment")
        yield _Box(kind, start + 8, start + size)
        start += size


def _first(file: BinaryIO, box: _Box, *path: bytes) -> _Box | None:
    found: _Box | None = box
    for kind in path:
        inner = _boxes(file, found.start, found.end) if found else ()
        found = next((box for box in inner if box.kind == kind), None)
    return found


def _read(file: BinaryIO, box: _Box, most: int | None = None) -> bytes:
    file.seek(box.start)
    return file.read(box.end - box.start if most is None else most)


def _unpack(layout: str, data: bytes, at: int) -> tuple:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error:
        raise NotWhole(_CUT_OFF) from None
