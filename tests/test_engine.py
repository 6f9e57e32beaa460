from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import graph_of
from hypothesis import given
from hypothesis import strategies as st

import edge.engine
from edge.backends import open_engine
from edge.card import Accuracy, Card, Gate, Graph, Measured, Speed, Versions
from edge.classes import CAMVID, make_table
from edge.delta import make_delta
from edge.engine import CHECKOUT, MODEL_FILE, Bundle, find_bundle, list_bundles, load_bundle, write_bundle
from edge.errors import BundleTampered, EngineError, EngineNotFound

MODEL = b"a graph"

ACCURACY = Accuracy(
    graph="model.onnx",
    precision="f32",
    judge="OpenVINO 2026.4.1",
    data="CamVid val",
    frames=101,
    miou=0.75,
    pixel_accuracy=0.93,
    iou={"Road": 0.96, "Pole": None},
    command="edge evaluate road",
)

GATE = Gate(
    data="CamVid val",
    frames=101,
    calibration="road",
    scales_sha256="c" * 64,
    limits={"miou": 0.5, "Road": 0.3},
    lost={"int8.openvino.onnx": {"miou": 0.1, "Road": -0.02}},
    kept_float=("conv_1",),
)
SPEED = Speed(machine="2 x Zen 5", threads=2, precision="f32", frames=500, p50_ms=15.8, p99_ms=18.25)


@pytest.fixture
def card(make_card: Any) -> Card:
    return make_card(MODEL)


def tree_of(card: Card) -> dict[str, Any]:
    return json.loads(card.to_json())


# ------------------------------------------------------------------------------------------------------------ the card


def test_a_card_survives_the_way_through_json(card: Card) -> None:
    full = dataclasses.replace(
        card,
        table=CAMVID,
        resize="stretch",
        description='grün, "quoted"',
        gate=GATE,
        measured=Measured((ACCURACY,), (SPEED, SPEED)),
    )
    assert Card.from_json(full.to_json(), "card.json") == full


@given(
    names=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    ignore_id=st.integers(0, 255),
    width=st.integers(8, 8192),
    share=st.floats(0, 1),
    text=st.text(max_size=40),
)
def test_any_card_survives_the_way_through_json(
    names: list[str], colour: tuple[int, int, int], ignore_id: int, width: int, share: float, text: str
) -> None:
    table = make_table([(name, colour) for name in names], {text: names}, {text: colour}, ignore_id)
    accuracy = dataclasses.replace(ACCURACY, miou=share, iou=dict.fromkeys(names, share), command=text)
    card = Card(
        name="a",
        description=text,
        table=table,
        input_wh=(width, 8),
        resize="letterbox",
        net=text,
        precision="fp32",
        training_data=text,
        licence=text,
        trained_steps=ignore_id,
        recipe_sha256="0" * 64,
        created="2025-12-31",
        versions=Versions(text, text, 17),
        graphs=(Graph("model.onnx", "fp32", "any", "a" * 64),),
        weights_sha256="b" * 64,
        measured=Measured((accuracy,)),
    )
    assert Card.from_json(card.to_json(), "card.json") == card


def test_a_card_reads_well_with_one_colour_a_line(card: Card) -> None:
    assert '"colour_rgb": [0, 0, 255]' in card.to_json()
    assert '"input_wh": [64, 48]' in card.to_json()


@pytest.mark.parametrize(
    ("was", "put"),
    [('"trained_steps": 7', '"trained_steps": 8'), ("which colour a pixel", "what colour a pixel"), ("255]", "254]")],
)
def test_a_card_with_another_figure_word_or_colour_than_was_written_is_refused(card: Card, was: str, put: str) -> None:
    text = card.to_json()
    assert was in text
    with pytest.raises(BundleTampered, match="is not as it was written"):
        Card.from_json(text.replace(was, put, 1), "card.json")


