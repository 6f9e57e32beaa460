from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from edge.config import StrictModel, data_name, data_path, drive_name, load_yaml, parse_size_wh, parse_tree
from edge.errors import ConfigError


class Wheel(StrictModel):
    radius_mm: Annotated[float, Field(gt=0)] = 300.0


class Body(StrictModel):
    doors: int = 5


class Car(StrictModel):
    name: str
    wheels: tuple[Wheel, ...] = ()
    body: Body | None = None
    span: tuple[float, float] = (0.0, 1.0)
    electric: bool = False


def load(tmp_path: Path, text: str | bytes) -> Car:
    path = tmp_path / "car.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_yaml(path, Car)


def complaint(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'car.yaml'}: ")
    return message


def test_a_file_becomes_a_typed_value(tmp_path: Path) -> None:
    text = """
    name: Zoe            # a comment
    wheels: [{radius_mm: 310}, {}]
    body: {doors: 3}
    span: [-1, 2.5]
    electric: true
    """
    assert load(tmp_path, text) == Car(
        name="Zoe", wheels=(Wheel(radius_mm=310.0), Wheel()), body=Body(doors=3), span=(-1.0, 2.5), electric=True
    )


def test_a_loaded_value_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, "name: Zoe").name = "Leaf"


def test_numbers_may_be_written_with_an_exponent_and_no_dot(tmp_path: Path) -> None:
    assert load(tmp_path, "{name: Zoe, span: [1e-3, 2E+2]}").span == (0.001, 200.0)


@pytest.mark.parametrize("text", ["2025-12-31", "2025-02-31", "2001-12-14t21:59:43.10-05:00", "yes", "010", "12:30"])
def test_text_that_looks_like_something_else_stays_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"name: {text}").name == text


def test_a_config_too_large_to_be_one_is_refused_unread(tmp_path: Path) -> None:
    assert "is larger than" in complaint(tmp_path, "# " + "x" * (1 << 18))


@pytest.mark.parametrize("text", ["name: [\u202e", "{name: Zoe, \u202e: 1}", '{name: Zoe, "\\e[2J": 1}'])
def test_a_complaint_is_fit_for_a_terminal_whatever_the_file_holds(tmp_path: Path, text: str) -> None:
    assert complaint(tmp_path, text).replace("\n", "").isprintable()


def test_all_problems_are_listed_with_the_path_of_their_key(tmp_path: Path) -> None:
    text = """
    nam: Zoe
    wheels: [{radius_mm: 1}, {radius_mm: -1, raduis_mm: 2}]
    body: {dors: 3}
    span: [1, 2, 3]
    """
    assert complaint(tmp_path, text).split("\n  ") == [
        f"{tmp_path / 'car.yaml'}: 6 problem(s)",
        "name: is missing",
        "wheels.1.radius_mm: Input should be greater than 0, found -1",
        "wheels.1.raduis_mm: no such key; did you mean 'radius_mm'?",
        "body.dors: no such key; did you mean 'doors'?",
        "span: Tuple should have at most 2 items after validation, not 3, found [1, 2, 3]",
        "nam: no such key; did you mean 'name'?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{name: Zoe, body: {doors: '5'}}",
        "{name: Zoe, body: {doors: 5.0}}",
        "{name: Zoe, body: {doors: true}}",
        "{name: Zoe, electric: 1}",
        "{name: Zoe, electric: 'true'}",
        "{name: 5}",
        "{name: true}",
        "{name: null}",
        "{name: Zoe, electric: yes}",
        "{name: Zoe, body: {doors: 010}}",
        "{name: Zoe, body: {doors: 0x5}}",
        "{name: Zoe, body: {doors: 1_0}}",
        "{name: Zoe, body: {doors: 0:05}}",
        "{name: Zoe, span: ['1', '2']}",
        "{name: Zoe, span: [.inf, .nan]}",
        "{name: Zoe, wheels: {radius_mm: 5}}",
        "[name, Zoe]",
        "Zoe",
        "",
    ],
)
def test_a_value_of_another_kind_is_not_bent_to_fit(tmp_path: Path, text: str) -> None:
    assert "problem(s)\n" in complaint(tmp_path, text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "expected"),
        ("name: Zoe\nname: Leaf", "key 'name' occurs twice"),
        ("body: {doors: 1, doors: 2}", "key 'doors' occurs twice"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("name: !!python/object/apply:os.system [true]", "'python/object/apply:os.system' is no type for a config"),
        ("name: !!binary aGk=", "'binary' is no type for a config"),
        ("name: !!set {a}", "'set' is no type for a config"),
        ("name: !!timestamp 2025-12-31", "'timestamp' is no type for a config"),
        ("name: Zoe\ntrue: 6", "a key must be plain text"),
        ("{[1, 2]: 3}", "a key must be plain text"),
        ("{{a: 1}: 3}", "a key must be plain text"),
        ("name: !!int x", "invalid literal"),
        ("[" * 5000, "recursion"),
        (b"name: \xff", "can't decode"),
        ("name: a\0b", "not allowed"),
        ("name: Zoe\n---\nname: Leaf", "single document"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_the_reason(tmp_path: Path, text: str | bytes, reason: str) -> None:
    message = complaint(tmp_path, text)
    assert "is not valid YAML" in message
    assert reason in message
    assert "\n" not in message


def test_an_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file\. Look at what is there: ls "):
        load_yaml(tmp_path / "none.yaml", Car)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path, Car)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "car.yaml")
    with pytest.raises(ConfigError, match="expected a file, got a pipe"):
        load_yaml(tmp_path / "car.yaml", Car)


