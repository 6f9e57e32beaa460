"""Teachers, opened: an engine's bundle, an OpenVINO file, or the moving average of the net in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.backends.openvino import get_core
from edge.classes import ClassTable
from edge.config import data_path, need
from edge.engine import Bundle, find_bundle
from edge.errors import ConfigError
from edge.frame import Image, Letterbox
from edge.outputs import SEMANTIC
from edge.train.plans import OWN, Teacher
from edge.train.soft import SoftTeacher
from edge.train.teacher import open_teacher
from edge.train.unions import Classes, parse_meaning

LOGITS = "edge.logits"
_OURS = "edge/"  # the names of the nodes that `edge.compile.wrap` puts around a net begin so
_AGREEMENT = 0.95  # of pixels, between a graph's classes and the largest of its logits
_Chances = Callable[[Image], Tensor]  # an image, uint8 (H, W, 3) BGR -> chances (C, h, w) over the whole of it


def open_teachers(
    plans: Sequence[Teacher], table: ClassTable, own: nn.Module, device: torch.device
) -> list[SoftTeacher]:
    """The teachers of a recipe, for a net of the classes of `table`; `own` is its moving average.

    Raises:
        ConfigError: a map names unknown classes or channels, or meanings overlap; a file is missing.
        EngineError: an engine is unknown or cannot be run.
    """
    return [_opened(plan, table, own, device) for plan in plans]


def _opened(plan: Teacher, table: ClassTable, own: nn.Module, device: torch.device) -> SoftTeacher:
    if plan.engine == OWN:
        everything = torch.eye(len(table), dtype=torch.bool, device=device)
        return SoftTeacher(plan, everything, lambda views: _own_chances(own, views, plan, device))
    bundle = None if plan.is_file else find_bundle(str(data_path(plan.engine)))
    meanings, places = _meanings_of(plan, bundle.card.table.names if bundle else None, table)
    ask = _open_bundle(bundle) if bundle else _open_file(plan)
    members = torch.zeros(len(meanings), len(table), dtype=torch.bool)
    for place, meaning in enumerate(meanings):
        members[place, list(meaning)] = True

    def chances_of(views: NDArray[np.uint8]) -> Tensor:
        found = torch.stack([_averaged(ask, view, plan.mirrored) for view in views])
        if max(places) >= found.shape[1]:
            raise ConfigError(f"teacher {plan.engine}: expected channels 0 to {found.shape[1] - 1}, got {max(places)}")
        sums = found.new_zeros(len(found), len(meanings), *found.shape[2:])
        return sums.index_add_(1, torch.tensor(list(places.values())), found[:, list(places)])

    return SoftTeacher(plan, members.to(device), chances_of)


def _meanings_of(
    plan: Teacher, names: Sequence[str] | None, table: ClassTable
) -> tuple[list[Classes], Mapping[int, int]]:
    """The meanings that a teacher speaks of, and by channel which one it is; `names` are the channels'."""
    given = plan.map
    if given is None:
        given = {name: name for name in names or () if name in table.names}
    meanings: list[Classes] = []
    places: dict[int, int] = {}
    for key, text in given.items():
        meaning = parse_meaning(text, table)
        if meaning:
            meanings += [] if meaning in meanings else [meaning]
            places[_channel_of(key, names, plan.engine)] = meanings.index(meaning)
    if len(meanings) < 2:
        raise ConfigError(
            f"teacher {plan.engine}: tells apart {len(meanings)} of this net's classes, expected 2 or more;"
            f" say by `map` what its classes mean. The net's are: {', '.join(table.names)}"
        )
    if sum(map(len, meanings)) > len(frozenset().union(*meanings)):
        texts = ", ".join(given.values())
        raise ConfigError(f"teacher {plan.engine}: expected meanings without a class in common, got {texts}")
    return meanings, places


def _channel_of(key: str, names: Sequence[str] | None, engine: str) -> int:
    if names is None:
        if not key.isdecimal():
            raise ConfigError(f"teacher {engine}: expected channels as keys of `map`, got {key!r}")
        return int(key)
    if key not in names:
        raise ConfigError(f"teacher {engine}: has no class {key!r}; it has: {', '.join(names)}")
    return names.index(key)


def _averaged(ask: _Chances, view: Image, mirrored: bool) -> Tensor:
    """Chances (C, h, w) of a view, averaged with those of its mirror image."""
    chances = ask(view)
    return (chances + ask(np.ascontiguousarray(view[:, ::-1])).flip(-1)) / 2 if mirrored else chances


# ------------------------------------------------------------------------------------------------------ the net itself