def test_a_change_that_is_meant_is_made_with_the_hash_that_the_refusal_names(card: Card) -> None:
    changed = card.to_json().replace("which colour", "what colour")
    with pytest.raises(BundleTampered) as refusal:
        Card.from_json(changed, "card.json")
    (line,) = re.findall(r'"card_sha256": "[0-9a-f]{64}"', str(refusal.value))
    meant = re.sub(r'"card_sha256": "[0-9a-f]{64}"', line, changed)
    assert Card.from_json(meant, "card.json") == dataclasses.replace(card, description="what colour a pixel has")


def test_a_card_with_other_white_space_or_order_of_keys_is_the_same(card: Card) -> None:
    tree = dict(reversed(tree_of(card).items()))
    assert Card.from_json(json.dumps(tree), "card.json") == card


def test_every_misfit_of_a_card_is_named_at_once(card: Card) -> None:
    tree = tree_of(card)
    tree["resize"] = "crop"
    tree["input_wh"] = [64, 4.5]
    tree["recipie_sha256"] = tree.pop("recipe_sha256")
    tree["versions"]["opset"] = "17"
    tree["classes"][2]["colour_rgb"] = [255, 0, 256]
    tree["measured"]["speed"] = [{"machine": "m"}]
    with pytest.raises(EngineError) as caught:
        Card.from_json(json.dumps(tree), "a/card.json")
    message = str(caught.value)
    assert message.startswith("a/card.json: 11 problem(s)\n")
    for line in (
        'resize: expected letterbox or stretch, got "crop"',
        "input_wh: expected [width, height] in pixels, 8 to 8192 each, got [64, 4.5]",
        "recipe_sha256: is missing",
        "recipie_sha256: no such key; did you mean 'recipe_sha256'?",
        'versions.opset: expected a whole number from 1 to 1000, got "17"',
        "classes.2.colour_rgb: expected [red, green, blue], 0 to 255 each, got [255, 0, 256]",
        "measured.speed.0.p99_ms: is missing",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("format", True),
        ("name", "../etc"),
        ("name", ""),
        ("trained_steps", -1),
        ("trained_steps", 1.0),
        ("created", "yesterday"),
        ("graphs", []),
        ("graphs", [{"file": "../x.onnx", "precision": "fp32", "runtime": "any", "sha256": "a" * 64}]),
        ("graphs", [{"file": "a.onnx", "precision": "fp32", "runtime": "any", "sha256": "A" * 64}]),
        ("graphs", [{"file": "a.onnx", "precision": "int8", "runtime": "any", "sha256": "a" * 64}]),
        ("precision", "fp4"),
        ("ignore_id", 256),
        ("groups", {"road": "Road"}),
        ("groups", {"road": ["NoSuchClass"]}),
        ("tints", {"nowhere": [1, 2, 3]}),
        ("classes", []),
        ("classes", "Road"),
        ("measured", None),
        ("measured", {"accuracy": [], "speed": [], "smell": []}),
        ("versions", []),
        ("versions", {"edge": "0.1", "torch": "2.13", "opset": 17, "numpy": "2.0"}),
        ("description", 5),
    ],
)
def test_a_card_with_a_wrong_value_is_refused_by_name(card: Card, key: str, value: Any) -> None:
    with pytest.raises(EngineError, match="problem"):
        Card.from_json(json.dumps({**tree_of(card), key: value}), "card.json")


@pytest.mark.parametrize("share", [-0.01, 1.01, True, "0.5"])
def test_a_card_with_an_impossible_accuracy_is_refused(card: Card, share: Any) -> None:
    tree = tree_of(dataclasses.replace(card, measured=Measured((ACCURACY,))))
    tree["measured"]["accuracy"][0]["iou"]["Road"] = share
    with pytest.raises(EngineError, match=r"measured\.accuracy\.0\.iou"):
        Card.from_json(json.dumps(tree), "card.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"format": 1, "format": 1}', "'format' occurs twice"),
        ('{"format": NaN}', "NaN is not a number"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "the whole file: expected an object, got []"),
        ("null", "the whole file"),
        (" " * (1 << 20) + "{}", "larger than"),
        ('"\u00fc"' * 400_000, "larger than"),
    ],
)
def test_what_is_no_card_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(EngineError) as caught:
        Card.from_json(text, "card.json")
    assert reason in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_no_value_under_any_key_breaks_the_card_reader(value: Any) -> None:
    keys = [field.name for field in dataclasses.fields(Card)] + ["classes", "groups", "tints", "ignore_id"]
    with pytest.raises(EngineError):
        Card.from_json(json.dumps(dict.fromkeys(keys, value)), "card.json")


