"""What is kept in the user's cache directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.cache import SEAL_BYTES, cache_folder, evict_lru, key_of, may_be_trusted, replacing, seal_of


def test_the_cache_is_in_the_home_directory_unless_xdg_names_an_absolute_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for stated in ("", "relative/paths/are/void"):
        monkeypatch.setenv("XDG_CACHE_HOME", stated)
        assert cache_folder("plans") == Path("/home/someone/.cache/edge/plans")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/here")
    assert cache_folder("plans") == Path("/var/cache/here/edge/plans")


def test_a_key_tells_its_parts_and_their_order_apart() -> None:
    keys = [key_of("a", 1), key_of(1, "a"), key_of("a1"), key_of("a", "1"), key_of(["a", 1])]
    assert len(set(keys)) == len(keys)
    assert key_of("a", 1) == keys[0]


def test_a_seal_is_of_the_name_and_of_the_content(tmp_path: Path) -> None:
    seals = [seal_of(tmp_path / "a", b"x"), seal_of(tmp_path / "b", b"x"), seal_of(tmp_path / "a", b"y")]
    assert len(set(seals)) == 3
    assert {len(seal) for seal in seals} == {SEAL_BYTES}
    assert seal_of(Path("elsewhere/a"), memoryview(b"x")) == seals[0]


def _break_off(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "made/on/the/way/file"
    with replacing(path) as file:
        file.write(b"old")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeyboardInterrupt):
        _break_off(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o600, 0o700), (0o644, 0o755)])
@pytest.mark.parametrize("open_to", [0, 0o020, 0o002])
def test_what_others_may_write_is_not_trusted(tmp_path: Path, file_mode: int, folder_mode: int, open_to: int) -> None:
    path = tmp_path / "cache/file"
    with replacing(path) as file:
        file.write(b"content")
    for file_adds, folder_adds in ((open_to, 0), (0, open_to)):
        path.chmod(file_mode | file_adds)
        path.parent.chmod(folder_mode | folder_adds)
        with path.open("rb") as file:
            assert may_be_trusted(file, path) == (not open_to)


def test_what_was_not_used_for_longest_is_forgotten_first(tmp_path: Path) -> None:
    for used_s, name in enumerate(("oldest.plan", "older.plan", "young.plan", "oldest.of-another")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (used_s, used_s))
    assert evict_lru(tmp_path, ".plan", 2) == [tmp_path / "oldest.plan"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["older.plan", "oldest.of-another", "young.plan"]
    assert evict_lru(tmp_path, ".plan", 2) == []
