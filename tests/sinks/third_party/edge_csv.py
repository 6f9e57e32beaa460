"""A sink of another package: a line of comma-separated values per frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.prediction import Prediction
from edge.sinks.sink import Sink
from edge.sinks.table import SinkContext, SinkKind


@dataclass(frozen=True)
class Options:
    path: Path
    separator: str = ","


class CsvFile:
    def __init__(self, options: Options, context: SinkContext) -> None:
        self._options, self._names = options, context.card.table.names

    def __enter__(self) -> CsvFile:
        self._file = self._options.path.open("w", encoding="utf-8")
        print("frame", *self._names, sep=self._options.separator, file=self._file)
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, result: Prediction, dropped: int) -> None:
        shares = [f"{share:.4f}" for share in result.shares().values()]
        print(result.frame.index, *shares, sep=self._options.separator, file=self._file)


def make(options: Options, context: SinkContext) -> Sink:
    return CsvFile(options, context)


CSV = SinkKind("csv", make, Options)
NEEDY = SinkKind("needy", make, Options, modules=("no_such_module",), extra="edge-needy[all]")