# ---------------------------------------------------------------------------------------------------------- the bundle


def test_a_written_bundle_is_read_back(card: Card, tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "deep" / "colours", {MODEL_FILE: MODEL}, card)
    assert load_bundle(tmp_path / "deep" / "colours") == written
    assert graph_of(written) == MODEL
    assert sorted(p.name for p in (tmp_path / "deep").rglob("*")) == ["card.json", "colours", "model.onnx"]


def test_a_bundle_replaces_the_one_that_is_there(card: Card, make_card: Any, tmp_path: Path) -> None:
    write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    (tmp_path / "colours" / "left-over").touch()
    write_bundle(tmp_path / "colours", {MODEL_FILE: b"another"}, make_card(b"another"))
    assert graph_of(find_bundle(tmp_path / "colours")) == b"another"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["card.json", "colours", "model.onnx"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(card: Card, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(EngineError, match="holds something that is not an engine bundle"):
        write_bundle(tmp_path, {MODEL_FILE: MODEL}, card)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(
    card: Card, make_card: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match="No space left on device"):
        write_bundle(tmp_path / "colours", {MODEL_FILE: b"another"}, make_card(b"another"))
    assert graph_of(load_bundle(tmp_path / "colours")) == MODEL
    assert [p.name for p in tmp_path.iterdir()] == ["colours"]


def test_a_swap_that_fails_half_way_is_taken_back(
    card: Card, make_card: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    rename = Path.rename

    def refuse_the_new(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(EngineError, match="Input/output error"):
        write_bundle(tmp_path / "colours", {MODEL_FILE: b"another"}, make_card(b"another"))
    assert graph_of(load_bundle(tmp_path / "colours")) == MODEL


def test_a_bundle_is_not_written_with_a_card_of_another_graph(card: Card, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="made for other graphs"):
        write_bundle(tmp_path / "colours", {MODEL_FILE: b"not the graph"}, card)
    assert not list(tmp_path.iterdir())


def test_a_tampered_graph_is_refused_with_both_hashes(card: Card, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    (bundle.folder / MODEL_FILE).write_bytes(b"a grapH")
    found, expected = (hashlib.sha256(content).hexdigest()[:8] for content in (b"a grapH", MODEL))
    with pytest.raises(BundleTampered) as caught:
        graph_of(bundle)
    assert str(bundle.folder / MODEL_FILE) in str(caught.value)
    assert f"(sha256 {found}… found, {expected}… expected)" in str(caught.value)


def test_an_unreadable_graph_is_an_engine_error(card: Card, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    (bundle.folder / MODEL_FILE).unlink()
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        graph_of(bundle)


def test_a_folder_without_a_card_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).touch()
    with pytest.raises(EngineNotFound, match=r"is not an engine bundle, card\.json missing"):
        load_bundle(tmp_path)


def test_a_card_without_any_of_its_graphs_is_no_bundle(tmp_path: Path, card: Card) -> None:
    (tmp_path / "card.json").write_text(card.to_json())
    with pytest.raises(EngineNotFound, match=r"expected at least one of its graphs: model\.onnx"):
        load_bundle(tmp_path)


def two_graphs(card: Card) -> Card:
    int8 = Graph("int8.openvino.onnx", "int8", "openvino", hashlib.sha256(b"int8").hexdigest())
    return dataclasses.replace(card, graphs=(*card.graphs, int8), precision="int8")


def test_each_precision_and_runtime_gets_its_own_graph(tmp_path: Path, card: Card) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL, "int8.openvino.onnx": b"int8"}, two_graphs(card))
    assert bundle.read(bundle.graph("int8", "openvino")) == b"int8"
    for precision, runtime in (("f32", "openvino"), ("bf16", "openvino"), ("fp16", "tensorrt")):
        assert bundle.read(bundle.graph(precision, runtime)) == MODEL


def test_a_graph_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, card: Card) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL, "int8.openvino.onnx": b"int8"}, two_graphs(card))
    with pytest.raises(EngineError, match="no int8 graph for tensorrt; there is: fp32 for any, int8 for openvino"):
        bundle.graph("int8", "tensorrt")


