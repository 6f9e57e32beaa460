from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.engine import Bundle
from edge.errors import NotAVideo, SourceNotFound
from edge.sources.images import ImageFiles
from edge.sources.open import open_source
from edge.sources.recording import Recording


@pytest.mark.parametrize(
    ("name", "content", "typed"),
    [
        ("edge.yaml", "# cameras\ncamera: 0\nengine: road\n", "edge serve --config {}"),
        ("edge.yml", "cameras: {front: 0}\n", "edge serve --config {}"),
        ("publish.yaml", "socket: /run/edge/results.sock\n", "edge publish --config {}"),
        ("road.yaml", "name: road\nnet: fcn\ntrain: []\n", "edge train {}"),
        ("city.yaml", "name: city\ninput: {order: rgb}\n", "edge build --onnx NET.onnx --card {}"),
        ("drives.yaml", "drives:\n  - frames: a.mp4\n", "edge evaluate {}"),
        ("camera.yaml", "geometry: {height_m: 1.2}\n", "edge run SOURCE --camera-model {}"),
        ("bag/metadata.yaml", "rosbag2_bagfile_information:\n", "edge run {folder}"),
        ("other.yaml", "- 1\n", "Name the video itself"),
        ("results.json", '{"frames": 3}', "Name the video itself"),
        ("net.onnx", "\x08\x08", "edge build --onnx {} --card CARD.yaml"),
        ("net.pt", "PK\x03\x04", "edge build RECIPE.yaml --run {}"),
        ("clips.zip", "PK\x03\x04", "Unpack it"),
        ("drive 1.yuv", "\x80" * 5000, "ffmpeg -f rawvideo -pixel_format yuv420p -video_size WxH -i {}"),
        ("list.txt", "a.png\n" * 3, "Name a folder or a pattern"),
    ],
)
def test_a_file_of_another_kind_is_named_with_the_command_that_takes_it(
    name: str, content: str, typed: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="latin-1")
    with pytest.raises(NotAVideo) as caught:
        open_source(str(path))
    quoted = f"'{path}'" if " " in name else path
    assert typed.format(quoted, folder=path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bundle_or_its_card_is_named_with_the_option_that_takes_it(tmp_path: Path, colour_bundle: Bundle) -> None:
    folder = shutil.copytree(colour_bundle.folder, tmp_path / "own")
    for place, kind in ((folder, SourceNotFound), (folder / "card.json", NotAVideo)):
        with pytest.raises(kind, match=f"edge run SOURCE --engine {folder}$"):
            open_source(str(place))


@pytest.mark.parametrize("name", ["notes.txt", "readme.nfo", "art.ans"])
def test_a_long_text_is_no_video_though_ffmpeg_draws_it_as_a_terminal(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("what was seen on the way to work today\n" * 3000)
    with pytest.raises(NotAVideo, match="is a text file, not a video"):
        Recording(str(tmp_path / name))


@pytest.mark.parametrize("colours", [2, 34])
def test_a_mask_or_label_in_place_of_an_image_is_reported(
    colours: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label = np.repeat(np.arange(colours, dtype=np.uint8), 8)[None].repeat(64, 0)
    cv2.imwrite(str(tmp_path / "label.png"), label)
    ImageFiles(str(tmp_path))
    assert "label.png: has as few colours as a mask or label" in caplog.text


def test_an_image_that_a_camera_took_is_not_taken_for_a_mask(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    night = np.random.default_rng(7).normal(12, 3, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "night.png"), night)
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((64, 64, 3), np.uint8))
    for name in ("night.png", "black.png"):
        ImageFiles(str(tmp_path / name))
    assert "colours" not in caplog.text
