"""The functions for notebooks: DataFrames with proper types, and errors as exceptions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import logscope
from logscope import schema
from logscope.errors import InputError, UsageError

SAMPLE = Path(__file__).resolve().parent.parent.parent / "samples" / "proxy-v1"
LOGS = (SAMPLE / "haproxy.log", SAMPLE / "mail.log")


def test_sessions() -> None:
    frame = logscope.read_sessions(*LOGS, tz="UTC")
    assert list(frame.columns) == [column.name for column in schema.SESSIONS]
    assert len(frame) == 120
    assert str(frame["accepted_at"].dtype) == "datetime64[ns, UTC]"
    assert frame["client_port"].dtype == pd.Int64Dtype()
    assert frame["masked"].dtype == pd.BooleanDtype()
    assert frame["outcome"].dtype == pd.StringDtype("pyarrow")
    assert frame["outcome"].value_counts()["delivered"] > 50
    assert frame["events"].iloc[0][0]["line_number"] > 0


@pytest.mark.parametrize(
    ("table", "columns"), [("messages", schema.MESSAGES), ("deliveries", schema.DELIVERIES)]
)
def test_messages_and_deliveries(table: str, columns: tuple[schema.Column, ...]) -> None:
    frame = getattr(logscope, f"read_{table}")(*LOGS, tz="UTC")
    assert list(frame.columns) == [column.name for column in columns]
    assert len(frame) > 50


def test_events_have_a_row_for_each_line() -> None:
    frame = logscope.read_events(*LOGS, tz="UTC")
    lines = sum(len(path.read_bytes().splitlines()) for path in LOGS)
    assert len(frame) == lines
    connects = frame[frame["kind"] == "postscreen.connect"]
    assert connects["client_port"].notna().all()
    assert connects["client_port"].dtype == pd.Int64Dtype()


def test_nothing_found_is_an_empty_frame_with_all_columns() -> None:
    with pytest.warns(UserWarning, match="nothing happened since 2030-01-01"):
        frame = logscope.read_sessions(*LOGS, tz="UTC", since="2030-01-01")
    assert list(frame.columns) == [column.name for column in schema.SESSIONS]
    assert frame.empty


def test_what_was_assumed_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="UTC was assumed"):
        logscope.read_messages(*LOGS)


def test_errors_are_exceptions() -> None:
    with pytest.raises(InputError, match="no such file"):
        logscope.read_sessions(SAMPLE / "gone.log")
    with pytest.raises(UsageError, match="is no time"):
        logscope.read_sessions(*LOGS, since="soon")
    with pytest.raises(UsageError, match="unknown setting 'zone'"):
        logscope.read_sessions(*LOGS, zone="UTC")


def test_findings_are_a_frame_too() -> None:
    frame = logscope.find_anomalies(*LOGS, tz="UTC", sensitivity=0.5, allow=["192.0.2.0/24"])
    assert list(frame.columns) == [column.name for column in schema.FINDINGS]
    assert str(frame["since"].dtype) == "datetime64[ns, UTC]"