def test_a_bundle_serves_with_the_graphs_that_are_left_in_it(tmp_path: Path, card: Card) -> None:
    write_bundle(tmp_path / "b", {MODEL_FILE: MODEL, "int8.openvino.onnx": b"int8"}, two_graphs(card))
    (tmp_path / "b" / MODEL_FILE).unlink()
    bundle = load_bundle(tmp_path / "b")
    assert bundle.read(bundle.graph("int8", "openvino")) == b"int8"
    with pytest.raises(EngineError, match=r"model.onnx: cannot be read"):
        bundle.read(bundle.graph("f32", "openvino"))


def test_a_card_too_large_to_be_one_is_not_read(card: Card, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    (bundle.folder / "card.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(EngineError, match="larger than 1048576 bytes"):
        load_bundle(bundle.folder)


def test_a_card_that_is_not_text_is_an_engine_error(card: Card, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours", {MODEL_FILE: MODEL}, card)
    (bundle.folder / "card.json").write_bytes(b"\xff\xfe")
    with pytest.raises(EngineError, match="is not UTF-8"):
        load_bundle(bundle.folder)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: Card) -> Path:
    """A working directory with the bundles `road` and `night` built in it, and a bundled `road`, made 7 and 9 steps."""
    monkeypatch.setattr(edge.engine, "BUNDLED", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "package" / "road", {MODEL_FILE: MODEL}, dataclasses.replace(card, trained_steps=9))
    write_bundle(Path("engines/built/road"), {MODEL_FILE: MODEL}, card)
    write_bundle(Path("engines/built/night"), {MODEL_FILE: MODEL}, card)
    return tmp_path


def test_a_name_is_looked_up_among_the_bundled_engines_first(homes: Path) -> None:
    assert find_bundle("road").card.trained_steps == 9
    assert find_bundle().folder == homes / "package" / "road"
    assert find_bundle("night").folder == Path("engines/built/night")


@pytest.mark.parametrize("path", ["engines/built/road", "engines/built/road/", "./engines/built/road/model.onnx"])
def test_a_path_leads_to_its_own_bundle(homes: Path, path: str) -> None:
    assert find_bundle(path).card.trained_steps == 7
    assert find_bundle(Path(path)).card.trained_steps == 7


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_list(homes: Path) -> None:
    with pytest.raises(EngineNotFound) as caught:
        find_bundle("nihgt")
    assert str(caught.value) == (
        "no engine is called 'nihgt', and no folder either; did you mean 'night'? There are: night, road"
    )
    assert list_bundles() == ["night", "road"]


@pytest.mark.parametrize("folder", ["engines/large", "engines/mine/large"])
def test_a_folder_below_engines_is_named_when_its_name_alone_is_given(homes: Path, card: Card, folder: str) -> None:
    Path(folder).mkdir(parents=True)
    write_bundle(Path(folder), {MODEL_FILE: MODEL}, card)
    with pytest.raises(EngineNotFound) as caught:
        find_bundle("large")
    assert str(caught.value) == (
        f"no engine is called 'large', and no folder either, but its folder is {folder}: give that in its place, as in"
        f" --engine {folder}. There are: night, road"
    )
    assert find_bundle(folder).card == card
    with pytest.raises(EngineNotFound, match=f"; did you mean --engine {folder}\\? There are: night, road"):
        find_bundle("larg")


def test_a_recipe_that_was_not_built_yet_is_named_with_the_command_that_builds_it(homes: Path) -> None:
    Path("engines/mine.yaml").touch()
    with pytest.raises(EngineNotFound, match=r", but a recipe: edge build engines/mine\.yaml makes the engine\."):
        find_bundle("mine")


@pytest.mark.parametrize("cloned", [True, False])
def test_an_engine_of_the_repository_is_found_from_anywhere_in_a_clone_and_else_said_to_be_there(
    homes: Path, monkeypatch: pytest.MonkeyPatch, cloned: bool
) -> None:
    where = CHECKOUT if cloned else homes / "nowhere"
    monkeypatch.setattr(edge.engine, "CHECKOUT", where)
    hint = f"as in --engine {CHECKOUT / 'large'}" if cloned else "In a clone of it: --engine engines/large; elsewhere"
    with pytest.raises(EngineNotFound, match=re.escape(hint)):
        find_bundle("large")


@pytest.mark.parametrize("name", ["yolov8n.pt", "mine/net.onnx"])
def test_a_net_of_yours_is_answered_with_the_way_to_make_an_engine_of_it(homes: Path, name: str) -> None:
    Path("mine").mkdir()
    Path("mine/net.onnx").touch()
    with pytest.raises(EngineNotFound, match=f"^{name}: .* net's file. Make an engine of it with edge build"):
        find_bundle(name)


@pytest.mark.parametrize("name", ["../package/none", "", "a\nb", "no/such/model.onnx", "Road"])
def test_what_is_neither_name_nor_path_is_not_found(homes: Path, name: str) -> None:
    with pytest.raises(EngineNotFound, match="no engine is called"):
        find_bundle(name)


# ---------------------------------------------------------------------------------------------------------- the engine


def test_an_opened_engine_sees_what_its_card_says(colour_bundle: Bundle, flag: Any, flag_classes: Any) -> None:
    with open_engine(colour_bundle.folder, threads=1) as engine:
        assert (engine.card, engine.precision, engine.threads) == (colour_bundle.card, "f32", 1)
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


def test_an_unknown_engine_is_not_opened() -> None:
    with pytest.raises(EngineNotFound):
        open_engine("no-such-engine")


def test_importing_the_engine_module_brings_in_nothing_heavy() -> None:
    heavy = ["openvino", "torch", "onnx", "cv2", "pydantic", "yaml", "av", "rich", "typer"]
    code = f"import sys, edge.engine; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------- other input sizes


def wide(card: Card, size_wh: tuple[int, int] = (64, 36), graph: bytes = b"a wide graph") -> Card:
    delta = base64.b64encode(make_delta(MODEL, graph)).decode()
    other = Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(graph).hexdigest(), size_wh, delta)
    return dataclasses.replace(card, graphs=(*card.graphs, other))


def test_a_graph_at_another_size_is_made_of_the_file_and_its_delta(tmp_path: Path, card: Card) -> None:
    write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, wide(card))
    bundle = load_bundle(tmp_path / "b").at((64, 36))
    assert bundle.card.input_wh == (64, 36)
    assert bundle.read(bundle.graph("f32", "openvino")) == b"a wide graph"
    assert graph_of(load_bundle(tmp_path / "b")) == MODEL


