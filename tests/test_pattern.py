"""Patterns find what the standard library's glob finds, and have an end."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import ExitStack
from errno import EACCES
from pathlib import Path

import pytest

from edge import pattern
from edge.errors import SourceError
from edge.evaluate.store import content_hash
from edge.pattern import below, matching
from edge.sinks.collisions import check_outputs
from edge.sources.images import ImageFiles


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files at three depths, hidden ones, and odd names."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.jpg", "x/c.png", "x/y/d.png", "x/[1].png", ".hidden/e.png", "x/.f.png", "x/y/z/g.PNG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "link").symlink_to("x/y")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "*.png",
        "**/*.png",
        "x/**",
        "x/*/d.png",
        "?/[cd].png",
        "x/[[]1].png",
        "x/.*",
        "**/y/*",
        "no/*",
        "x/../*.jpg",
        "**",
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_pattern_matches_what_glob_matches(text: str, tree: Path, *, absolute: bool) -> None:
    text = f"{tree}/{text}" if absolute else text
    found = [path for path in matching(text) if path.is_file()]
    expected = {Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file()}  # noqa: PTH207
    assert {path.resolve() for path in found} == {path.resolve() for path in expected}
    assert len(found) == len(set(found))


def test_links_that_lead_around_are_followed_once(tree: Path) -> None:
    (tree / "x" / "up").symlink_to(tree)
    (tree / "x" / "y" / "up").symlink_to(tree)
    found = {path.resolve().name for path in matching(f"{tree}/**/*.png") if path.is_file()}
    assert found == {"a.png", "c.png", "d.png", "[1].png"}


def test_a_pattern_over_a_huge_tree_ends_with_what_to_do(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "ENTRIES_MAX", 5)
    for use in (ImageFiles, lambda name: check_outputs([tree / "o.json"], [name])):
        with pytest.raises(SourceError, match=r"\*\*/\*\.none: more than 5 files .* Name a folder further down"):
            use(f"{tree}/**/*.none")


def test_a_folder_that_opens_and_is_not_listed_is_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(ExitStack):  # as the kernel does in /proc/1/map_files
        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            raise PermissionError(EACCES, "Permission denied")

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Refusing() if str(path).endswith("x/y") else scandir(path))
    assert {path.name for path in matching(f"{tree}/x/**/*.png")} == {"c.png", "[1].png"}


def test_below_a_folder_lies_what_rglob_finds_and_links_that_lead_around_are_entered_once(tree: Path) -> None:
    expected = {path for path in tree.rglob("*") if path.is_file()}
    (tree / "x" / "up").symlink_to(tree)
    found = [path for path in below(tree) if path.is_file()]
    assert {path.resolve() for path in found} == expected
    assert len(found) <= len(expected) + len([path for path in expected if path.parent == tree / "x/y"])


def test_a_hash_over_a_huge_tree_ends_with_what_to_do(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "ENTRIES_MAX", 5)
    with pytest.raises(SourceError, match=r"more than 5 files .* Name a folder further down"):
        content_hash(str(tree))


@pytest.mark.parametrize("place", ["x", "x/*.png", "**/*.png", "x/c.png", "x/c.png#stream=1", "x?topic=/image"])
def test_a_kept_evaluation_is_another_where_one_byte_of_its_source_is(tree: Path, place: str) -> None:
    before = content_hash(place)
    assert content_hash(place) == before
    (tree / "x/c.png").write_bytes(b"1")
    assert content_hash(place) != before


def test_a_kept_evaluation_is_another_where_another_camera_of_the_file_is_taken(tree: Path) -> None:
    assert content_hash("x/c.png#stream=1") != content_hash("x/c.png#stream=0")
