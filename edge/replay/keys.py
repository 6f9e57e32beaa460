"""A terminal's bytes as keys."""

from __future__ import annotations

import re

# ECMA-48, 5.4: control sequences; SS3 is what some terminals send for arrows.
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]")
_BEGUN = re.compile(rb"\x1b(\[[0-?]*[ -/]*|O)?")
_LONGEST = 32
_KEYS = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[1;2C": "shift right",
    b"\x1b[1;2D": "shift left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1bOH": "home",
    b"\x1bOF": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b": "escape",  # with a key behind it that makes no sequence, as Alt and a key are
    b" ": "space",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
}


class Keys:
    """Turns bytes into the names of keys, however the bytes are cut into pieces; what is no key of ours is left out."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, data: bytes) -> list[str]:
        """The keys that are complete: a name such as "page up", or the character itself."""
        data, found = self._rest + data, []
        self._rest = b""
        while data:
            if match := _SEQUENCE.match(data):
                found.append(_KEYS.get(match[0], ""))
                data = data[match.end() :]
            elif len(data) < _LONGEST and _BEGUN.fullmatch(data):
                self._rest = data
                break
            else:
                found.append(_KEYS.get(data[:1]) or _character(data[0]))
                data = data[1:]
        return [key for key in found if key]

    def flush(self) -> list[str]:
        """Escape, if it stood alone: nothing came behind it for a while."""
        alone, self._rest = self._rest == b"\x1b", b""
        return ["escape"] if alone else []


def _character(code: int) -> str:
    return chr(code) if 0x20 < code < 0x7F else ""