@pytest.mark.parametrize(
    ("source_wh", "size_wh"),
    [
        ((1280, 720), (64, 36)),
        ((1920, 1080), (64, 36)),
        ((640, 480), (64, 48)),
        ((480, 640), (64, 48)),
        ((9, 1), (64, 36)),
    ],
)
def test_frames_get_the_size_that_shows_them_largest_with_the_least_black_around(
    tmp_path: Path, card: Card, source_wh: tuple[int, int], size_wh: tuple[int, int]
) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, wide(card))
    assert bundle.fitted(source_wh).card.input_wh == size_wh


def test_an_engine_that_stretches_has_one_size(tmp_path: Path, card: Card) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, dataclasses.replace(wide(card), resize="stretch"))
    assert bundle.fitted((1280, 720)).card.input_wh == (64, 48)


def test_a_size_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, card: Card) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, wide(card))
    with pytest.raises(EngineError, match=r"has no input of \(9, 9\), but: \(64, 36\), \(64, 48\)"):
        bundle.at((9, 9))


def test_a_bundle_at_another_size_has_a_card_that_reads_back_and_leads_to_every_size(
    tmp_path: Path, card: Card
) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, wide(wide(card, (32, 64), b"a tall graph")))
    for size_wh in ((64, 36), (32, 64), (64, 48)):
        other = bundle.at(size_wh)
        assert Card.from_json(other.card.to_json(), "a drive") == other.card
        assert set(other.at((64, 48)).card.graphs) == set(bundle.card.graphs)
        assert {graph.input_wh for graph in other.card.graphs} == {None, (64, 36), (32, 64), (64, 48)} - {size_wh}


