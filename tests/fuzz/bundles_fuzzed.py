"""Engine bundles with damage in the card or in a graph: refused, or provably the same."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import random
import shutil
import sys
from pathlib import Path

from mutants import Finding, mutated

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import card_of

from edge.card import Fingerprint, Gate, Graph, Measured, Speed
from edge.classes import CAMVID
from edge.delta import make_delta
from edge.engine import BUNDLED, Bundle, load_bundle, write_bundle
from edge.errors import EngineError

_ROAD_EVERY = 100  # the engine that comes with edge is 23 MB: it is tried less often


class Bundles:
    def __init__(self, folder: Path) -> None:
        small, road = _small_bundle(folder / "small"), folder / "road"
        shutil.copytree(BUNDLED / "road", road)
        self._whole = {bundle.folder: (bundle.card, _graphs(bundle)) for bundle in (small, load_bundle(road))}
        self._small, self._road = small.folder, road

    def try_one(self, chance: random.Random) -> str:
        folder = self._road if chance.randrange(_ROAD_EVERY) == 0 else self._small
        victim = chance.choice([folder / "card.json", *sorted(folder.iterdir())])
        was = victim.read_bytes()
        victim.write_bytes(mutated(was, chance))
        try:
            bundle = load_bundle(folder)
            found = bundle.card, _graphs(bundle)
        except EngineError as refusal:
            if not str(refusal).strip() or str(folder) not in str(refusal):
                raise Finding(f"a refusal that does not name the bundle: {refusal}") from refusal
            return f"refused, {victim.suffix}"
        finally:
            victim.write_bytes(was)
        if found != self._whole[folder]:
            raise Finding(f"{victim.name} was changed and nobody noticed")
        return f"means the same, {victim.suffix}"

    def close(self) -> None:
        pass


def _graphs(bundle: Bundle) -> list[str]:
    return [hashlib.sha256(bundle.read(graph)).hexdigest() for graph in bundle.card.graphs]


def _small_bundle(folder: Path) -> Bundle:
    """Every part that a card can have, and graphs whose bytes nobody looks into."""
    dice = random.Random(1)
    graphs = {"model.onnx": dice.randbytes(4096), "int8.openvino.onnx": dice.randbytes(2048)}
    other = dice.randbytes(64) + graphs["model.onnx"][64:]
    plain = card_of(
        Graph("model.onnx", "fp32", "any", hashlib.sha256(graphs["model.onnx"]).hexdigest()),
        Graph("int8.openvino.onnx", "int8", "openvino", hashlib.sha256(graphs["int8.openvino.onnx"]).hexdigest()),
        table=CAMVID,
        name="small",
        precision="int8",
    )
    delta = base64.b64encode(make_delta(graphs["model.onnx"], other)).decode()
    at_size = Graph("model.onnx", "fp32", "any", hashlib.sha256(other).hexdigest(), (64, 40), delta)
    card = dataclasses.replace(
        plain,
        graphs=(*plain.graphs, at_size),
        gate=Gate("none", 12, "none", "3" * 64, {"miou": 1.0}, {"int8.openvino.onnx": {"miou": 0.25}}, ("conv_1",)),
        fingerprint=Fingerprint(dict.fromkeys(CAMVID.names, 1 / len(CAMVID.names)), 0.31, 0.07, 0.11),
        measured=Measured(speed=(Speed("2 x Zen 5", 2, "int8", 500, 15.8, 18.25),)),
    )
    return write_bundle(folder, graphs, card)
