"""A pipe, socket or device where a file is expected is refused at once, in a line, whatever reads it."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from bundles import graph_of

from edge.engine import CARD_FILE, MODEL_FILE, Bundle, load_bundle
from edge.errors import ConfigError, EdgeError
from edge.evaluate.gate import load_baseline
from edge.evaluate.labels import Labels
from edge.frame import Image
from edge.regular import open_regular, read_regular
from edge.sources.images import ImageFiles
from edge.sources.index import load_times
from edge.sources.open import open_source


def test_a_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link") == b"content"


def test_what_is_not_a_file_is_named_for_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a file, got a pipe"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a file, got a device"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device or address"):  # of open(2) itself
            open_regular(tmp_path / "socket")


def test_a_file_larger_than_it_should_be_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 20 << 30)  # a hole: it takes no room on the disk
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OSError, match="larger than 268435456 bytes"):
        read_regular(tmp_path / "file")
    with pytest.raises(ConfigError, match="larger than 67108864 bytes"):
        load_baseline(tmp_path / "file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kb < 10_000


def test_no_more_memory_is_asked_for_than_a_file_has(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        assert read_regular(tmp_path / "file", 1 << 40) == b"content"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_file_that_says_it_is_empty_is_read_whole() -> None:
    assert read_regular(Path("/proc/self/status")).startswith(b"Name:")


def test_refusing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        for place in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(OSError, match=r"expected a file|Is a directory"):
                open_regular(place)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _scales(path: Path) -> None:
    pytest.importorskip("onnx")
    from edge.compile.observe import read_scales

    read_scales(path)


def _graph_of_others(path: Path) -> None:
    pytest.importorskip("onnx")
    from edge.compile.foreign import load_foreign

    load_foreign(path)


def _source(path: Path) -> None:
    pytest.importorskip("rosbags")
    open_source(str(path))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("scales.json", _scales),
        ("net.onnx", _graph_of_others),
        ("before.json", load_baseline),
        ("drive.mcap", _source),
        ("drive.bag", _source),
        ("drive.db3", _source),
        ("drive.times.csv", lambda path: load_times(str(path.with_name("drive.mp4")))),
    ],
)
def test_a_pipe_is_refused_with_its_name(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(EdgeError, match=rf"{name}.*expected a file, got a pipe") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_pipe_among_labels_is_refused(tmp_path: Path, flag: Image) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    cv2.imwrite(str(tmp_path / "0.jpg"), flag)
    os.mkfifo(labels / "0.png")
    with pytest.raises(EdgeError, match=r"0\.png: cannot be read: expected a file, got a pipe"):
        Labels(ImageFiles(str(tmp_path)), labels)


def test_a_pipe_among_images_is_passed_over(tmp_path: Path, flag: Image) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), flag)
    os.mkfifo(tmp_path / "1.png")
    assert ImageFiles(str(tmp_path)).frame_count == 1


@pytest.mark.parametrize("name", [CARD_FILE, MODEL_FILE])
def test_a_pipe_in_a_bundle_is_refused(name: str, colour_bundle: Bundle) -> None:
    path = colour_bundle.folder / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EdgeError, match=r"expected a file, got a pipe|expected at least one of its graphs"):
        graph_of(load_bundle(colour_bundle.folder))
