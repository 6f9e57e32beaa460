"""The site's page of devices, made from files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tables_made import make_cell, make_device, make_figures

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME / "docs/generate"))

from device_pages import NONE_YET, devices_tables, front_of, known_devices  # noqa: E402


def test_each_file_has_a_section_with_table_and_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert NONE_YET in devices_tables(tmp_path)
    seen, blind = make_cell("int8", make_figures(4.0, 0.7)), make_cell("int8", make_figures(4.0, None))
    (tmp_path / "board-b.json").write_text(make_device(blind).model_dump_json())
    (tmp_path / "board-a.json").write_text(make_device(seen).model_dump_json())
    text = devices_tables(tmp_path)
    assert text.index("### board-a") < text.index("### board-b")
    assert text.count("| road | 480x288 | int8 | openvino |") == 2
    assert "![mIoU over milliseconds](devices/board-a.svg)" in text
    assert "board-b.svg" not in text
    assert [front_of(path) is None for path in known_devices(tmp_path)] == [False, True]
