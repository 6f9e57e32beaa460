"""Images in, images out: names are kept, and what a file holds can be chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bundles import Edge

from edge.engine import Bundle
from edge.frame import Image
from edge.indexed_png import decode_ids
from edge.sinks.images import image_names


@pytest.fixture
def images(tmp_path: Path, flag: Image) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("f10.png", "f2.png", "f1.jpg"):
        cv2.imwrite(str(folder / name), flag)
    return folder


def run_to_bytes(*words: object) -> bytes:
    command = [sys.executable, "-m", "edge.cli", "run", *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_an_image_in_is_an_image_out_and_again(
    edge_here: Edge, images: Path, colour_bundle: Bundle, tmp_path: Path, flag: Image
) -> None:
    out = tmp_path / "out.png"
    for _ in range(2):
        done = edge_here("run", images / "f2.png", "-e", colour_bundle.folder, "--overlay", out)
        assert (done.returncode, done.stderr) == (0, "")
    overlay = cv2.imread(str(out))
    assert overlay.shape == flag.shape
    assert not np.array_equal(overlay, flag)
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_folder_in_is_a_folder_out_with_the_names_kept(
    edge_here: Edge, images: Path, colour_bundle: Bundle, tmp_path: Path, flag_classes: Image
) -> None:
    outputs = ("--overlay", tmp_path / "o", "--masks", tmp_path / "m", "--masks-as", "palette", "--results", "-")
    done = edge_here("run", images, "-e", colour_bundle.folder, *outputs)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "o") == ["f1.jpg", "f10.png", "f2.png"]
    assert names(tmp_path / "m") == ["f1.png", "f10.png", "f2.png"]
    files = [Path(json.loads(line)["file"]).name for line in done.stdout.splitlines()]
    assert files == ["f1.jpg", "f2.png", "f10.png"]
    np.testing.assert_array_equal(decode_ids((tmp_path / "m" / "f2.png").read_bytes()), flag_classes)


def test_a_pattern_that_the_shell_has_spread_is_one_source(
    edge_here: Edge, images: Path, colour_bundle: Bundle, tmp_path: Path, flag_classes: Image
) -> None:
    words = [*sorted(images.glob("*.png")), "-e", colour_bundle.folder, "--masks", tmp_path / "m"]
    done = edge_here("run", *words, "--masks-as", "colour", "--json", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "figures.json").read_text())["frames_out"] == 2
    colours = cv2.cvtColor(cv2.imread(str(tmp_path / "m" / "f10.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(colours, colour_bundle.card.table.palette_rgb[flag_classes])


@pytest.mark.slow
def test_an_image_goes_to_standard_output_as_an_image_of_its_kind(
    images: Path, colour_bundle: Bundle, flag: Image, flag_classes: Image
) -> None:
    for name, kind in (("f1.jpg", b"\xff\xd8"), ("f2.png", b"\x89PNG")):
        overlay = run_to_bytes(images / name, "-e", colour_bundle.folder, "--overlay", "-")
        assert overlay.startswith(kind)
        assert cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_COLOR).shape == flag.shape
    mask = run_to_bytes(images / "f2.png", "-e", colour_bundle.folder, "--masks", "-", "--masks-as", "palette")
    np.testing.assert_array_equal(decode_ids(mask), flag_classes)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "option"), [("f1.jpg", "--overlay"), ("f1.jpg", "--masks"), ("", "--overlay")])
def test_a_terminal_is_not_filled_with_bytes(source: str, option: str, images: Path, colour_bundle: Bundle) -> None:
    here, there = os.openpty()
    command = [sys.executable, "-m", "edge.cli", "run", images / source, "-e", colour_bundle.folder, option, "-"]
    done = subprocess.run(command, stdout=there, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(there)
    os.close(here)
    assert done.returncode == 73
    assert "-: is a terminal, which shows no image. Pipe it" in done.stderr


@pytest.mark.slow
def test_many_images_go_to_standard_output_as_a_video_and_their_masks_do_not(
    edge_here: Edge, images: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "o.mkv").write_bytes(run_to_bytes(images, "-e", colour_bundle.folder, "--overlay", "-"))
    with av.open(str(tmp_path / "o.mkv")) as video:
        assert len(list(video.decode(video=0))) == 3
    refused = edge_here("run", images, "-e", colour_bundle.folder, "--masks", "-")
    assert refused.returncode == 73
    assert "takes one file; of many frames, name a folder" in refused.stderr


@pytest.mark.parametrize(
    ("sources", "output", "words"),
    [
        (["f1.jpg", "f2.png"], "o.jpg", "is one image, the source has 2 frames. Name a folder"),
        (["f1.jpg", "v.mp4"], "o", "v.mp4: several sources can only be images"),
        (["f1.jpg", "f3.jpg"], "o", "f3.jpg: there is no such file"),
        (["f1.jpg", "out.jpg"], "o", "out.jpg: there is no such file. Look at what is there: ls "),
        (["f1.jpg", "out.jpg"], "o", "To write it: edge run "),
        (["v.mp4", "out.mp4"], "o", "v.mp4: several sources can only be images. To write it: edge run "),
    ],
)
def test_what_does_not_fit_is_refused(
    sources: list[str], output: str, words: str, edge_here: Edge, images: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    done = edge_here(
        "run", *(images / name for name in sources), "-e", colour_bundle.folder, "--overlay", tmp_path / output
    )
    assert done.returncode in (69, 73, 78)
    assert words in done.stderr


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["in/a.png", "in/b.jpg"], ["a", "b"]),
        (["in/a.png", "in/a.jpg"], ["a.png", "a.jpg"]),
        (["in/x/a.png", "in/y/a.png"], ["x/a", "y/a"]),
        (["/in/a.b.png"], ["a.b"]),
    ],
)
def test_no_two_images_share_a_name(paths: list[str], expected: list[str]) -> None:
    assert list(image_names([Path(path) for path in paths]).values()) == expected
