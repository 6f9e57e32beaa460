"""A device's table: its file, its front, and how it is shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tables_made import make_cell, make_device, make_figures

from edge.devices.plot import front_svg
from edge.devices.table import DeviceTable, front, load_table, this_machine
from edge.devices.text import table_markdown, table_text
from edge.errors import ConfigError

HOME = Path(__file__).parents[2]
FAST, RIGHT = make_cell("int8", make_figures(4.0, 0.70)), make_cell("f32", make_figures(12.0, 0.74))
SLOW = make_cell("bf16", make_figures(20.0, 0.73))
UNKNOWN = make_cell("fp16", make_figures(1.0, None))
FAILED = make_cell("int8", None, engine="small", error="is not the one its card was made for")


def test_the_front_has_what_nothing_is_faster_and_as_right_as() -> None:
    assert front([SLOW, RIGHT, UNKNOWN, FAILED, FAST]) == [FAST, RIGHT]
    assert front([make_cell("f32", make_figures(4.0, 0.69)), FAST]) == [FAST]
    assert front([FAILED]) == []


def test_a_file_gives_the_table_that_was_written(tmp_path: Path) -> None:
    device = make_device(FAST, FAILED, absent={"tensorrt": "no GPU"})
    (tmp_path / "a.json").write_text(device.model_dump_json(indent=1))
    assert load_table(tmp_path / "a.json") == device


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is not a table of `edge bench --table`"),
        ("{", "is not a table of `edge bench --table`"),
        (make_device(FAST).model_dump_json().replace('"cores":6', '"cores":"6"'), "machine.cores"),
    ],
)
def test_another_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_table(tmp_path / "a.json")


def test_a_cell_takes_the_place_of_the_one_of_its_name() -> None:
    again = make_cell("int8", make_figures(5.0, 0.71))
    assert make_device(FAST, RIGHT).with_cell(again).cells == (again, RIGHT)
    assert make_device(FAST).with_cell(RIGHT).cells == (FAST, RIGHT)


def test_the_table_has_a_line_per_cell_and_says_what_is_missing() -> None:
    text = table_text(make_device(FAST, RIGHT, SLOW, FAILED, absent={"tensorrt": "no GPU"}, power="no power meter"))
    lines = [line.split() for line in text.splitlines() if line.startswith("road ")]
    assert lines[0][-4:] == ["0.7000*", "0.9000", "-", "321"]
    assert [line[-4][-1] for line in lines] == ["*", "*", "0"]
    assert "no figures: small 480x288 int8 openvino: is not the one its card was made for" in text
    assert "not here: tensorrt: no GPU" in text
    assert "no watts: no power meter" in text
    assert " W" not in text


def test_watts_have_a_column_where_the_machine_reports_them_and_a_busy_machine_is_named() -> None:
    figures = make_figures(4.0, 0.7, watts={"VDD_IN": 9.8, "VDD_CPU_GPU_CV": 4.1}, others_share=0.4)
    text = table_text(make_device(make_cell("int8", figures)))
    assert text.splitlines()[4].split()[-2:] == ["MB", "W"]
    assert text.splitlines()[5].split()[-1] == "9.8"
    assert "other processes took up to 40% of the cores" in text


def test_markdown_has_the_same_rows() -> None:
    rows = [line for line in table_markdown(make_device(FAST, RIGHT)).splitlines() if line.startswith("| road")]
    assert rows[0].startswith("| road | 480x288 | int8 | openvino | 250.0 | 4.00 | 8.00 | 6.0 | 10.0 | 0.7000\\* |")
    assert len(rows) == 2


@pytest.mark.slow
def test_the_plot_is_svg_with_a_mark_per_cell_and_the_same_bytes_each_time() -> None:
    pytest.importorskip("matplotlib")
    device = make_device(FAST, RIGHT, SLOW, UNKNOWN, FAILED)
    svg = front_svg(device)
    assert svg == front_svg(device)
    words = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"road int8", "road f32", "road bf16", "Pareto front", "mIoU", "A Board"} <= set(words)
    assert "road fp16" not in words


def test_nothing_to_plot_is_said_with_what_to_type() -> None:
    with pytest.raises(ConfigError, match="--labelled FRAMES"):
        front_svg(make_device(UNKNOWN, FAILED))


def test_this_machine_is_described_so_that_the_file_has_it() -> None:
    found = this_machine()
    assert found.cores > 0
    assert found.memory_gb > 0.1
    assert {"numpy", "openvino"} <= set(found.libraries)
    assert DeviceTable.model_validate_json(make_device().model_copy(update={"machine": found}).model_dump_json())


def test_each_file_of_the_repository_is_a_table_with_figures() -> None:
    for path in (HOME / "benchmarks/devices").glob("*.json"):
        assert any(cell.figures for cell in load_table(path).cells), path
