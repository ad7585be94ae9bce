"""Finished sessions as they come, one readable line each: when, who, on which way, what became of it, why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from logscope.report.text import cells, cut, visible
from logscope.report.tones import OUTCOME_TONES, painted
from logscope.report.wording import number, plural, span

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from logscope.report.writers import Canvas

READS = (
    "accepted_at", "mta_connected_at", "ended_at", "client_address", "client_known_from", "masked",
    "balancer",
    "server", "retries", "mta_host", "service", "screen", "screen_tests", "dnsbl_rank", "hops", "outcome",
    "rejects", "termination_state", "message_count", "duration_ms", "sasl_username", "join_confidence",
    "amends",
)  # fmt: skip
"""Columns of the sessions that the line is made of."""

_GAP = "  "
_CLOCK = 8
_OUTCOME = 10
_CLIENT = 15
_WAY = 28
_USUAL_WAY = 34  # edge1 › mx-a › allowlisted › smtpd; so columns seldom have to move
_WIDE = 100
_WIDEST = {"client": 39, "way": 48, "outcome": 16}
_LEAST_WHY = 12
_ARROW = " › "

_WHO = {
    "C": "client closed",
    "S": "server closed or refused",
    "P": "limited by the balancer",
    "R": "balancer out of resources",
    "I": "internal error of the balancer",
    "D": "server marked down",
    "U": "server marked up",
    "K": "killed by the operator",
    "c": "client timed out",
    "s": "server timed out",
    "L": "answered by the balancer",
}
_WHEN = {
    "Q": "in the queue",
    "C": "while connecting",
    "D": "during the dialogue",
    "T": "held back",
    "L": "at the end",
}
"""HAProxy's termination state in words (configuration manual, section 8.5)."""


class SessionLines:
    """Writes sessions as lines, each batch at once.

    A column grows with what it holds and never shrinks, so that lines stay aligned. On a narrow terminal the
    way is left out, and the end of a line is cut.

    Args:
        stream: written to, not closed.
        canvas: width and colours.
    """

    def __init__(self, stream: IO[bytes], canvas: Canvas) -> None:
        self._stream = stream
        self._canvas = canvas
        self._day = ""
        self._is_wide = canvas.width is None or canvas.width >= _WIDE
        self._widths = {
            "client": _CLIENT,
            "way": _USUAL_WAY if self._is_wide else _WAY,
            "outcome": _OUTCOME,
        }

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some sessions, in order of their ends."""
        rows = _rows(batch)
        self._stream.write("".join(map(self._lines, rows)).encode("utf-8", "replace"))

    def close(self) -> None:
        """Nothing is due."""

    def _lines(self, row: Mapping[str, Any]) -> str:
        when = moment_of(row)
        clock = "–" if when is None else f"{when:%H:%M:%S}"
        day = self._day if when is None else f"{when:%Y-%m-%d}"
        heading = "" if day == self._day else painted(f"── {day} UTC ──", "quiet", self._canvas.colour) + "\n"
        self._day = day
        parts = [
            painted(f"{clock:<{_CLOCK}}", "quiet", self._canvas.colour),
            self._column("client", client(row)),
        ]
        room = self._canvas.width
        used = _CLOCK + self._widths["client"] + self._widths["outcome"] + 3 * len(_GAP)
        if room is None or used + _WAY + len(_GAP) + _LEAST_WHY <= room:
            parts.append(self._column("way", way(row)))
            used += self._widths["way"] + len(_GAP)
        outcome = self._column("outcome", str(row["outcome"] or "unknown"))
        parts.append(painted(outcome, OUTCOME_TONES.get(row["outcome"], "plain"), self._canvas.colour))
        why = visible(reason(row))
        parts.append(why if room is None else cut(why, max(room - used, 0)))
        return heading + _GAP.join(parts).rstrip() + "\n"

    def _column(self, name: str, text: str) -> str:
        """A text in its column, which grows for it."""
        text = visible(text)
        length = sum(map(cells, text))
        widest = _WIDEST[name] if self._is_wide else self._widths[name]
        self._widths[name] = width = max(self._widths[name], min(length, widest))
        if self._canvas.width is not None:
            text = cut(text, width)
        return text + " " * (width - sum(map(cells, text)))


def moment_of(row: Mapping[str, Any]) -> datetime | None:
    """When a session began."""
    found = next((row[name] for name in ("accepted_at", "mta_connected_at", "ended_at") if row[name]), None)
    return None if found is None else datetime.fromtimestamp(found / 1e9, UTC)


def client(row: Mapping[str, Any]) -> str:
    """Who connected; an address that was worked out has a mark."""
    if row["client_address"] is None:
        return "(masked)" if row["masked"] else "–"
    mark = "~" if row["client_known_from"] == "timing" else ""
    return mark + str(row["client_address"])


def way(row: Mapping[str, Any]) -> str:
    """Balancer, server, screen and smtpd, as far as they were seen."""
    hops = row["hops"] or ()
    place = row["server"] or row["mta_host"]
    stations = [row["balancer"] or ("balancer" if "balancer" in hops else None), place]
    if "screen" in hops:
        stations.append(str(row["screen"]))
    if "smtpd" in hops:
        service = str(row["service"] or "smtpd").rpartition("/")
        stations.append("smtpd" if "screen" in hops else service[2])
    return _ARROW.join(str(one) for one in stations if one) or "–"


def reason(row: Mapping[str, Any]) -> str:
    """Why it ended so, or what came of it."""
    parts = [part for part in (_refusal(row), _screening(row), _ending(row)) if part]
    is_open = row["outcome"] == "open"
    if row["message_count"]:
        parts.insert(0, plural(row["message_count"], "mail"))
    if row["sasl_username"]:
        parts.append(f"as {row['sasl_username']}")
    if row["duration_ms"] is not None:
        parts.append(f"for {span(row['duration_ms'])} so far" if is_open else span(row["duration_ms"]))
    if row["join_confidence"] in ("probable", "ambiguous"):
        parts.append(f"joined: {row['join_confidence']}")
    if row["amends"]:
        parts.append("amends what was shown")
    return ", ".join(parts)


def _refusal(row: Mapping[str, Any]) -> str:
    refusals = row["rejects"] or ()
    if not refusals:
        failed = row["outcome"] == "rejected" and row["sasl_username"]
        return "login failed" if failed else ""
    first = refusals[0]
    said = " ".join(str(part) for part in (first["code"], first["dsn"], first["text"]) if part is not None)
    more = f" (and {number(len(refusals) - 1)} more)" if len(refusals) > 1 else ""
    return said + more


def _screening(row: Mapping[str, Any]) -> str:
    rank = f" {row['dnsbl_rank']}" if row["dnsbl_rank"] is not None else ""
    return " ".join(f"{test}{rank}" if test == "dnsbl" else str(test) for test in row["screen_tests"] or ())


def _ending(row: Mapping[str, Any]) -> str:
    state = row["termination_state"] or ""
    if row["outcome"] not in ("aborted", "timeout", "server_error", "no_server", "unknown") or len(state) < 2:
        return ""
    words = " ".join(filter(None, (_WHO.get(state[0]), _WHEN.get(state[1]))))
    retries = f" after {plural(row['retries'], 'retry', 'retries')}" if row["retries"] else ""
    return f"{words} ({state}){retries}" if words else ""


def _rows(batch: pa.RecordBatch) -> list[Mapping[str, Any]]:
    """Rows as mappings, times as nanoseconds."""
    import pyarrow as pa

    columns = {}
    for name in READS:
        column = batch.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
