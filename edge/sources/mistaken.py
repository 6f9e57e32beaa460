"""What a file or folder is that holds no video: its kind, and the command that takes it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.regular import open_regular

if TYPE_CHECKING:
    from edge.frame import Image

_HEAD_BYTES = 1 << 16
_MOST_COLOURS = 34  # Cityscapes' classes; a photograph has thousands of colours


class _Kind(NamedTuple):
    """`keys` are those of the top level in YAML or JSON, one of which has to be there; none: the suffix says enough."""

    suffixes: tuple[str, ...]
    keys: tuple[str, ...]
    what: str
    command: str  # {} is the file, {folder} its folder


_YAML, _JSON = (".yaml", ".yml"), (".json", ".jsonl")
_NAME_IT = "Name the video itself: edge run VIDEO"
_NAME_FOLDER = "Name a folder or a pattern: edge run 'FOLDER/*.png'"
_UNPACK = "Unpack it, and name the video in it"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_WITH_WEIGHTS = "edge build --torch MODULE:FACTORY --weights {} --card CARD.yaml"
_AS_VIDEO = "Give it a container: ffmpeg -f rawvideo -pixel_format yuv420p -video_size WxH -i {} out.mp4"
_KINDS = (
    _Kind(_YAML, ("camera", "cameras"), "a service's config", "edge serve --config {}"),
    _Kind(_YAML, ("socket",), "a publisher's config", "edge publish --config {}"),
    _Kind(_YAML, ("rosbag2_bagfile_information",), "the index of a ROS 2 bag", "edge run {folder}"),
    _Kind(_YAML, ("geometry",), "a camera model", "edge run SOURCE --camera-model {}"),
    _Kind(_YAML, ("input", "training_data"), "a card file of a net", "edge build --onnx NET.onnx --card {}"),
    _Kind(_YAML, ("why",), "a set of calibration frames", "edge calibrate run RECIPE.yaml"),
    _Kind(_YAML, ("drives",), "a list of drives", "edge evaluate {}"),
    _Kind(_YAML, ("net", "train", "build"), "a recipe", "edge train {}"),
    _Kind(_YAML, (), "a YAML file", _NAME_IT),
    _Kind(_JSON, ("graphs", "input_wh"), "an engine's card", "edge run SOURCE --engine {folder}"),
    _Kind(_JSON, ("annotations",), "a list of COCO labels", "Name the folder of its images: edge run FOLDER"),
    _Kind(_JSON, (), "a JSON file, such as the results of a run", _NAME_IT),
    _Kind((".onnx",), (), "an ONNX graph", "edge build --onnx {} --card CARD.yaml"),
    _Kind((".pt", ".pth", ".ckpt"), (), "a file of weights", "edge build RECIPE.yaml --run {}"),
    _Kind((".safetensors",), (), "a file of weights", _WITH_WEIGHTS),
    _Kind((".engine", ".plan", ".trt"), (), "a TensorRT plan", "edge build --onnx NET.onnx --card CARD.yaml"),
    _Kind((".txt", ".csv", ".md", ".log", ".lst"), (), "a text file", _NAME_FOLDER),
    _Kind((".py", ".sh"), (), "a program", _NAME_IT),
    _Kind(_ARCHIVES, (), "an archive", _UNPACK),
    _Kind((".yuv", ".rgb", ".raw", ".nv12", ".i420"), (), "raw frames without their size", _AS_VIDEO),
    _Kind((".parquet", ".npy", ".npz"), (), "a table of figures", _NAME_IT),
    _Kind((".pdf", ".html", ".htm", ".svg"), (), "a document", _NAME_IT),
)  # fmt: skip
_KEY_OF_YAML = re.compile(rb"^([A-Za-z_]\w*)[ \t]*:", re.MULTILINE)
_KEY_OF_JSON = re.compile(rb'"([A-Za-z_]\w*)"\s*:')


def what_it_is(path: Path) -> str:
    """What a file or folder without a video is, and what to type, as a sentence without its subject; "" if unknown."""
    if _exists(path / "card.json"):
        return f"is an engine, not a source of frames. Use it: edge run SOURCE --engine {_typed(path)}"
    suffix = path.suffix.lower()
    kinds = [kind for kind in _KINDS if suffix in kind.suffixes]
    keys = _keys(path, _KEY_OF_JSON if suffix in _JSON else _KEY_OF_YAML) if any(kind.keys for kind in kinds) else set()
    kind = next((kind for kind in kinds if not kind.keys or keys & set(kind.keys)), None)
    if kind is None:
        return ""
    typed = kind.command.format(_typed(path), folder=_typed(path.parent))
    return f"is {kind.what}, not a video. {f'Try: {typed}' if typed.startswith('edge ') else typed}"


def is_of_few_colours(image: Image) -> bool:
    """Whether an image (H, W, 3) has 2 to 34 colours, by every fourth pixel: class ids, or class colours."""
    pixels = np.ascontiguousarray(image[::4, ::4]).reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return 2 <= len(np.unique(pixels)) <= _MOST_COLOURS


def _exists(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long, or a folder that may not be entered
        return path.is_file()
    return False


def _keys(path: Path, pattern: re.Pattern[bytes]) -> set[str]:
    try:
        with open_regular(path) as file:
            return {key.decode() for key in pattern.findall(file.read(_HEAD_BYTES))}
    except OSError:
        return set()


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
