"""The tables as pandas DataFrames, for notebooks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from logscope import settings as configuration
from logscope.report.arrow_schema import arrow_schema
from logscope.sources.find import open_inputs
from logscope.sources.reading import read_events, read_tables

if TYPE_CHECKING:
    import pandas as pd

    from logscope.detect.anomalies import Finder

_SEVERAL = ("grammar", "haproxy_cfg", "log_format", "postfix_config")


def read_frame(
    table: str,
    files: Sequence[str | os.PathLike[str]],
    options: Mapping[str, Any],
    finder: Finder | None = None,
) -> pd.DataFrame:
    """Read logs into a DataFrame.

    Args:
        table: sessions, messages, deliveries, events or findings.
        files: names and patterns.
        options: by key of the settings, `since` and `until` besides.
        finder: takes in the tables, if findings are wanted.

    Raises:
        LogscopeError: see `logscope.read_sessions`.
    """
    told = {name: _listed(name, value) for name, value in options.items()}
    settings = configuration.load(told, os.environ, Path.cwd(), datetime.now(UTC))
    batches: list[pa.RecordBatch] = []
    with open_inputs(files) as found:
        if found.problems:
            raise found.problems[0]
        notes: list[str] = []
        if table == "events":
            whole, rows, _ = read_events(found.sources, settings)
            batches += rows
        elif finder is not None:
            from logscope.detect.anomalies import READS

            notes = read_tables(found.sources, settings, READS, finder.add, signals=False).notes
        else:
            whole = arrow_schema(table)
            notes = read_tables(
                found.sources, settings, {table: ()}, lambda _, batch: batches.append(batch), signals=False
            ).notes
        for source in found.sources:
            if source.problem is not None:
                warnings.warn(str(source.problem), stacklevel=4)
    for note in notes:
        warnings.warn(note, stacklevel=4)
    if finder is not None:
        from logscope.report.anomalies import findings_table

        return frame(findings_table(finder.report().findings))
    tables = map(pa.Table.from_batches, ([batch] for batch in batches))
    return frame(pa.concat_tables(tables, promote_options="default") if batches else whole.empty_table())


def frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a DataFrame: text and nested values stay in Arrow memory, the rest are pandas' own
    types.
    """
    import pandas as pd

    own = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}

    def dtype(kind: pa.DataType) -> Any:
        if kind in own:
            return own[kind]
        if pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
            return None
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return pd.StringDtype("pyarrow")
        return pd.ArrowDtype(kind)

    made: pd.DataFrame = table.to_pandas(types_mapper=dtype)
    return made


def _listed(name: str, value: Any) -> Any:
    """Options that may be given several times on the command line may be one value here."""
    return [str(value)] if name in _SEVERAL and isinstance(value, str | os.PathLike) else value
