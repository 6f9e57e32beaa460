"""What sections of the HTML report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def section(title: str, body: str, note: str = "") -> str:
    """A titled box; `note` stands below the title."""
    words = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{words}{body}</section>"


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already, the header is text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
