"""The words of docs/glossary.md: where the field has a term, that one is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
INSTEAD = {  # a pattern, and what to write
    r"(?i:picture)": "image, frame",
    r"(?i:\bwho waits\b)": "the caller, the consumer",
    r"(?i:\bnobody|\bsomebody)": "no one is named: missing, unused, another user",
    r"(?i:\bfor ever\b)": "without end, until",
    r"(?i:\bcomes again\b)": "retries, reconnects",
    r"\btold\b": "reported, logged, notified",
    r"\b(is|are) wanted\b|\bwanted (is|are)\b": "expected ..., got ...",
    r"\bfound is (?!not\b|None\b)": "expected ..., got ...",
    r"\bis none\b": "missing, not available, unknown",
    r"(?i:99 of 100)": "quantile, percentile",
    r"(?i:forget_oldest|why_not|the_core|hopeless)": "evict_lru, unavailable_reason, get_core, permanent",
}
ANY = re.compile("|".join(INSTEAD))
# Names of files, and keys of JSON, which programs of others read: they stay.
KEPT = re.compile(r"(tests|benchmarks)[/.][\w./:]+|picture_wh|AV_PICTURE_TYPE")
SUFFIXES = {".py", ".md", ".html", ".js", ".css", ".toml"}


def files_of(place: Path) -> list[Path]:
    paths = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in paths if path.suffix in SUFFIXES]


PLACES = [*sorted((HOME / "edge").iterdir()), *sorted((HOME / "docs").rglob("*.md")), HOME / "README.md"]


@pytest.mark.parametrize("place", [path.relative_to(HOME).as_posix() for path in PLACES if files_of(path)])
def test_the_fields_own_words_are_used(place: str) -> None:
    hits = [
        f"{path.relative_to(HOME)}:{number}: {found[0]!r}; instead: {instead}"
        for path in files_of(HOME / place)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ANY.search(line)
        for pattern, instead in INSTEAD.items()
        if (found := re.search(pattern, KEPT.sub("", line)))
    ]
    assert not hits, "\n".join(hits)
