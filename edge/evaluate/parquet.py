"""A row per frame, for whoever wants to ask further: pandas, DuckDB, Polars."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.evaluate.figures import flicker_of, frame_miou, iou_of, ratio, triples_of
from edge.evaluate.records import Records
from edge.evaluate.run import DriveResult
from edge.install import install_command
from edge.shortage import check_shortage
from edge.sinks.files import write_bytes


def need_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its part for Parquet, before hours of work rather than behind them.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        check_shortage(error)
        how = install_command("edge-segmentation[drives]")
        raise ConfigError(f"a Parquet file needs the library pyarrow. Install it: {how}") from error


def write_frames(path: Path, results: Sequence[DriveResult], table: ClassTable) -> None:
    """Write the rows: drive and tags, index, times, shares of what was seen, and the scores of labelled frames.

    Raises:
        ConfigError: pyarrow is not installed.
        OutputError: it cannot be written.
    """
    arrow, parquet = need_pyarrow()
    tables = [
        arrow.table(_columns(result, result.measured.records, table))
        for result in results
        if result.measured is not None
    ]
    whole = arrow.BufferOutputStream()
    parquet.write_table(arrow.concat_tables(tables, promote_options="permissive"), whole)
    write_bytes(path, whole.getvalue().to_pybytes())


def _columns(result: DriveResult, records: Records, table: ClassTable) -> dict[str, Any]:
    count = len(records)
    columns: dict[str, Any] = {
        "drive": [result.drive.name] * count,
        **{f"tag_{key}": [value] * count for key, value in result.drive.tags.items()},
        "index": records.index,
        "media_s": [None if ns < 0 else ns / 1e9 for ns in records.media_ns.tolist()],
        "age_ms": records.age_ns / 1e6,
        "speed_m_s": [None if speed < 0 else speed / 1e3 for speed in records.speed_mm_s.tolist()],
        "labelled": records.labelled.astype(np.bool_),
        "flicker": _plain(flicker_of(records)),
        "followed": _plain(ratio(*records.followed.T)),
        "agreement": _plain(ratio(*records.agreement.T)),
        "mirrored": _plain(ratio(*records.mirrored.T)),
    }
    shares = records.seen / np.maximum(1, records.seen.sum(1, keepdims=True))
    columns |= {f"share_{name}": shares[:, index] for index, name in enumerate(table.names)}
    columns |= {f"{name}_{key}": _plain(values) for (name, key), values in records.output_columns().items()}
    return columns | _scores(records, table)


def _scores(records: Records, table: ClassTable) -> dict[str, Any]:
    """Null for frames without label, and for classes that a frame has none of."""
    rows, triples = records.label_rows, triples_of(records.confusion.sum(1), table)
    own = triples[:, : len(table)].sum(1)
    found = {"miou": frame_miou(records, table), "pixel_accuracy": ratio(own[:, 0], own[:, 1])}
    iou = iou_of(triples)
    found |= {f"iou_{name}": iou[:, index] for index, name in enumerate([*table.names, *table.groups])}
    spread = {}
    for name, values in found.items():
        whole = np.full(len(records), np.nan)
        whole[rows] = values
        spread[name] = _plain(whole)
    return spread


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
