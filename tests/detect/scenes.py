"""Small tables of finished sessions, as the joins hand them out, for set-ups that are described in a few
words."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa

from logscope.detect.header_lines import REFUSED, Example, HeaderLines
from logscope.detect.masking import DELIVERIES, MAIL, READS, Judge
from logscope.detect.recovered import SESSIONS as RECOVERED
from logscope.detect.signals import NEVER, Signals
from logscope.site import Site

SECOND = 10**9
START = 1_795_339_000 * SECOND
LB = "10.0.0.5"

_TEXT = pa.string()
_TYPES = {
    **dict.fromkeys(("accepted_at", "mta_connected_at", "ended_at"), pa.timestamp("ns", tz="UTC")),
    **dict.fromkeys(("queue_ms", "connect_ms", "duration_ms", "bytes_to_client"), pa.int64()),
    "masked": pa.bool_(),
    **dict.fromkeys(("dnsbl_rank", "peer_port"), pa.int64()),
    **dict.fromkeys(("queue_ids", "screen_tests"), pa.list_(_TEXT)),
    "rejects": pa.list_(pa.struct([("stage", _TEXT), ("code", pa.int64()), ("text", _TEXT)])),
    "links": pa.list_(pa.struct([("from", _TEXT), ("method", _TEXT), ("probability", pa.float64())])),
    "commands": pa.map_(_TEXT, pa.list_(pa.int64())),
    "events": pa.list_(pa.struct([("source", _TEXT), ("line_number", pa.int64())])),
}

_DELIVERIES = pa.schema([(name, _TEXT) for name in DELIVERIES])

Row = dict[str, Any]

COMMANDS = {"ehlo": [1, 1], "mail": [1, 1], "rcpt": [1, 1], "data": [1, 1], "quit": [1, 1]}


class Scene:
    """Sessions through a balancer `edge1` and beside it; `coarse` rounds the mail servers' times to
    seconds."""

    def __init__(
        self, seed: int = 1, *, coarse: bool = True, pace_s: float = 2.0, clock_s: float = 0.0
    ) -> None:
        self._random = random.Random(seed)
        self._coarse, self._pace, self._clock = coarse, pace_s, clock_s
        self.rows: list[Row] = []
        self.deliveries: list[Row] = []
        self.signals = Signals()
        self.now = START

    # --- the two logs' halves of a session ------------------------------------------------------------------

    def _times(self) -> tuple[int, int]:
        self.now += int(self._random.expovariate(1 / self._pace) * SECOND)
        length = self._random.choice([0.05, 0.3, 2.2, 3.4, 8.0, 20.0]) + self._random.random()
        return self.now, self.now + int(length * SECOND)

    def _balancer(self, server: str, start: int, end: int, **more: Any) -> Row:
        self.signals.balancer_hosts["edge1"] = NEVER
        row = {
            "balancer": "edge1", "frontend": "ft_smtp", "backend": "bk_smtp", "server": server, "accepted_at":
            start, "queue_ms": 1, "connect_ms": 0, "ended_at": end, "duration_ms": (end - start) // 10**6,
            "bytes_to_client": 400, "client_address": self.client(), "client_known_from": "balancer",
            "outcome": "unknown", "events": [("haproxy.log", len(self.rows) + 1)],
        }  # fmt: skip
        return row | more

    def _mail(self, host: str, start: int, end: int, **more: Any) -> Row:
        self.signals.mail_hosts[host] = NEVER
        start, end = (int(at + self._clock * SECOND) for at in (start, end))
        if self._coarse:
            start, end = start // SECOND * SECOND, end // SECOND * SECOND
        row = {
            "mta_host": host, "service": "postfix/postscreen", "mta_connected_at": start, "ended_at": end,
            "client_known_from": "none", "outcome": "delivered", "commands": COMMANDS,
            "events": [("mail.log", len(self.rows) + 1)],
        }  # fmt: skip
        return row | more

    def client(self) -> str:
        """A client's address."""
        return f"198.51.100.{self._random.randrange(1, 255)}"

    # --- what happens ---------------------------------------------------------------------------------------

    def passed(self, server: str, host: str, count: int, **more: Any) -> Scene:
        """Sessions joined by address and port."""
        for _ in range(count):
            start, end = self._times()
            ours = self._balancer(server, start, end)
            self.rows.append(
                self._mail(host, start, end)
                | ours
                | {"masked": False, "client_known_from": "proxy_header"}
                | more
            )
            self.rows[-1].setdefault("peer_address", self.rows[-1]["client_address"])
        return self

    def by_port(self, server: str, host: str, count: int, **more: Any) -> Scene:
        """Masked sessions joined by the balancer's own port."""
        return self.passed(
            server,
            host,
            count,
            **({"masked": True, "client_known_from": "backend_port", "peer_address": LB} | more),
        )

    def by_text(self, server: str, host: str, count: int) -> Scene:
        """Sessions whose PROXY header was logged as if it were mail."""
        return self.by_port(server, host, count, client_known_from="header_text", outcome="server_error")

    def masked(self, server: str, host: str, count: int, *, known: bool = True, **more: Any) -> Scene:
        """Masked sessions that cannot be joined: each is a row of either log."""
        for _ in range(count):
            start, end = self._times()
            self.rows.append(
                self._balancer(server, start, end) | _of(more, "client_address", "frontend", "backend")
            )
            mail = {"peer_address": LB, "masked": True if known else None}
            self.rows.append(
                self._mail(host, start, end, **mail) | _of(more, "service", "commands", "peer_address")
            )
        return self

    def refused(self, server: str, host: str, count: int, *, lines: int | None = None) -> Scene:
        """Sessions that ended in a 421 because no header came."""
        signal = HeaderLines(REFUSED, host, "postfix/postscreen")
        for _ in range(count):
            start, _end = self._times()
            end = start + 5 * SECOND
            self.rows.append(self._balancer(server, start, end, bytes_to_client=31))
            if lines is None or signal.count < lines:
                text = f"{host} postfix/postscreen[7]: warning: haproxy read: time limit exceeded"
                signal.add(end // SECOND * SECOND, 1, Example("mail.log", signal.count + 1, text))
        self.signals.mail_hosts[host] = NEVER
        if signal.count:
            self.signals.lines.append(signal)
        return self

    def lone(self, server: str, count: int) -> Scene:
        """Balancer sessions whose mail server lines were lost."""
        for _ in range(count):
            self.rows.append(self._balancer(server, *self._times()))
        return self

    def direct(self, host: str, count: int, address: str | None = None, **more: Any) -> Scene:
        """Sessions of clients that came past the balancer."""
        for _ in range(count):
            peer = address or f"203.0.113.{self._random.randrange(1, 255)}"
            row = self._mail(
                host, *self._times(), peer_address=peer, client_address=peer, client_known_from="mta"
            )
            self.rows.append(row | more)
        return self

    def checks(self, host: str, count: int) -> Scene:
        """Health checks of the balancer."""
        for number in range(count):
            at = START + number * 2 * SECOND
            self.rows.append(self._mail(host, at, at, peer_address=LB, outcome="probe", commands=None))
        return self

    # --- the verdict ----------------------------------------------------------------------------------------

    def batches(self, size: int = 64) -> list[pa.RecordBatch]:
        """The table in pieces."""
        names = list(dict.fromkeys((*READS, *MAIL, *RECOVERED, "events")))
        schema = pa.schema([(name, _TYPES.get(name, _TEXT)) for name in names])
        rows = [{name: _value(name, row.get(name)) for name in names} for row in self.rows]
        return pa.Table.from_pylist(rows, schema).to_batches(size)

    def document(self, site: Site | None = None) -> dict[str, Any]:
        """What is judged of it."""
        judge = Judge(site)
        for batch in self.batches():
            judge.add(batch)
        if self.deliveries:
            judge.add_deliveries(pa.RecordBatch.from_pylist(self.deliveries, _DELIVERIES))
        return judge.document(self.signals)

    def verdicts(self) -> dict[str, str]:
        """The verdict of each server."""
        return {target["server"]: target["verdict"] for target in self.document()["targets"]}


def _of(more: Row, *names: str) -> Row:
    return {name: more[name] for name in names if name in more}


def _value(name: str, value: Any) -> Any:
    if name == "events":
        return [{"source": source, "line_number": number} for source, number in value or ()]
    if name == "commands" and value is not None:
        return list(value.items())
    return value
