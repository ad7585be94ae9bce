"""What was done to sessions on account of the address that the mail server saw: tests passed or failed,
lists, failed logins. Behind a balancer that hides its clients it was done to the balancer, for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

READS = ("screen", "dnsbl_rank", "rejects", "commands")
"""Columns of `sessions` that are read."""

ALLOWLISTED, DENYLISTED, TAKEN_AS_KNOWN, LISTED, REFUSED_BY_LIST, LOGIN_FAILED = (
    "allowlisted", "denylisted", "taken_as_known", "listed", "refused_by_list", "login_failed",
)  # fmt: skip
"""Postscreen's own lists; its cached verdict (PASS OLD); its DNSBL score; smtpd's reject_rbl_client; AUTH
that failed at least once."""
KINDS = (ALLOWLISTED, DENYLISTED, TAKEN_AS_KNOWN, LISTED, REFUSED_BY_LIST, LOGIN_FAILED)

_SCREENS = {ALLOWLISTED: "allowlisted", DENYLISTED: "denylisted", TAKEN_AS_KNOWN: "pass_old"}
_BY_LIST = "blocked using"
"""In smtpd's replies for reject_rbl_client (default_rbl_reply in postconf(5)) and in postscreen's."""


@dataclass
class Effects:
    """Of some sessions.

    Attributes:
        sessions: how many.
        counts: in how many of them it happened, by `KINDS`.
        failed_logins: attempts that failed.
    """

    sessions: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    failed_logins: int = 0

    def add(self, marks: Marks, rows: NDArray[np.int64]) -> None:
        """Count some rows of a batch."""
        self.sessions += len(rows)
        for kind in KINDS:
            self.counts[kind] += int(np.count_nonzero(marks.by_kind[kind][rows]))
        self.failed_logins += int(marks.failed_logins[rows].sum())

    def share(self, kind: str) -> float:
        """In which part of the sessions it happened."""
        return self.counts[kind] / max(1, self.sessions)


def total(some: Iterable[Effects]) -> Effects:
    """All of them as one."""
    result = Effects()
    for one in some:
        result.sessions += one.sessions
        result.failed_logins += one.failed_logins
        for kind, count in one.counts.items():
            result.counts[kind] += count
    return result


class Marks:
    """Where it happened in one batch.

    Attributes:
        by_kind: bool[n] for each of `KINDS`.
        failed_logins: int64[n].
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.failed_logins = refused(batch.column("commands"), "auth")
        self.by_kind: Mapping[str, NDArray[np.bool_]] = {
            **{kind: _true(pc.equal(batch.column("screen"), word)) for kind, word in _SCREENS.items()},
            LISTED: np.asarray(pc.is_valid(batch.column("dnsbl_rank"))),
            REFUSED_BY_LIST: _by_list(batch.column("rejects")),
            LOGIN_FAILED: self.failed_logins > 0,
        }


def _true(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False))


def _owners(column: pa.Array) -> NDArray[np.int64]:
    """int64[values]: the row of each value of a column of lists."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    return np.repeat(np.arange(len(column)), lengths)


def lists_with(column: pa.Array, word: str) -> NDArray[np.bool_]:
    """bool[n]: the row's list has a word."""
    found = np.zeros(len(column), np.bool_)
    found[_owners(column)[_true(pc.equal(column.flatten(), word))]] = True
    return found


def _by_list(rejects: pa.Array) -> NDArray[np.bool_]:
    found = np.zeros(len(rejects), np.bool_)
    texts = rejects.flatten()
    if len(texts):
        found[_owners(rejects)[_true(pc.match_substring(texts.field("text"), _BY_LIST))]] = True
    return found


def pairs(column: pa.Array) -> pa.Array:
    """A map as the list of pairs that it is."""
    kind = column.type
    pair = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
    return column.cast(pa.list_(pair))


def refused(commands: pa.Array, name: str) -> NDArray[np.int64]:
    """How many of one command the disconnect counters say were refused."""
    found = np.zeros(len(commands), np.int64)
    listed = pairs(commands)
    flat = listed.flatten()
    if len(flat):
        places = np.flatnonzero(_true(pc.equal(flat.field(0), name)))
        counts = np.array(flat.field(1).take(pa.array(places)).to_pylist(), np.int64).reshape(-1, 2)
        found[_owners(listed)[places]] = counts[:, 1] - counts[:, 0]
    return found
