"""Which net an engine is built of: one that edge trained, an ONNX file, or a torch module, with what its file says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edge.classes import ClassTable
from edge.config import need
from edge.engine import Bundle
from edge.errors import ConfigError

if TYPE_CHECKING:
    from edge.compile.observe import Scales
    from edge.train.recipe import BuildPlan, Folder


@dataclass(frozen=True)
class Origin:
    """Where a net comes from: how to make its fp32 bundle in a folder, and what its file says about INT8."""

    file: Path
    name: str
    table: ClassTable
    wish: BuildPlan | None
    make: Callable[[Path], Bundle]
    at_size: Callable[[tuple[int, int]], bytes] | None = None  # the fp32 graph at another input size
    trained: Callable[[Bundle], Scales | None] = lambda bundle: None  # ranges that were learnt with the weights
    val: Folder | None = None  # labelled frames to measure on


def find_origin(
    recipe: Path | None,
    run_folder: Path | None,
    onnx: Path | None,
    torch_net: str | None,
    weights: Path | None,
    card: Path | None,
) -> Origin:
    """The one net that the options name.

    Raises:
        ConfigError: they name none, several, or half of one; or its file is not in order.
    """
    need("onnx", "building an engine")
    if [recipe, onnx, torch_net].count(None) != 2:
        raise ConfigError("expected one net: a recipe; or --onnx FILE --card FILE; or --torch MODULE:FACTORY ...")
    if recipe is not None:
        return _own(recipe, run_folder)
    if card is None:
        raise ConfigError("--card is missing: a file that says what the net takes and gives (edge build --help)")
    from edge.compile.card_file import load_card_file

    spec = load_card_file(card)
    return Origin(card, spec.name, spec.table, spec.build, _adopting(onnx, torch_net, weights, card))


def _adopting(onnx: Path | None, torch_net: str | None, weights: Path | None, card: Path) -> Callable[[Path], Bundle]:
    """How a net that was trained elsewhere becomes a bundle in a folder."""
    from edge.engine import write_bundle

    if onnx is not None:
        from edge.compile.adopt import adopt

        adopting = partial(adopt, onnx, card)
    elif torch_net is not None and weights is not None:
        need("torch", "building a torch net")
        from edge.compile.torch_module import adopt_torch

        adopting = partial(adopt_torch, torch_net, weights, card)
    else:
        raise ConfigError("--weights is missing: the file that torch.save(net.state_dict(), FILE) wrote")

    def make(folder: Path) -> Bundle:
        adopted = adopting()
        return write_bundle(folder, adopted.files, adopted.card)

    return make


def _own(recipe: Path, run_folder: Path | None) -> Origin:
    """A net that `edge train` trained."""
    need("torch", "building a recipe's net")
    from edge.compile.export import holds_halves, make_bundle
    from edge.compile.observe import trained_scales
    from edge.config import load_yaml
    from edge.train.qat import qat_scales
    from edge.train.recipe import Recipe

    loaded = load_yaml(recipe, Recipe)
    if run_folder is None and loaded.checkpoint is None:
        raise ConfigError(f"{recipe}: names no `checkpoint`; name the training run's folder: --run FOLDER")
    checkpoint = run_folder or Path(str(loaded.checkpoint))
    checkpoint = checkpoint / "last.pt" if checkpoint.is_dir() else checkpoint
    halve: bool | None = None  # decided by the card's own size, for all sizes alike

    def make(folder: Path) -> Bundle:
        nonlocal halve
        bundle = make_bundle(loaded, checkpoint, folder)
        halve = holds_halves(bundle.read(bundle.graph("f32", "openvino")))
        return bundle

    def at_size(input_wh: tuple[int, int]) -> bytes:
        with TemporaryDirectory(prefix="edge-build-") as scratch:
            bundle = make_bundle(loaded.at(input_wh), checkpoint, Path(scratch, "fp32"), halve=halve)
            return bundle.read(bundle.card.graphs[0])

    def trained(bundle: Bundle) -> Scales | None:
        learnt = qat_scales(checkpoint)
        model = bundle.read(bundle.graph("f32", "openvino"))
        return trained_scales(model, bundle.card, learnt.inputs, learnt.skips) if learnt.inputs else None

    return Origin(recipe, loaded.name, loaded.table, loaded.build, make, at_size, trained, loaded.val)


def build_plan_of(origin: Origin, limit: str | None = None) -> BuildPlan:
    """What the net's file says about INT8, with other limits if given; checked now, not after minutes of work."""
    from edge.compile.judge import check_limits, parse_limits

    if origin.wish is None:
        raise ConfigError(f"{origin.file}: has no `build:` section, which says how to calibrate and what to hold")
    gate = origin.wish.gate
    limits = check_limits(gate.limits, origin.table) if limit is None else parse_limits(limit, origin.table)
    return origin.wish.model_copy(update={"gate": gate.model_copy(update={"limits": limits})})
