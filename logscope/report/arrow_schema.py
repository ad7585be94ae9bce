"""The tables of `logscope.schema` as Arrow schemas."""

from __future__ import annotations

import pyarrow as pa

from logscope import schema

_SCALARS = {
    "text": pa.string(),
    "address": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("ns", "UTC"),
    "map": pa.map_(pa.string(), pa.list_(pa.int64())),
}


def arrow_schema(table: str) -> pa.Schema:
    """Names and types of a table's columns."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in schema.TABLES[table]])


def arrow_type(spelled: str) -> pa.DataType:
    """The Arrow type of a type as `schema` spells it.

    >>> arrow_type("list of {source: text, line_number: int}")
    ListType(list<item: struct<source: string, line_number: int64>>)
    """
    if spelled.startswith("list of "):
        return pa.list_(arrow_type(spelled.removeprefix("list of ")))
    if spelled.startswith("{"):
        members = (member.split(": ") for member in spelled.strip("{}").split(", "))
        return pa.struct([(name, arrow_type(kind)) for name, kind in members])
    return _SCALARS[spelled]
