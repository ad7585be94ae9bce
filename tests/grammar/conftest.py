"""The catalogue of all grammars, and small catalogues made of a few templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from logscope.grammar.build import build
from logscope.grammar.catalogue import Catalogue, load
from logscope.grammar.rows import Rows
from logscope.grammar.scan import Scanner
from logscope.grammar.source import from_mapping

ENVELOPE = "{stamp:time(bsd)} {host:name} {service:name}{[[{pid:uint}]]}: {message:message}"
COLUMNS = (
    "line_start",
    "line_end",
    "template",
    "stamp",
    "stamp_kind",
    "pid",
    "repeat_count",
    "message_start",
    "message_end",
    "not_utf8",
)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """All grammars of the checkout."""
    return load()


def make_catalogue(*texts: str, program: str = "smtpd", **more: Any) -> Catalogue:
    """A catalogue of some templates of one program, in an envelope of the usual kind."""
    templates = [{"kind": f"{program}.t{number}", "text": text} | more for number, text in enumerate(texts)]
    sources = [
        from_mapping(
            {"name": "syslog", "programs": ["envelope"], "template": [{"kind": "e", "text": ENVELOPE}]}, "e"
        ),
        from_mapping({"name": "test", "programs": [program], "template": templates}, "test"),
    ]
    return Catalogue(*build(sources))


@pytest.fixture(scope="session")
def engines() -> Callable[[Catalogue], tuple[Scanner, Scanner]]:
    """Both engines for a catalogue: interpreter and kernel."""
    return lambda catalogue: (Scanner(catalogue, compiled=False), Scanner(catalogue))


def outcome(rows: Rows) -> list[tuple[Any, ...]]:
    """Everything a scan found, independent of buffers, codes and slots."""
    columns = [getattr(rows, name).tolist() for name in COLUMNS]
    base = int(rows.line_start[0]) if rows.count else 0
    names = [
        [None if code < 0 else rows.names.text(code) for code in codes.tolist()]
        for codes in (rows.host, rows.service)
    ]
    values = [rows.values(row) for row in range(rows.count)]
    del base
    return list(zip(*columns, *names, values, strict=True))


def buffer_of(data: bytes) -> np.ndarray:
    """Bytes as a scanner wants them."""
    return np.frombuffer(data, np.uint8).copy()


def in_envelope(message: bytes, tag: bytes = b"postfix/smtpd") -> bytes:
    """A message as a line of a log file."""
    return b"Nov 22 09:18:57 mx-a " + tag + b"[42]: " + message
