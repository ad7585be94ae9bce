"""What happened in each session, message and delivery, as codes that can be counted: the columns that the
detectors read, and how each becomes a family of codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.detect.anomalies.columns import (
    NULL,
    Bools,
    Coded,
    Columns,
    Longs,
    auth_tries,
    encoded,
    numbers_of,
    parts,
)

SESSION_READS = (
    "client_address", "masked", "balancer", "frontend", "backend", "server", "mta_host", "service",
    "accepted_at", "mta_connected_at", "ended_at", "queue_ms", "connect_ms", "duration_ms", "bytes_to_client",
    "termination_state", "screen", "screen_tests", "sasl_username", "commands", "rejects", "outcome",
    "join_confidence",
)  # fmt: skip
"""Columns of `sessions` that are read; those that are missing are taken as unknown."""

MESSAGE_READS = ("mta_host", "queued_at", "sender", "size", "recipient_count", "session_id")
DELIVERY_READS = (
    "mta_host", "queue_id", "logged_at", "recipient", "status", "delay_s",
    "delay_before_queue_s", "delay_in_queue_s", "delay_connect_s", "delay_transmit_s",
)  # fmt: skip

_SHOWN = ("session_id", "client_address", "server", "outcome", "events")

ROUTE = ("balancer", "frontend", "backend", "server", "mta_host", "service")
"""What names the place of a session."""

_MS_EDGES = np.unique(np.round(2.0 ** (np.arange(0, 23 * 3) / 3)).astype(np.int64))
"""Edges of classes of milliseconds, a third of an octave apart: 1 ms to an hour and more."""
MS_CLASSES = tuple(str(edge) for edge in (0, *_MS_EDGES.tolist()))
"""Each class by its lower edge in ms."""

_OFFSET_EDGES = np.concatenate(
    (
        -np.round(10 * 1.3 ** np.arange(28, 0, -1)),
        np.arange(-10, 10.01, 0.5),
        np.round(10 * 1.3 ** np.arange(1, 29)),
    )
)
"""Edges of classes of seconds between two clocks: half a second near zero, growing beyond ten seconds."""
OFFSET_CLASSES = tuple(f"{edge:g}" for edge in (-np.inf, *_OFFSET_EDGES.tolist()))

_SIZE_EDGES = (2.0 ** np.arange(8, 32)).astype(np.int64)
SIZE_CLASSES = tuple(str(edge) for edge in (0, *_SIZE_EDGES.tolist()))


_ONE_REPLY = 100
"""Bytes: a greeting and the answer to EHLO alone are longer."""
_PASSED = ("pass_new", "pass_old", "allowlisted", "handed_off", "none")
_FAILED = ("server_error", "no_server", "timeout", "unknown")
_BROUGHT_NOTHING = ("aborted", "screened", "rejected", "timeout")
_WITH_MAIL = ("delivered", "partly_delivered", "accepted", "deferred", "bounced")


@dataclass
class Family:
    """Codes of one kind.

    Attributes:
        name: of the family.
        rows: the row each code belongs to; a row may have none or several.
        codes: index into `values`.
        values: what a code stands for.
    """

    name: str
    rows: Longs
    codes: Longs
    values: list[str]


@dataclass
class Facts:
    """Some rows of a table.

    Attributes:
        times: ns since 1970 of each row.
        routes: index into `places`.
        places: names of a route, in the order of `ROUTE`.
        families: what happened.
        clients: of each row, and their texts.
        tries: refused AUTH commands of each row.
        unknown: recipients refused as unknown, of each row.
        users: the account each row logged in with, or tried to.
        duration_ms: of each row.
        left: 1 where the client left in mid-session.
        tried: the listener, where the session brought nothing and did not end in order.
        batch: the rows themselves.
    """

    times: Longs
    routes: Longs
    places: list[tuple[str | None, ...]]
    families: list[Family]
    clients: Coded
    tries: Longs
    unknown: Longs
    users: Coded
    duration_ms: Longs
    left: Longs
    tried: Coded
    batch: pa.RecordBatch

    def examples(self, rows: Longs) -> list[dict[str, Any]]:
        """Sessions, to be shown."""
        names = [name for name in _SHOWN if name in self.batch.schema.names]
        if "session_id" not in names or not len(rows):
            return []
        at = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])
        shown: list[dict[str, Any]] = self.batch.select(names).take(at).to_pylist()
        for one, time in zip(shown, (self.times[rows] // 1_000_000_000).tolist(), strict=True):
            one["at_s"] = time
        return shown


def session_facts(batch: pa.RecordBatch) -> Facts:
    """What happened in a batch of sessions. Health checks, and rows without any time, are left out."""
    columns = Columns(batch)
    accepted, connected = columns.integers("accepted_at"), columns.integers("mta_connected_at")
    times = np.where(accepted != NULL, accepted, connected)
    times = np.where(times != NULL, times, columns.integers("ended_at"))
    outcome = columns.coded("outcome")
    probe = outcome.texts.index("probe") if "probe" in outcome.texts else -2
    usable = (times != NULL) & (outcome.codes != probe)
    if not usable.all():
        keep = pa.py_buffer(np.packbits(usable, bitorder="little"))
        return session_facts(batch.filter(pa.Array.from_buffers(pa.bool_(), len(usable), [None, keep])))
    routes, places = _routes(columns)
    refused, granted = auth_tries(columns)
    unknown = np.zeros(columns.count, np.int64)
    families = list(_session_families(columns, accepted, connected, refused, granted, unknown))
    unwelcome = np.isin(
        outcome.codes, [at for at, text in enumerate(outcome.texts) if text in _BROUGHT_NOTHING]
    )
    left = (outcome.codes == (outcome.texts.index("aborted") if "aborted" in outcome.texts else -2)).astype(
        np.int64
    )
    return Facts(
        times, routes, places, families, columns.coded("client_address"), refused, unknown,
        columns.coded("sasl_username"), columns.integers("duration_ms"), left,
        _listeners(columns, unwelcome), batch,
    )  # fmt: skip


def _listeners(columns: Columns, wanted: Bools) -> Coded:
    """The listener of each wanted row: the balancer's frontend, or the mail server's service."""
    frontend, service = columns.coded("frontend"), columns.coded("service")
    no_balancer = (frontend.codes < 0) & (columns.coded("balancer").codes < 0)
    codes = np.where(no_balancer & (service.codes >= 0), service.codes + len(frontend.texts), frontend.codes)
    return Coded(np.where(wanted, codes, -1), [*frontend.texts, *service.texts])


def _routes(columns: Columns, names: tuple[str, ...] = ROUTE) -> tuple[Longs, list[tuple[str | None, ...]]]:
    """Each row's combination of names, and the combinations."""
    combined = np.zeros(columns.count, np.int64)
    texts: list[list[str | None]] = []
    for name in names:
        codes, known = columns.coded(name)
        combined = combined * (len(known) + 1) + codes + 1
        texts.append([None, *known])
    present, routes = numbers_of(combined)
    places = []
    for key in present.tolist():
        place: list[str | None] = []
        for names_known in reversed(texts):
            key, code = divmod(key, len(names_known))
            place.append(names_known[code])
        places.append(tuple(reversed(place)))
    return routes, places