@torch.no_grad()
def _own_chances(net: nn.Module, views: NDArray[np.uint8], plan: Teacher, device: torch.device) -> Tensor:
    """Chances (N, C, h, w) by the averaged net, over views of other sizes and mirrored, if the plan says so."""
    images = torch.from_numpy(views).to(device).permute(0, 3, 1, 2).float() / 255
    total, size = None, None
    for seen, back in _views(images, plan):
        chances = back(net(seen).float().softmax(1))
        size = size or chances.shape[-2:]
        chances = F.interpolate(chances, size=size, mode="bilinear", align_corners=False)
        total = chances if total is None else total + chances
    assert total is not None
    return total / (len(plan.scales) * (1 + plan.mirrored))


def _views(images: Tensor, plan: Teacher) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    for scale in plan.scales:
        size = [max(32, round(side * scale / 32) * 32) for side in images.shape[-2:]]
        seen = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        yield seen, lambda found: found
        if plan.mirrored:
            yield seen.flip(-1), lambda found: found.flip(-1)


# -------------------------------------------------------------------------------------------------- a file, or a bundle


def _open_file(plan: Teacher) -> _Chances:
    infer = open_teacher(data_path(plan.engine), torch.get_num_threads())
    return lambda image: torch.from_numpy(infer(image))


def _open_bundle(bundle: Bundle) -> _Chances:
    """What the engine thinks of an image, placed in its input and in its precision as at run time.

    Not in fp32: `large` in INT8 takes 0.42 of the time on a CPU with VNNI, and its chances differ by 0.0008 on average.

    Raises:
        ConfigError: its classes do not come of logits, one for each.
    """
    need("onnx", "a bundle as a teacher")
    card = bundle.card
    classes = next(output.tensor for output in card.outputs if output.name == SEMANTIC.name)
    graph = with_logits(bundle.read(bundle.graph(card.precision, "openvino")), classes, str(bundle.folder))
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled: Any = get_core().compile_model(get_core().read_model(graph, b""), "CPU", config)
    places = {name: compiled.output(name) for name in (LOGITS, classes)}
    known = False

    def ask(image: Image) -> Tensor:
        """What the engine says of one uint8 (H, W, 3) BGR image."""
        nonlocal known
        box = Letterbox.fit((image.shape[1], image.shape[0]), card.input_wh, card.resize)
        canvas = np.zeros((*card.input_wh[::-1], 3), np.uint8)
        cv2.resize(image, box.content_xywh[2:], dst=box.content(canvas), interpolation=cv2.INTER_LINEAR)
        found = compiled(canvas[None])
        logits = torch.from_numpy(np.asarray(found[places[LOGITS]], np.float32))
        if not known:  # once: a net of others may have its classes in another order than its card
            _check_order(logits, found[places[classes]][0], bundle)
            known = True
        return _content_of(logits.softmax(1), box)[0]

    return ask


def with_logits(graph: bytes, classes: str, origin: str) -> bytes:
    """The graph of a bundle with one more output, `LOGITS`: what its output `classes` is made of.

    Raises:
        ConfigError: they are not made of logits.
    """
    import onnx

    model = onnx.load_from_string(graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {init.name for init in model.graph.initializer}
    ends, seen, waiting = set(), set(), [classes]
    while waiting:  # back from the classes, through what edge put behind the net
        name = waiting.pop()
        if name in seen or name in constants:
            continue
        seen.add(name)
        node = makers.get(name)
        if node is not None and node.name.startswith(_OURS):
            waiting += node.input
        else:
            ends.add(name)
    if len(ends) != 1:
        raise ConfigError(f"{origin}: cannot be a teacher, its classes do not come of one map of logits")
    model.graph.node.append(onnx.helper.make_node("Identity", [ends.pop()], [LOGITS], name=LOGITS))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(LOGITS))
    model.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model.SerializeToString()


def _check_order(logits: Tensor, classes: Image, bundle: Bundle) -> None:
    count = len(bundle.card.table)
    if logits.ndim == 4 and logits.shape[1] == count:
        wide = F.interpolate(logits, size=classes.shape, mode="bilinear", align_corners=False)[0].argmax(0)
        if float((wide.numpy() == classes).mean()) >= _AGREEMENT:
            return
    raise ConfigError(
        f"{bundle.folder}: cannot be a teacher, expected logits of its {count} classes in their order, got"
        f" {tuple(logits.shape)} in another"
    )


def _content_of(maps: Tensor, box: Letterbox) -> Tensor:
    """(N, C, h, w) over a network's input, cut to where the image lies, as many cells as it covers there."""
    (x, y, width, height), (across, down) = box.content_xywh, box.input_wh
    if (width, height) == (across, down):
        return maps
    rows = max(1, round(maps.shape[-2] * height / down))
    columns = max(1, round(maps.shape[-1] * width / across))
    move = torch.tensor(
        [[width / across, 0, (2 * x + width) / across - 1], [0, height / down, (2 * y + height) / down - 1]]
    )
    grid = F.affine_grid(move[None].expand(len(maps), -1, -1), [len(maps), 1, rows, columns], align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False, padding_mode="border")
