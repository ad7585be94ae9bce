"""Which published lines belong to which client connection.

Every step follows addresses and ports that the daemons themselves wrote: the client's, which HAProxy logs;
the balancer's own towards the server (%bi:%bp), which HAProxy logs in the lab; and the one Postfix
logs, which is the first or the second of these, depending on the PROXY header. Time only tells
apart sessions that used the same port one after the other.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .network import SERVERS
from .publish import TRUTH_SUFFIX, Entry

if TYPE_CHECKING:
    from .scenarios import Scenario

Endpoint = tuple[str, int]

_SESSION = re.compile(
    r"(?P<client>\S+) \[(?P<accepted>\d\d/\w{3}/\d{4}:[\d:.]+)\] (?P<frontend>\S+) "
    r"(?P<backend>[^\s/]+)/(?P<server>\S+) "
)
_SCREEN = re.compile(r"\[(?P<address>[0-9A-Fa-f.:]+)\]:(?P<port>\d+)")
_SMTPD = re.compile(r"[\w.-]+\[(?P<address>[0-9A-Fa-f.:]+)\]:(?P<port>\d+)")
_QUEUE_ID = re.compile(r"(?P<queue_id>[0-9A-Za-z]{6,}): client=")

#: A balancer's accept may be this much before the client's own `start`: HAProxy cuts to milliseconds and
#: reads its clock once for each round of events. Ports are reused within 10 ms, so it must be short.
EARLY_S = 0.004


@dataclass
class BalancerLine:
    line_number: int
    client: Endpoint
    accepted: float
    logged: float
    frontend: str
    server: str
    source: Endpoint | None  # the balancer's own address and port towards the server
    taken: bool = False


@dataclass
class Part:
    """What one Postfix daemon logged of one connection: lines from its first to its last."""

    host: str
    service: str
    pid: int
    client: Endpoint
    began: float
    lines: list[int] = field(default_factory=list)
    queue_ids: list[str] = field(default_factory=list)
    taken: bool = False


def endpoint(text: str) -> Endpoint | None:
    address, _, port = text.rpartition(":")
    address = address.removeprefix("::ffff:") if "." in address else address
    return (address, int(port)) if port.isdigit() and address not in ("", "-") else None


def balancer_lines(entries: Iterable[Entry]) -> list[BalancerLine]:
    found = []
    for entry in entries:
        suffix, session = TRUTH_SUFFIX.search(entry.text), _SESSION.match(entry.text)
        client = endpoint(session["client"]) if session else None
        if not suffix or not session or client is None:
            continue
        accepted = datetime.strptime(session["accepted"], "%d/%b/%Y:%H:%M:%S.%f").replace(tzinfo=UTC)
        found.append(
            BalancerLine(
                entry.line_number,
                client,
                accepted.timestamp(),
                entry.arrived_ns / 1e9,
                session["frontend"],
                session["server"],
                endpoint(suffix["source"]),
            )
        )
    return found


def screen_parts(entries: Iterable[Entry]) -> list[Part]:
    """postscreen has the client's port in every line; CONNECT begins a session, or the port's next one."""
    parts: list[Part] = []
    current: dict[tuple[str, Endpoint], Part] = {}
    for entry in entries:
        match = _SCREEN.search(entry.text) if entry.program == "postscreen" else None
        if not match:
            continue
        client = match["address"], int(match["port"])
        if entry.text.startswith("CONNECT from "):
            part = Part(entry.host, entry.tag, entry.pid, client, entry.arrived_ns / 1e9)
            current[entry.host, client] = part
            parts.append(part)
        if (entry.host, client) in current:
            current[entry.host, client].lines.append(entry.line_number)
    return parts


def smtpd_parts(entries: Iterable[Entry]) -> list[Part]:
    """Everything an smtpd process logs from `connect from` to `disconnect from` is one session's."""
    parts: list[Part] = []
    current: dict[tuple[str, int], Part] = {}
    for entry in entries:
        if entry.program != "smtpd":
            continue
        key = entry.host, entry.pid
        if entry.text.startswith("connect from "):
            match = _SMTPD.search(entry.text)
            client = (match["address"], int(match["port"])) if match else ("unknown", 0)
            current[key] = Part(entry.host, entry.tag, entry.pid, client, entry.arrived_ns / 1e9)
            parts.append(current[key])
        if key not in current:
            continue
        current[key].lines.append(entry.line_number)
        if queued := _QUEUE_ID.match(entry.text):
            current[key].queue_ids.append(queued["queue_id"])
        if entry.text.startswith("disconnect from "):
            del current[key]
    return parts


