"""logscope: puts mail sessions back together from the logs of HAProxy and Postfix.

In a notebook:

    import logscope

    sessions = logscope.read_sessions("haproxy.log", "mail.log*")
    sessions.groupby("outcome").size()

Each function takes names of logs (plain or compressed, patterns included) and returns a pandas DataFrame with
the columns that `logscope.schema` lists, times in UTC, integers that may be missing as `Int64`, text in Arrow
memory. Options are those of the command line, by the same names. Nothing heavy is imported before a function
is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "find_anomalies",
    "read_deliveries",
    "read_events",
    "read_messages",
    "read_sessions",
]


def read_sessions(*files: str | os.PathLike[str], **options: object) -> pd.DataFrame:
    """One row for each client connection seen at any hop.

    Args:
        *files: logs in any mix and order.
        **options: `since`, `until`, `where` (text as on the command line), `tz` (a zone, or a table of host
            to zone with `default`), `year`, `grammar`, `haproxy_cfg`, `log_format`, `postfix_config`.

    Returns:
        a DataFrame with the columns of `logscope.schema.SESSIONS`.

    Raises:
        LogscopeError: an option makes no sense, or a file cannot be read. Files that end early (cut off while
            compressed) are read as far as they go, with a warning.
    """
    return _table("sessions", files, options)


def read_messages(*files: str | os.PathLike[str], **options: object) -> pd.DataFrame:
    """One row for each life of a queue id; columns of `logscope.schema.MESSAGES`, else as `read_sessions`."""
    return _table("messages", files, options)


def read_deliveries(*files: str | os.PathLike[str], **options: object) -> pd.DataFrame:
    """One row for each recipient and attempt; columns of `logscope.schema.DELIVERIES`, else the same."""
    return _table("deliveries", files, options)


def read_events(*files: str | os.PathLike[str], **options: object) -> pd.DataFrame:
    """One row for each line of the logs, understood or not; columns of `logscope.schema.EVENTS`.

    See `read_sessions`.
    """
    return _table("events", files, options)


def find_anomalies(
    *files: str | os.PathLike[str],
    sensitivity: float = 1.0,
    allow: Sequence[str] = (),
    **options: object,
) -> pd.DataFrame:
    """What is unusual, explained: columns of `logscope.schema.FINDINGS`, the gravest first.

    Args:
        *files: logs in any mix and order.
        sensitivity: 2 believes on half the evidence.
        allow: addresses and networks that may do what they like.
        **options: see `read_sessions`.
    """
    from logscope.detect.anomalies import Finder, Options
    from logscope.sources.frames import read_frame

    return read_frame("findings", files, options, Finder(Options(sensitivity, tuple(allow))))


def _table(table: str, files: tuple[str | os.PathLike[str], ...], options: dict[str, object]) -> pd.DataFrame:
    from logscope.sources.frames import read_frame

    return read_frame(table, files, options)
