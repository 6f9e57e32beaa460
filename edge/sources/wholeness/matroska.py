"""Matroska (RFC 9559): elements that join, and blocks of tracks that the file has."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from edge.sources.wholeness.fault import NotWhole

_SEGMENT, _TRACKS, _CLUSTER, _VOID, _CRC = 0x18538067, 0x1654AE6B, 0x1F43B675, 0xEC, 0xBF
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_TIMESTAMP, _PREVIOUS_SIZE, _POSITION = 0xE7, 0xAB, 0xA7
_TRACK_ENTRY, _TRACK_NUMBER, _TRACK_TYPE, _VIDEO = 0xAE, 0xD7, 0x83, 1
_TOP = {0x1A45DFA3, _SEGMENT, _VOID, _CRC}
# SeekHead, Info, Cues, Attachments, Chapters, Tags
_OF_SEGMENT = {0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
# SilentTracks, EncryptedBlock
_OF_CLUSTER = {0x5854, 0xAF}
_CHILDREN = {
    _SEGMENT: {_CLUSTER, _TRACKS, _VOID, _CRC} | _OF_SEGMENT,
    _CLUSTER: {_SIMPLE_BLOCK, _BLOCK_GROUP, _TIMESTAMP, _PREVIOUS_SIZE, _POSITION, _VOID, _CRC} | _OF_CLUSTER,
}
_NUMBERS, _NUMBER_BYTES = {_TIMESTAMP, _PREVIOUS_SIZE, _POSITION}, 8
_BLOCK_HEAD = 3  # time and flags, behind the track's number


class _Element(NamedTuple):
    kind: int
    start: int  # of what it holds
    end: int | None  # None: as long as it goes


def count_blocks(file: BinaryIO, size: int) -> int:
    """How many blocks there are of the first video track; 0 where the file names none.

    Raises:
        NotWhole: an element lies where its parent has no room for it, or a block is of a track that there is not.
    """
    parents: list[tuple[int | None, set[int]]] = [(size, _TOP)]
    at, tracks, blocks = 0, dict[int, int](), dict[int, int]()
    while at < size:
        element = _element(file, at)
        while at == parents[-1][0] or (parents[-1][0] is None and element.kind not in parents[-1][1]):
            parents.pop()
        if element.kind not in parents[-1][1]:
            raise NotWhole(f"no sense at byte {at}")
        if element.end is not None and element.end > min(end for end, _ in parents if end is not None):
            raise NotWhole("broken off within the last one")
        if element.kind in _NUMBERS and (element.end or size) - element.start > _NUMBER_BYTES:
            raise NotWhole(f"no sense at byte {at}")  # a block, by a bit
        if element.kind == _TRACKS:
            tracks |= _tracks(file, element)
        elif element.kind in (_SIMPLE_BLOCK, _BLOCK_GROUP) and (track := _track_of(file, element)) is not None:
            blocks[track] = blocks.get(track, 0) + 1
        if element.kind in _CHILDREN:
            parents.append((element.end, _CHILDREN[element.kind]))
        at = element.start if element.kind in _CHILDREN or element.end is None else element.end
    if strange := sum(count for track, count in blocks.items() if track not in tracks) if tracks else 0:
        raise NotWhole(f"{strange} of a track that it has not")
    video = next((track for track, kind in tracks.items() if kind == _VIDEO), None)
    return blocks.get(video, 0) if video is not None else 0


def _tracks(file: BinaryIO, tracks: _Element) -> dict[int, int]:
    """The kind of each track by its number."""
    kinds = {}
    for entry in _inner(file, tracks):
        if entry.kind == _TRACK_ENTRY:
            fields = {field.kind: field for field in _inner(file, entry)}
            if _TRACK_NUMBER in fields and _TRACK_TYPE in fields:
                kinds[_number(file, fields[_TRACK_NUMBER])] = _number(file, fields[_TRACK_TYPE])
    return kinds


def _track_of(file: BinaryIO, element: _Element) -> int | None:
    """Of which track a block is; None where it holds nothing that could be shown."""
    block = element
    if element.kind == _BLOCK_GROUP:
        block = next((inner for inner in _inner(file, element) if inner.kind == _BLOCK), None)
    if block is None or block.end is None:
        return None
    file.seek(block.start)
    head = file.read(8)
    length = _vint_bytes(head, 0)
    if block.end - block.start <= length + _BLOCK_HEAD:
        return None
    return int.from_bytes(head[:length], "big") & ((1 << 7 * length) - 1)


def _inner(file: BinaryIO, parent: _Element) -> list[_Element]:
    """The elements of one whose length is known; those of others are not looked into."""
    inner, at = [], parent.start
    while parent.end is not None and at < parent.end:
        element = _element(file, at)
        if element.end is None or element.end > parent.end:
            raise NotWhole(f"no sense at byte {at}")
        inner.append(element)
        at = element.end
    return inner


def _number(file: BinaryIO, element: _Element) -> int:
    file.seek(element.start)
    return int.from_bytes(file.read(min(_NUMBER_BYTES, (element.end or 0) - element.start)), "big")


def _element(file: BinaryIO, at: int) -> _Element:
    file.seek(at)
    head = file.read(12)
    id_bytes = _vint_bytes(head, 0)
    size_bytes = _vint_bytes(head, id_bytes)
    if id_bytes > 4 or len(head) < id_bytes + size_bytes:
        raise NotWhole(f"no sense at byte {at}")
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
    start = at + id_bytes + size_bytes
    unknown = size == (1 << 7 * size_bytes) - 1
    return _Element(int.from_bytes(head[:id_bytes], "big"), start, None if unknown else start + size)


def _vint_bytes(head: bytes, at: int) -> int:
    if at >= len(head) or head[at] == 0:
        raise NotWhole("no sense in it")
    return 9 - head[at].bit_length()