class Resolver:
    """Adds to each connection's record the lines that are its own."""

    def __init__(self, scenario: Scenario, balancer: list[Entry], mail: list[Entry]) -> None:
        self._services = {service.name: service for service in scenario.services}
        self._balancer = _by_time(
            balancer_lines(balancer), lambda line: line.client, lambda line: line.accepted
        )
        self._screen = _by_time(screen_parts(mail), _host_and_client, lambda part: part.began)
        self._smtpd = _by_time(smtpd_parts(mail), _host_and_client, lambda part: part.began)
        self.found: Counter[str] = Counter()

    def resolve(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for record in sorted(records, key=lambda record: record["start"]):
            self._one(record)
        return records

    def _one(self, record: dict[str, Any]) -> None:
        self.found["connections"] += 1
        record["lines"] = {}
        line = self._balancer_line(record)
        if line is None:
            self._without_balancer_line(record)
            return
        self.found["balancer"] += 1
        record["lines"]["balancer"] = [line.line_number]
        record["accepted_at"] = line.accepted
        if line.source is None or line.server not in SERVERS:
            return
        service = self._services[record["service"]]
        record["mta_host"] = line.server
        record["lb_conns"] = [
            {
                "src": _text(line.source),
                "dst": f"{SERVERS[line.server]}:{service.node_port}",
                "t": line.accepted,
                "by": "log",
            }
        ]
        seen_as = line.client if service.shows_client(line.server) else line.source
        record["seen_as"] = _text(seen_as)
        self._mta_parts(record, line.accepted, (line.server, seen_as))

    def _without_balancer_line(self, record: dict[str, Any]) -> None:
        """As with dontlognull: where the client's address reaches a server, its port is enough."""
        service = self._services[record["service"]]
        client = record["client_ip"], record["client_port"]
        for host in SERVERS:
            if service.shows_client(host):
                self._mta_parts(record, record["start"], (host, client))
            if record["lines"]:
                record |= {"mta_host": host, "seen_as": _text(client)}
                return

    def _balancer_line(self, record: dict[str, Any]) -> BalancerLine | None:
        """The first line of this address and port, not another connection's, accepted while it was open."""
        lines, times = self._balancer.get((record["client_ip"], record["client_port"]), ([], []))
        for line in lines[bisect_right(times, record["start"] - EARLY_S) :]:
            if line.accepted > record["end"] + EARLY_S:
                return None
            if not line.taken:
                line.taken = True
                return line
        return None

    def _mta_parts(self, record: dict[str, Any], began: float, key: tuple[str, Endpoint]) -> None:
        latest = record["end"] + 30  # a verdict may come after the client has left
        for name, parts in (("screen", self._screen), ("smtpd", self._smtpd)):
            part = _next_part(parts.get(key), began - EARLY_S, latest)
            if part is None:
                continue
            self.found[name] += 1
            record["lines"][name] = part.lines
            record[f"{name}_pid"] = part.pid
            if name == "smtpd":
                record["smtpd_service"] = part.service
                record["logged_queue_ids"] = part.queue_ids
                missing = set(record.get("queue_ids", ())) - set(part.queue_ids)
                self.found["queue id not in the lines"] += len(missing)


def _next_part(found: tuple[list[Part], list[float]] | None, earliest: float, latest: float) -> Part | None:
    """The first session of this port that began in time and is nobody else's."""
    parts, times = found or ([], [])
    for part in parts[bisect_right(times, earliest) :]:
        if part.began > latest:
            return None
        if not part.taken:
            part.taken = True
            return part
    return None


def _host_and_client(part: Part) -> tuple[str, Endpoint]:
    return part.host, part.client


def _by_time(items: Any, key: Any, time: Any) -> dict[Any, tuple[list[Any], list[float]]]:
    grouped: dict[Any, list[Any]] = defaultdict(list)
    for item in sorted(items, key=time):
        grouped[key(item)].append(item)
    return {name: (members, [time(member) for member in members]) for name, members in grouped.items()}


def _text(where: Endpoint) -> str:
    return f"{where[0]}:{where[1]}"
