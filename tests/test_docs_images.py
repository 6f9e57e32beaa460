"""The images of docs/: each is there, says what is to be seen, and can be made again; the sizes stay small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
IMAGES = HOME / "docs/images"
PAGES = sorted((HOME / "docs").rglob("*.md"))
NAMED = [
    (page, alt, link)
    for page in PAGES
    for alt, link in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
]
OURS = [(page, link) for page, _, link in NAMED if "images/" in link]


@pytest.mark.parametrize(
    ("page", "alt", "link"), NAMED, ids=lambda value: getattr(value, "stem", None) or str(value)[:40]
)
def test_an_image_exists_and_its_alt_text_says_what_is_to_be_seen(page: Path, alt: str, link: str) -> None:
    assert (page.parent / link.partition("#")[0]).is_file()
    assert len(alt.split()) >= 4


def test_the_script_makes_every_image_and_a_page_shows_each() -> None:
    pytest.importorskip("selenium", reason="install the extra dev")
    from benchmarks.docs_images import IMAGES as MADE

    files = {path.name for path in IMAGES.iterdir()}
    assert files <= set(MADE)
    assert {Path(link.partition("#")[0]).name for _, link in OURS} == files


def test_an_image_of_one_theme_has_its_twin_on_the_same_page() -> None:
    links = {(page, link) for page, link in OURS}
    for page, link in links:
        for ours, other in (("light", "dark"), ("dark", "light")):
            if f"-{ours}." in link:
                assert link.endswith(f"#only-{ours}")
                assert (page, link.replace(f"-{ours}", f"-{other}")) in links


def test_all_images_together_are_small_enough_for_a_repository() -> None:
    sizes = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert sum(sizes.values()) <= 1_500_000, sizes
    assert sizes["first-drive.webp"] <= 500_000
