"""A device's table with known figures."""

from __future__ import annotations

from typing import Any

from edge.devices.table import Accuracy, Cell, DeviceTable, Figures, Machine, Settings

MACHINE = Machine(
    cpu="A Board",
    cores=6,
    flags="aarch64 asimddp",
    memory_gb=8.0,
    os="Ubuntu 22.04, Linux 5.15",
    python="3.10.12",
    libraries={"openvino": "2026.4.1"},
    edge="0.2.0",
    commit="abc123",
)
SETTINGS = Settings(source="drive.mp4", frames=200, labelled="val", labels="valannot")


def make_figures(p50_ms: float, miou: float | None, **changes: Any) -> Figures:
    values: dict[str, Any] = {
        "runs_on": "openvino 2026.4.1 on aarch64",
        "threads": 6,
        "inference_ms": {"p50": p50_ms, "p99": 2 * p50_ms},
        "masks_hz": 1000 / p50_ms,
        "live_hz": 30.0,
        "live_dropped": 0,
        "age_ms": {"p50": p50_ms + 2, "p99": 2 * p50_ms + 2},
        "memory_mb": 321.0,
        "watts": {},
        "others_share": 0.01,
        "accuracy": None
        if miou is None
        else Accuracy(frames=101, miou=miou, groups={"road": 0.9, "pedestrian": None, "vehicle": 0.5}),
    }
    return Figures(**{**values, **changes})


def make_cell(precision: str, figures: Figures | None, engine: str = "road", error: str = "") -> Cell:
    wishes = {"precision": precision, "backend": "openvino", "graph_sha256": "0" * 64}
    return Cell(engine=engine, input_wh=(480, 288), figures=figures, error=error, **wishes)


def make_device(*cells: Cell, **changes: Any) -> DeviceTable:
    return DeviceTable(date="2026-11-29", machine=MACHINE, settings=SETTINGS, cells=cells, **changes)