def _session_families(
    columns: Columns, accepted: Longs, connected: Longs, refused: Longs, granted: Longs, unknown: Longs
) -> Iterator[Family]:
    everything = np.arange(columns.count)
    yield Family("sessions", everything, np.zeros(columns.count, np.int64), ["all"])
    for name in ("outcome", "termination_state", "screen"):
        yield _known(name, columns.coded(name))
    yield _flagged("dialogue", {"aborted": _left_the_dialogue(columns)})
    rows, tests = columns.text_lists("screen_tests")
    yield Family("test", rows, tests.codes, tests.texts)
    yield from _reasons(columns, unknown)
    yield _flagged("auth", {"refused": refused > 0, "granted": (refused == 0) & (granted > 0)})
    balancer, mta = accepted != NULL, connected != NULL
    reached = columns.coded("server").codes >= 0
    sure = columns.coded("join_confidence")
    unclear = sure.codes == (sure.texts.index("ambiguous") if "ambiguous" in sure.texts else -2)
    yield _flagged(
        "hops",
        {
            "joined": balancer & mta,
            "balancer_only": balancer & ~mta & reached & ~unclear,
            "mta_only": ~balancer & mta & ~unclear,
        },
    )
    yield _flagged("ended", {"one_reply": _turned_away(columns) & balancer & ~mta & reached & ~unclear})
    masked, seen = columns.flags("masked")
    yield _flagged("masked", {"masked": masked, "seen": seen})
    for name in ("queue_ms", "connect_ms"):
        yield milliseconds(name, columns.integers(name))
    # what a session lasts depends on what it is: those that brought mail are comparable
    outcome = columns.coded("outcome")
    brought = np.isin(outcome.codes, [at for at, text in enumerate(outcome.texts) if text in _WITH_MAIL])
    yield milliseconds("duration_ms", np.where(brought, columns.integers("duration_ms"), -1))
    # what postscreen ends itself lasts as long as its tests
    screened = outcome.codes == (outcome.texts.index("screened") if "screened" in outcome.texts else -2)
    yield milliseconds("screen_ms", np.where(screened, columns.integers("duration_ms"), -1))
    queue, connect = (np.maximum(columns.integers(name), 0) for name in ("queue_ms", "connect_ms"))
    # a server that fails logs late, if it does at all: that says nothing of its clock
    failed = np.isin(outcome.codes, [at for at, text in enumerate(outcome.texts) if text in _FAILED])
    yield _offsets(np.where(failed, NULL, accepted), connected, queue + connect)


