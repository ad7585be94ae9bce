"""The minute series of a week that the controls are given: what an operator could draw on a dashboard.

Of each session, message and delivery everything is counted that the detectors of logscope count, the busiest
client of each minute included, so that no control lacks what it would need to see a fault.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.detect.anomalies.columns import NULL, Columns, auth_tries, encoded, parts

MINUTES = 7 * 1440
_NS = 60_000_000_000
_MS = np.unique(np.round(2.0 ** (np.arange(0, 23 * 4) / 4)))

Counts = np.ndarray[Any, Any]


class Series:
    """Takes in the tables of a week.

    Args:
        start_s: the week's first second, since 1970.
    """

    def __init__(self, start_s: float) -> None:
        self._start = int(start_s * 1e9)
        self._counts: dict[str, Counts] = defaultdict(lambda: np.zeros(MINUTES))
        self._most: dict[str, Counts] = defaultdict(lambda: np.zeros(MINUTES))
        self._spread: dict[str, Counts] = defaultdict(lambda: np.zeros((len(_MS) + 1, MINUTES), np.int32))
        self._users: dict[str, str] = {}

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Count a batch."""
        columns = Columns(batch)
        {"sessions": self._sessions, "messages": self._messages, "deliveries": self._deliveries}[table](
            columns
        )

    # --- counting -------------------------------------------------------------------------------------------

    def _minutes(self, times: Counts) -> Counts:
        minutes = (times - self._start) // _NS
        return np.where((times != NULL) & (minutes >= 0) & (minutes < MINUTES), minutes, -1)

    def _count(self, name: str, minutes: Counts, mask: Counts, weights: Counts | None = None) -> None:
        some = mask & (minutes >= 0)
        own = None if weights is None else weights[some]
        self._counts[name] += np.bincount(minutes[some], own, MINUTES)

    def _busiest(self, name: str, minutes: Counts, who: Counts, weights: Counts) -> None:
        """The most that one has in a minute. One whose minute is cut in two batches counts for less."""
        some = (minutes >= 0) & (who >= 0) & (weights > 0)
        if not some.any():
            return
        keys, inverse = np.unique(who[some] * MINUTES + minutes[some], return_inverse=True)
        amounts = np.bincount(inverse, weights[some])
        np.maximum.at(self._most[name], keys % MINUTES, amounts)

    def _durations(self, name: str, minutes: Counts, values: Counts) -> None:
        some = (minutes >= 0) & (values >= 0)
        classes = np.searchsorted(_MS, values[some], "right")
        np.add.at(self._spread[name], (classes, minutes[some]), 1)

    def _sessions(self, columns: Columns) -> None:
        accepted, connected = columns.integers("accepted_at"), columns.integers("mta_connected_at")
        minutes = self._minutes(np.where(accepted != NULL, accepted, connected))
        everything = np.ones(columns.count, np.bool_)
        self._count("sessions", minutes, everything)
        for name in ("outcome", "termination_state", "screen"):
            codes, texts = columns.coded(name)
            for code, text in enumerate(texts):
                self._count(f"{name} {text}", minutes, codes == code)
        rows, tests = columns.text_lists("screen_tests")
        for code, text in enumerate(tests.texts):
            self._count(f"test {text}", minutes[rows], tests.codes == code)
        server = columns.coded("server")
        host = columns.coded("mta_host")
        bad = np.isin(
            columns.coded("outcome").codes,
            [n for n, text in enumerate(columns.coded("outcome").texts)
             if text in ("rejected", "aborted", "timeout", "server_error", "no_server", "unknown")],
        )  # fmt: skip
        both = (accepted != NULL) & (connected != NULL)
        late = np.where(both, (connected - accepted) / 1e9, 0.0)
        masked, _ = columns.flags("masked")
        for code, text in enumerate(server.texts):
            here = server.codes == code
            self._count(f"server {text}", minutes, here)
            self._count(f"server {text} in trouble", minutes, here & bad)
            self._count(f"server {text} without MTA", minutes, here & (connected == NULL))
            self._count(f"server {text} clock", minutes, here & both, np.maximum(late, 0.0))
            self._count(f"server {text} masked", minutes, here & masked)
        for code, text in enumerate(host.texts):
            self._count(f"host {text} past the balancer", minutes, (host.codes == code) & (accepted == NULL))
        self._count("without MTA", minutes, (accepted != NULL) & (connected == NULL))
        self._count("without balancer", minutes, accepted == NULL)
        for name in ("queue_ms", "connect_ms", "duration_ms"):
            self._durations(name, minutes, columns.integers(name))
        refused, granted = auth_tries(columns)
        self._count("passwords refused", minutes, everything, refused)
        self._count("passwords granted", minutes, everything, granted)
        who = columns.coded("client_address").codes
        self._busiest("busiest client", minutes, who, everything)
        self._busiest("busiest guesser", minutes, who, refused)
        long = np.maximum(columns.integers("duration_ms"), 0) // 60_000
        self._busiest("longest holder", minutes, who, long)
        self._rejects(columns, minutes, who)
        users = columns.coded("sasl_username")
        if users.texts and columns.has("session_id"):
            for number in np.nonzero(users.codes >= 0)[0].tolist():
                self._users[columns.raw("session_id")[number].as_py()] = users.texts[int(users.codes[number])]

    def _rejects(self, columns: Columns, minutes: Counts, who: Counts) -> None:
        if not columns.has("rejects"):
            return
        column = columns.raw("rejects")
        items = pc.list_flatten(column)
        if not len(items):
            return
        rows = np.asarray(pc.list_parent_indices(column)).astype(np.int64)
        unknown = np.asarray(pc.fill_null(pc.equal(parts(items, "dsn"), "5.1.1"), False))
        listed = np.asarray(pc.fill_null(pc.match_substring(parts(items, "text"), "blocked using"), False))
        empty = np.asarray(pc.fill_null(pc.equal(parts(items, "sender"), ""), False))
        other = ~unknown & ~listed
        for name, mask in (("unknown users", unknown), ("listed", listed), ("refused bounces", empty),
                           ("other refusals", other)):  # fmt: skip
            self._count(name, minutes[rows], mask)
        weights = np.bincount(rows[unknown], minlength=columns.count)
        self._busiest("busiest guesser of users", minutes, who, weights)

    def _messages(self, columns: Columns) -> None:
        minutes = self._minutes(columns.integers("queued_at"))
        size = columns.integers("size")
        self._count("messages", minutes, np.ones(columns.count, np.bool_))
        self._count("bytes of messages", minutes, size >= 0, np.maximum(size, 0))
        sender = columns.coded("sender")
        self._count(
            "bounces in", minutes, sender.codes == (sender.texts.index("") if "" in sender.texts else -2)
        )
        users = [self._users.get(one) for one in columns.raw("session_id").to_pylist()]
        codes, _ = encoded(pa.array(users, pa.string()))
        self._busiest(
            "recipients of a user", minutes, codes, np.maximum(columns.integers("recipient_count"), 1)
        )

    def _deliveries(self, columns: Columns) -> None:
        minutes = self._minutes(columns.integers("logged_at"))
        status = columns.coded("status")
        recipient = columns.coded("recipient")
        domains, _ = encoded(pa.array([text.rpartition("@")[2] for text in recipient.texts], pa.string()))
        domain = np.where(recipient.codes >= 0, domains[np.maximum(recipient.codes, 0)], -1)
        for code, text in enumerate(status.texts):
            self._count(f"deliveries {text}", minutes, status.codes == code)
            if text == "deferred":
                self._busiest(
                    "deferred of a domain", minutes, domain, (status.codes == code).astype(np.int64)
                )
        for part in ("before_queue", "in_queue", "connect", "transmit"):
            seconds = columns.decimals(f"delay_{part}_s")
            self._durations(f"delivery {part}", minutes, np.where(np.isnan(seconds), -1, seconds * 1000))

    # --- the result -----------------------------------------------------------------------------------------

    def table(self) -> tuple[list[str], Counts]:
        """Names, and float32[minutes, series]: counts as they are, shares where a count is a part of all
        sessions, medians of durations (the one before where a minute has none).
        """
        sessions = self._counts["sessions"]
        found: dict[str, Counts] = {}
        for name, counts in sorted(self._counts.items()):
            found[name] = counts
            if name.startswith("server") or name in (
                "without MTA",
                "without balancer",
                "deliveries deferred",
            ):
                found[name + ", share"] = counts / np.maximum(sessions, 1)
        found |= dict(sorted(self._most.items()))
        for name, spread in sorted(self._spread.items()):
            found[name + ", median"] = _medians(spread)
        return list(found), np.stack(list(found.values()), axis=1).astype(np.float32)


