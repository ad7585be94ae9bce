"""CSV for spreadsheets and databases: nested values as JSON text, nothing a spreadsheet would run.

Text is quoted, numbers are not, absent values are empty. See `text.csv_safe` for what is done to hostile
text.
"""

from __future__ import annotations

import io
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from logscope.report.json_rows import JsonRows
from logscope.report.json_values import as_json_numbers
from logscope.report.text import HOSTILE_RANGES, csv_safe

_SUSPECT = r"^[=+\-@]|[" + "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in HOSTILE_RANGES) + "]"


class CsvWriter:
    """Writes a table as CSV (RFC 4180, but lines end in a line feed).

    Args:
        stream: written to, not closed.
        names: the header where there are no rows.
        continues: the header has been written.
    """

    def __init__(self, stream: IO[bytes], names: list[str], *, continues: bool = False) -> None:
        self._stream = stream
        self._names = names
        self._rows = JsonRows(b"")
        self._started = continues

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        columns = [self._column(column) for column in batch.columns]
        text = io.BytesIO()
        options = arrow_csv.WriteOptions(include_header=not self._started)
        arrow_csv.write_csv(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), text, options)
        self._started = True
        self._stream.write(text.getbuffer())

    def close(self) -> None:
        """Write the header if no row did."""
        if not self._started:
            self._stream.write((",".join(f'"{name}"' for name in self._names) + "\n").encode())

    def _column(self, array: pa.Array) -> pa.Array:
        kind, is_a = array.type, pa.types
        if is_a.is_dictionary(kind) and not is_a.is_string(kind.value_type):
            return self._column(array.dictionary).take(array.indices)
        if is_a.is_integer(kind) or is_a.is_boolean(kind):
            return array
        if is_a.is_floating(kind) or is_a.is_decimal(kind):
            return array if is_a.is_floating(kind) else as_json_numbers(array)
        if is_a.is_timestamp(kind):
            return pc.utf8_trim(self._rows.texts(array), characters='"')
        if is_a.is_nested(kind):
            return self._rows.texts(array)
        return _safe_texts(array)


def _safe_texts(array: pa.Array) -> pa.Array:
    """A column of text, made safe; only distinct values that look suspect are looked at one by one."""
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    words = encoded.dictionary
    suspect = pc.match_substring_regex(words, pattern=_SUSPECT)
    if pc.any(suspect).as_py():
        spelled = [
            csv_safe(word) if bad else word
            for word, bad in zip(words.to_pylist(), suspect.to_pylist(), strict=True)
        ]
        words = pa.array(spelled, words.type)
    return words.take(encoded.indices)
