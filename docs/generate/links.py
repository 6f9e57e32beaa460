"""Links of pages as the repository has them, made true on the site.

A page of `docs/` stays where it is; README.md and its neighbours become pages too; any other file that a page links to
is brought along under `files/`, and a folder becomes a page that lists its files.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)((?:#[^)\s]*)?\))")
_NAMED = re.compile(r"(?<![\w(\[`/.])docs/([\w/-]+\.md)\b")


def site_of(path: str) -> str:
    """Where a file or folder of the repository is on the site; both by their path from the root."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}/index.md" if (HOME / path).is_dir() else f"files/{path}"


def targets(text: str, origin: str) -> set[str]:
    """What the Markdown of the file `origin` links to, by path from the repository's root."""
    folder = posixpath.dirname(origin)
    return {posixpath.normpath(posixpath.join(folder, match[2])) for match in _LINK.finditer(text)}


def rewrite(text: str, origin: str) -> str:
    """The Markdown of the file `origin`, its links as the site needs them; pages named in prose become links."""
    folder, page = posixpath.dirname(origin), posixpath.dirname(site_of(origin))

    def to(path: str) -> str:
        return posixpath.relpath(site_of(posixpath.normpath(path)), page or ".")

    def name(match: re.Match[str]) -> str:
        exists = (HOME / "docs" / match[1]).is_file()
        return f"[{match[1]}]({to('docs/' + match[1])})" if exists else match[0]

    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and not line.startswith("    "):
            line = _LINK.sub(lambda match: match[1] + to(posixpath.join(folder, match[2])) + match[3], line)
            line = _NAMED.sub(name, line)
            if line.startswith("|"):  # Python-Markdown shows the backslash of a pipe in code
                line = re.sub(r"`[^`]*`", lambda match: match[0].replace("\\|", "|"), line)
        lines.append(line)
    return "\n".join(lines) + "\n"