def _left_the_dialogue(columns: Columns) -> Bools:
    """Sessions broken off after postscreen, if there is one, let them pass: bots hang up before."""
    outcome, screen = columns.coded("outcome"), columns.coded("screen")
    aborted = outcome.texts.index("aborted") if "aborted" in outcome.texts else -2
    passed = [code for code, text in enumerate(screen.texts) if text in _PASSED]
    return np.asarray((outcome.codes == aborted) & (np.isin(screen.codes, passed) | (screen.codes < 0)))


def _turned_away(columns: Columns) -> Bools:
    """Sessions that the server ended with a line or none, as where a PROXY header that it waits for does not
    come: postscreen and smtpd log no client then.
    """
    state, got = columns.coded("termination_state"), columns.integers("bytes_to_client")
    orderly = state.texts.index("--") if "--" in state.texts else -2
    return np.asarray((state.codes == orderly) & (got >= 0) & (got <= _ONE_REPLY))


def _known(name: str, coded: Coded) -> Family:
    rows = np.nonzero(coded.codes >= 0)[0]
    return Family(name, rows, coded.codes[rows], coded.texts)


def _flagged(name: str, masks: dict[str, Bools]) -> Family:
    rows = [np.nonzero(mask)[0] for mask in masks.values()]
    codes = [np.full(len(some), code) for code, some in enumerate(rows)]
    return Family(name, np.concatenate(rows), np.concatenate(codes), list(masks))


