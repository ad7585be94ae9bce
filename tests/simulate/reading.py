"""Writes the logs of simulated sites and reads them back."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from logscope.grammar import catalogue
from logscope.settings import Settings
from logscope.simulate import Options, Simulation
from logscope.simulate.journal import Style
from logscope.simulate.output import write_logs
from logscope.simulate.tables import TABLES
from logscope.sources import open_inputs
from logscope.sources.reading import read_tables

Row = dict[str, Any]


def write(options: Options, style: Style, directory: Path, **more: Any) -> list[Path]:
    """Write the logs of a site, by default in plain Python; returns the log files, the oldest first."""
    simulation = Simulation(options, machine_code=more.pop("machine_code", False))
    write_logs(simulation, style, catalogue.load(), directory, truth="jsonl", **more)
    return sorted(directory.glob("*.log*"), key=lambda path: (path.suffix == ".log", path.name))


def read(files: list[Path]) -> dict[str, list[Row]]:
    """The tables that logs give; every line has to be understood."""
    parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in TABLES}
    with open_inputs([str(path) for path in files]) as found:
        result = read_tables(
            found.sources, Settings(), dict.fromkeys(parts, ()), lambda name, batch: parts[name].append(batch)
        )
    counts = result.counts.numbers()
    assert counts["parsed"] == counts["lines_read"] > 0, counts
    return {name: [row for batch in batches for row in batch.to_pylist()] for name, batches in parts.items()}


@lru_cache(maxsize=8)
def read_back(options: Options, style: Style) -> dict[str, list[Row]]:
    """Write, and read what was written."""
    with TemporaryDirectory() as name:
        return read(write(options, style, Path(name)))