def test_a_card_of_a_drive_recorded_before_lists_deltas_alone_and_opens_but_is_no_bundle(
    tmp_path: Path, card: Card
) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, wide(card))
    alone = tuple(dataclasses.replace(g, input_wh=None) for g in bundle.card.graphs if g.delta)
    former = dataclasses.replace(card, input_wh=(64, 36), graphs=alone)
    assert Card.from_json(former.to_json(), "a drive") == former
    (tmp_path / "b" / "card.json").write_text(former.to_json())
    with pytest.raises(EngineError, match=r"model.onnx only with a delta, expected the whole file too"):
        load_bundle(tmp_path / "b")


def test_a_delta_that_gives_another_graph_is_refused(tmp_path: Path, card: Card) -> None:
    card = wide(card)
    forged = dataclasses.replace(card.graphs[1], delta=base64.b64encode(make_delta(MODEL, b"evil")).decode())
    bundle = write_bundle(
        tmp_path / "b", {MODEL_FILE: MODEL}, dataclasses.replace(card, graphs=(card.graphs[0], forged))
    )
    with pytest.raises(BundleTampered, match="not the one its card was made for"):
        graph_of(bundle.at((64, 36)))
    torn = dataclasses.replace(forged, delta="QUJD")
    card = dataclasses.replace(card, graphs=(card.graphs[0], torn))
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: MODEL}, card)
    with pytest.raises(BundleTampered, match="its form for 64x36 cannot be made: not a difference"):
        graph_of(bundle.at((64, 36)))


@pytest.mark.slow
def test_an_engine_is_fitted_to_the_frames_to_come(street_net: Any, tmp_path: Path, make_card: Any) -> None:
    from edge.compile.export import export_onnx

    tall, flat = (export_onnx(street_net, size_wh) for size_wh in ((96, 72), (96, 56)))
    delta = base64.b64encode(make_delta(tall, flat)).decode()
    card = make_card(tall, table=CAMVID, input_wh=(96, 72), name="street")
    other = Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(flat).hexdigest(), (96, 56), delta)
    write_bundle(tmp_path / "b", {MODEL_FILE: tall}, dataclasses.replace(card, graphs=(*card.graphs, other)))
    write_bundle(tmp_path / "flat", {MODEL_FILE: flat}, make_card(flat, table=CAMVID, input_wh=(96, 56), name="street"))
    image = np.random.default_rng(2).integers(0, 256, (56, 96, 3), np.uint8)
    with open_engine(tmp_path / "b", source_wh=(1280, 720)) as fitted, open_engine(tmp_path / "flat") as plain:
        assert fitted.card.input_wh == (96, 56)
        np.testing.assert_array_equal(fitted.infer(image)["semantic"], plain.infer(image)["semantic"])
    with open_engine(tmp_path / "b", source_wh=lambda: (640, 480)) as engine:
        assert engine.card.input_wh == (96, 72)
    assert len(delta) < 4000  # weights are not stored again
