"""Standard output and standard error, whatever the program was started with: closed, in any encoding, or a terminal."""

from __future__ import annotations

import codecs
import os
import re
import sys
from io import TextIOWrapper
from pathlib import Path

_STAND_INS = {"█": "#", "…": "...", "→": "->", "–": "-", "—": "-", "×": "x", "µ": "u", "±": "+-", "≥": ">=", "≤": "<="}
# All but tab and newline; and what breaks lines or turns the order of what is read
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def prepare_standard_streams() -> None:
    """Let every `print` succeed: a closed stream leads nowhere, and what an encoding cannot write is replaced."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # it has filled a gap that the next file to be opened would have got, and with it what is printed
    os.close(number)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    codecs.register_error("edge-replace", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not under a test that captures
            stream.reconfigure(errors="edge-replace")


def _nowhere() -> TextIOWrapper:
    return Path(os.devnull).open("w", encoding="utf-8")


def _replace(error: UnicodeError) -> tuple[str, int]:
    r"""Bytes of a file name that is not UTF-8 are escaped as Python does, \udcff; signs have their ASCII stand-ins."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_stand_in(sign) for sign in found), error.end


def _stand_in(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if 0xD800 <= ord(sign) < 0xE000 else _STAND_INS.get(sign, "?")


def printable(text: str) -> str:
    r"""The text without what would steer a terminal: control characters as \x1b; newlines and tabs stay."""
    return _CONTROLS.sub(lambda match: _escaped(ord(match[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def print_report(text: str, *outputs: Path | None) -> None:
    """Print what people read: to standard output, or to standard error where one of `outputs` is standard output."""
    from edge.sinks.files import open_descriptor

    taken = any(path is not None and open_descriptor(path) == 1 for path in outputs)
    print(printable(text), file=sys.stderr if taken else sys.stdout)