@pytest.mark.parametrize(
    "text",
    [
        "name: [rtsp://me:hunter2@camera/1]",
        "name: {url: 'rtsp://me:hunter2@camera/1'}",
        "{name: Zoe, body: 'mqtts://me:hunter2@h'}",
        "name: 'rtsp://me:hunter2@camera/1\nelectric: true",
        "name: rtsp://me:hunter2@camera/1: x",
        "{name: Zoe, password: hunter2}",
        "{name: Zoe, body: {password: hunter2}}",
        "{'rtsp://me:hunter2@camera/1': Zoe}",
        "{name: Zoe, 'rtsp://me:hunter2@camera/1': {x: 'a\\0b'}}",
        "{'rtsp://me:hunter2@camera/1': 1, 'rtsp://me:hunter2@camera/1': 2}",
    ],
)
def test_no_complaint_shows_a_secret(tmp_path: Path, text: str) -> None:
    assert "hunter2" not in complaint(tmp_path, text)


def test_a_long_wrong_value_is_cut_in_the_message(tmp_path: Path) -> None:
    assert len(complaint(tmp_path, f"name: [{'x, ' * 1000}]")) < 400


@pytest.mark.slow
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x)))
def test_any_tree_either_fits_or_is_a_config_error(tree: Any) -> None:
    with contextlib.suppress(ConfigError):
        parse_tree({"name": "Zoe", "span": tree}, Car, "here")


# ---------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(("text", "size_wh"), [("1280x720", (1280, 720)), ("1x1", (1, 1)), ("99999x2", (99999, 2))])
def test_a_size_is_read_width_first(text: str, size_wh: tuple[int, int]) -> None:
    assert parse_size_wh(text) == size_wh


@pytest.mark.parametrize(
    "text",
    ["", "1280", "1280X720", "0x720", "01x2", "-1x2", "1x2x3", " 1x2", "1x2\n", "1.0x2", "100000x2", "\u0661x\u0662"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a size is WIDTHxHEIGHT"):
        parse_size_wh(text)


@given(st.integers(1, 99999), st.integers(1, 99999))
def test_every_size_can_be_written_and_read(width: int, height: int) -> None:
    assert parse_size_wh(f"{width}x{height}") == (width, height)


# ---------------------------------------------------------------------------------------------------------------- paths


def test_edge_data_stands_for_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DATA", "/srv/data")
    assert data_path("$EDGE_DATA/camvid/train") == Path("/srv/data/camvid/train")
    assert data_path("$EDGE_DATA") == Path("/srv/data")
    assert data_path("/srv/$EDGE_DATA") == Path("/srv/$EDGE_DATA")
    assert data_path("camvid") == Path("camvid")


def test_a_longer_name_is_another_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DATA", "/srv/data")
    assert data_path("$EDGE_DATASETS/camvid") == Path("$EDGE_DATASETS/camvid")


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("EDGE_DATA", "~/data")  # as a unit file would pass it, unexpanded
    assert data_path("~/camvid") == Path("/home/someone/camvid")
    assert data_path("$EDGE_DATA/camvid") == Path("/home/someone/data/camvid")


@pytest.mark.parametrize("value", [None, ""])
def test_without_edge_data_the_message_says_how_to_set_it(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("EDGE_DATA", value)
    with pytest.raises(ConfigError, match=r"\$EDGE_DATA/camvid: set EDGE_DATA to the folder"):
        data_path("$EDGE_DATA/camvid")


def test_a_key_of_another_part_is_not_suggested_for_itself() -> None:
    from edge.train.recipe import Recipe

    tree = {"name": "x", "precision": "bf16"}  # of `optimisation`
    with pytest.raises(ConfigError, match="precision: no such key here; 'precision' belongs to another part") as caught:
        parse_tree(tree, Recipe, "x.yaml")
    assert "did you mean 'precision'" not in str(caught.value)


def test_a_path_among_the_data_is_written_so_that_it_holds_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_DATA", str(tmp_path))
    inside = str(tmp_path / "camvid/val")
    assert data_name(inside) == "$EDGE_DATA/camvid/val"
    assert drive_name(data_name(inside)) == inside
    for other in ("camvid/val", "/elsewhere/val", "scene:street?seed=1"):
        assert drive_name(data_name(other)) == other