class Rate:
    """Sessions of each minute, no more.

    Args:
        start_s: the week's first second, since 1970.
    """

    def __init__(self, start_s: float) -> None:
        self._start = int(start_s * 1e9)
        self._counts = np.zeros(MINUTES)

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Count a batch, if it is of sessions."""
        if table != "sessions":
            return
        columns = Columns(batch)
        accepted = columns.integers("accepted_at")
        times = np.where(accepted != NULL, accepted, columns.integers("mta_connected_at"))
        minutes = (times - self._start) // _NS
        some = (times != NULL) & (minutes >= 0) & (minutes < MINUTES)
        self._counts += np.bincount(minutes[some], minlength=MINUTES)

    def before(self, at_s: float) -> float:
        """Sessions a minute in the hour before a time."""
        at = int(at_s - self._start / 1e9) // 60
        return float(self._counts[max(0, at - 60) : max(1, at)].mean())


def _medians(spread: Counts) -> Counts:
    """Of each minute; the last one known where there is none."""
    summed = np.cumsum(spread, axis=0)
    total = summed[-1]
    place = (summed * 2 < total[None]).sum(axis=0)
    values = np.concatenate(([0.0], _MS))[np.minimum(place, len(_MS))]
    known = np.where(total > 0, np.arange(len(total)), 0)
    return values[np.maximum.accumulate(known)]
