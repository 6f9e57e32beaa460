"""What the program is started with: closed or full streams, other encodings, odd names, broken libraries, no home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cache import cache_folder
from edge.cli.stdio import printable
from edge.engine import Bundle
from edge.frame import Image

EDGE = [sys.executable, "-m", "edge.cli"]
GBK = os.fsdecode(b"drive-\xb3\xb5")


@pytest.fixture
def source(tmp_path: Path, flag: Image) -> Path:
    """A folder of three images, of as many colours as a photograph: a flag's own few would be warned of."""
    folder, flag = tmp_path / "frames", flag + np.arange(48, dtype=np.uint8)[:, None, None]
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        cv2.imwrite(str(folder / name), flag)
    return folder


def edge(*words: str | Path, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*EDGE, *map(str, words)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, timeout=120, env=environment, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_run_whose_streams_are_closed_writes_its_results(
    closed: str, source: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    words = ["run", str(source), "-e", str(colour_bundle.folder), "--results", str(tmp_path / "r.jsonl")]
    assert subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *EDGE, *words], timeout=120).returncode == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "LANG": ""}])
@pytest.mark.parametrize("command", ["run", "inspect"])
def test_signs_that_the_output_cannot_hold_are_replaced(
    env: dict[str, str], command: str, source: Path, colour_bundle: Bundle
) -> None:
    folder = colour_bundle.folder
    words = ["run", source, "-e", folder] if command == "run" else ["inspect", folder]
    result = edge(*words, env={"PYTHONCOERCECLOCALE": "0", **env})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.isascii()


@pytest.mark.slow
def test_a_name_that_is_not_utf8_is_read_recorded_and_reported(
    source: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    odd = source.rename(tmp_path / GBK)
    engine = ("-e", colour_bundle.folder)
    files = {name: tmp_path / f"{GBK}.{name}" for name in ("jsonl", "mkv", "json", "html", "parquet", "mcap")}
    run = edge("run", odd, *engine, "--results", files["jsonl"], "--overlay", files["mkv"])
    outputs = [word for name in ("json", "html", "parquet") for word in (f"--{name}", files[name])]
    evaluated = edge("evaluate", odd, *engine, *outputs)
    recorded = edge("record", odd, files["mcap"], *engine)
    for result in (run, evaluated, recorded):
        assert (result.returncode, result.stderr) == (0, "")
        assert r"drive-\udcb3\udcb5" in result.stdout
    assert all(path.stat().st_size for path in files.values())
    assert edge("replay", files["mcap"], "--fast", *engine).returncode == 0


@pytest.mark.slow
def test_figures_on_standard_output_are_alone_there(source: Path, colour_bundle: Bundle) -> None:
    result = edge("run", source, "-e", colour_bundle.folder, "--results", "-")
    assert [json.loads(line)["frame"] for line in result.stdout.splitlines()] == [0, 1, 2]
    assert "3 in, 3 out" in result.stderr
    result = edge("evaluate", source, "-e", colour_bundle.folder, "--json", "/dev/stdout")
    assert json.loads(result.stdout)["frames"]
    assert "no labels" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".mkv", ".mp4"])
def test_an_overlay_goes_down_a_pipe(suffix: str, source: Path, colour_bundle: Bundle, tmp_path: Path) -> None:
    import av

    pipe, copy = tmp_path / f"pipe{suffix}", tmp_path / "copy"
    os.mkfifo(pipe)
    with copy.open("wb") as file, subprocess.Popen(["cat", pipe], stdout=file):
        result = edge("run", source, "-e", colour_bundle.folder, "--overlay", pipe)
    assert result.returncode == 0, result.stderr
    with av.open(str(copy)) as video:
        assert len(list(video.decode(video=0))) == 3
    assert pipe.is_fifo()


@pytest.mark.slow
def test_the_source_is_never_the_output(source: Path, colour_bundle: Bundle, tmp_path: Path) -> None:
    engine, before = ("-e", colour_bundle.folder), {path: path.read_bytes() for path in source.iterdir()}
    baseline = tmp_path / "base.json"
    baseline.write_text("{}")
    for words in (
        ("run", source, *engine, "--masks", source),
        ("run", source / "1.png", *engine, "--results", source / "1.png"),
        ("replay", source, "--fast", *engine, "--json", source / "2.png"),
        ("evaluate", source, *engine, "--labels", source, "--html", source / "3.png"),
        ("bench", *engine, "--source", source, "--json", source / "1.png"),
        ("record", source, source, *engine),
    ):
        result = edge(*words)
        assert result.returncode == 73, result
        assert "would be lost" in result.stderr
    assert {path: path.read_bytes() for path in source.iterdir()} == before


@pytest.mark.slow
def test_a_second_run_into_a_folder_of_masks_is_refused(source: Path, colour_bundle: Bundle, tmp_path: Path) -> None:
    words = ("run", source, "-e", colour_bundle.folder, "--masks", tmp_path / "masks")
    assert edge(*words).returncode == 0
    again = edge(*words, "--max-frames", "1")
    assert (again.returncode, len(list((tmp_path / "masks").iterdir()))) == (73, 3)
    assert "holds 3 images already" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", ["cv2", "av", "openvino"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "cannot be imported: libGL.so.1"),
        ("raise ImportError('numpy.core.multiarray failed to import')", "pip install 'numpy<2'"),
    ],
)
def test_a_library_that_does_not_load_ends_with_one_line(
    module: str, body: str, words: str, colour_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / f"{module}.py").write_text(body)
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    result = edge("run", tmp_path / "a.mp4", "-e", colour_bundle.folder, env={"PYTHONPATH": str(tmp_path / "lib")})
    assert result.returncode in (69, 70, 78)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert module == "openvino" or words in lines[0]


def test_a_folder_that_was_deleted_under_the_shell_is_named(tmp_path: Path, source: Path) -> None:
    deleted = tmp_path / "deleted"
    deleted.mkdir()
    words = [
        "sh",
        "-c",
        'rmdir "$1" && shift && exec "$@"',
        "sh",
        deleted,
        *EDGE,
        "run",
        source,
        "--results",
        "r.jsonl",
    ]
    done = subprocess.run(words, cwd=deleted, capture_output=True, text=True, timeout=120)
    assert done.stderr == "edge: this folder: No such file or directory\n"
    assert done.returncode == 74


def test_without_a_home_nothing_is_cached_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    folder = cache_folder("openvino")
    assert not folder.exists()
    with pytest.raises(NotADirectoryError):
        folder.mkdir(parents=True)


def test_what_would_steer_a_terminal_is_shown_as_text() -> None:
    assert printable("a\x1b[2J\x07\x9b\tb\r\n") == "a\\x1b[2J\\x07\\x9b\tb\\x0d\n"
    assert printable("fp\u202e46\u2028x") == "fp\\u202e46\\u2028x"