def _reasons(columns: Columns, unknown: Longs) -> Iterator[Family]:
    """Refusals by stage, code and status, once for each session; those for a list or an unknown user also
    count on their own.

    Args:
        unknown: filled with the unknown users of each session.
    """
    if not columns.has("rejects"):
        return
    column = columns.raw("rejects")
    items = pc.list_flatten(column)
    if not len(items):
        return
    rows = np.asarray(pc.list_parent_indices(column)).astype(np.int64)
    stage, dsn = encoded(parts(items, "stage")), encoded(parts(items, "dsn"))
    number = np.asarray(pc.fill_null(parts(items, "code").cast(pa.int64()), 0))
    combined = ((number * (len(stage.texts) + 1)) + stage.codes + 1) * (len(dsn.texts) + 1) + dsn.codes + 1
    present, codes = np.unique(combined, return_inverse=True)
    stages: list[str | None] = [None, *stage.texts]
    states: list[str | None] = [None, *dsn.texts]
    values = []
    for key in present.tolist():
        key, third = divmod(key, len(dsn.texts) + 1)
        key, first = divmod(key, len(stage.texts) + 1)
        words = (stages[first], str(key) if key else None, states[third])
        values.append(" ".join(word for word in words if word) or "no reason given")
    once = np.unique(rows * len(values) + codes)
    yield Family("reason", once // len(values), once % len(values), values)
    text = parts(items, "text")
    listed = np.asarray(pc.fill_null(pc.match_substring(text, "blocked using"), False))
    nobody = np.asarray(pc.fill_null(pc.equal(parts(items, "dsn"), "5.1.1"), False))
    np.add.at(unknown, rows[nobody], 1)
    bounce = np.asarray(pc.fill_null(pc.equal(parts(items, "sender"), ""), False))
    for name, mask in (("listed", listed), ("unknown_user", nobody), ("null_sender", bounce)):
        some = np.unique(rows[mask])
        yield Family("refused", some, np.zeros(len(some), np.int64), [name])


def milliseconds(name: str, values: Longs) -> Family:
    """Classes of a duration in ms; rows where it is not known have none."""
    rows = np.nonzero(values >= 0)[0]
    return Family(name, rows, np.searchsorted(_MS_EDGES, values[rows], "right"), list(MS_CLASSES))


def message_families(columns: Columns) -> list[Family]:
    """What there is to count of messages."""
    everything = np.arange(columns.count)
    sender = columns.coded("sender")
    bounce = sender.codes == (sender.texts.index("") if "" in sender.texts else -2)
    if columns.has("session_id"):  # those that no session brought are the site's own
        bounce &= np.asarray(columns.raw("session_id").is_valid())
    size = columns.integers("size")
    sized = np.nonzero(size >= 0)[0]
    return [
        Family("messages", everything, np.zeros(columns.count, np.int64), ["all"]),
        _flagged("mail", {"null_sender": bounce}),
        Family("size", sized, np.searchsorted(_SIZE_EDGES, size[sized], "right"), list(SIZE_CLASSES)),
    ]


def delivery_families(columns: Columns, again: Bools) -> list[Family]:
    """What there is to count of deliveries.

    Args:
        again: those of mail that was deferred before. How long they take says nothing of now: what could not
            be delivered goes to slow and distant hosts, and the first of the delays then counts the time that
            it waited (Postfix, `delays=` in smtp(8)'s log).
    """
    everything = np.arange(columns.count)
    families = [
        Family("deliveries", everything, np.zeros(columns.count, np.int64), ["all"]),
        _known("status", columns.coded("status")),
    ]
    for name in ("before_queue", "in_queue", "connect", "transmit"):
        seconds = columns.decimals(f"delay_{name}_s")
        ms = np.where(np.isnan(seconds) | again, -1, np.nan_to_num(seconds) * 1000).astype(np.int64)
        families.append(milliseconds(f"{name}_ms", ms))
    return families


def _offsets(accepted: Longs, connected: Longs, waited_ms: Longs) -> Family:
    """How much later, by the mail server's clock, it saw the client than the balancer handed it over."""
    rows = np.nonzero((accepted != NULL) & (connected != NULL))[0]
    seconds = (connected[rows] - accepted[rows]) / 1e9 - waited_ms[rows] / 1e3
    return Family("offset", rows, np.searchsorted(_OFFSET_EDGES, seconds, "right"), list(OFFSET_CLASSES))
