"""Which published lines belong to which client connection.

Every step follows addresses and ports that the daemons themselves wrote: the client's, which HAProxy logs;
the balancer's own towards the server (%bi:%bp), which HAProxy logs in the lab; and the one Postfix
logs, which is the first or the second of these, depending on the PROXY header. Sessions that used one
port in succession are told apart by their order: the client's, HAProxy's own count of sessions (%rt) and
each host's log have the same. Time decides only where one of them has fewer, and run.json says how often.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .network import SERVERS
from .publish import TRUTH_SUFFIX, Entry

if TYPE_CHECKING:
    from .model import Scenario, Service

Endpoint = tuple[str, int]

_SESSION = re.compile(
    r"(?P<client>\S+) \[(?P<accepted>\d\d/\w{3}/\d{4}:[\d:.]+)\] (?P<frontend>\S+) "
    r"(?P<backend>[^\s/]+)/(?P<server>\S+) "
)
_SCREEN = re.compile(r"\[(?P<address>[0-9A-Fa-f.:]+)\]:(?P<port>\d+)")
_SMTPD = re.compile(r"[\w.-]+\[(?P<address>[0-9A-Fa-f.:]+)\]:(?P<port>\d+)")
_QUEUE_ID = re.compile(r"(?P<queue_id>[0-9A-Za-z]{6,}): client=")

#: Nothing is seen before it happened, by more than clocks are cut or read early: HAProxy writes milliseconds
#: and reads its clock once for each round of events, which can be long ago on a busy machine.
EARLY_S = 0.004
LATE_CLOCK_S = 1.0
CONTRADICTION_S = 1e6
ALONE_S = 600.0  # how far apart two neighbours are before both are left without the other

Left = TypeVar("Left")
Right = TypeVar("Right")


def in_step(
    lefts: Sequence[Left], rights: Sequence[Right], apart_s: Callable[[Left, Right], float]
) -> list[Right | None]:
    """The partner of each of `lefts`: both keep their order, and the seconds apart add up to the least."""
    best: list[list[tuple[float, str]]] = [[(ALONE_S * j, "right") for j in range(len(rights) + 1)]]
    for i, left in enumerate(lefts, start=1):
        row = [(ALONE_S * i, "left")]
        for j, right in enumerate(rights, start=1):
            row.append(
                min(
                    (best[i - 1][j - 1][0] + apart_s(left, right), "both"),
                    (best[i - 1][j][0] + ALONE_S, "left"),
                    (row[j - 1][0] + ALONE_S, "right"),
                )
            )
        best.append(row)
    partners: list[Right | None] = [None] * len(lefts)
    i, j = len(lefts), len(rights)
    while i or j:
        move = best[i][j][1]
        if move == "both":
            partners[i - 1] = rights[j - 1]
        i, j = i - (move != "right"), j - (move != "left")
    return partners


@dataclass
class BalancerLine:
    line_number: int
    client: Endpoint
    accepted: float
    logged: float
    frontend: str
    server: str
    source: Endpoint | None  # the balancer's own address and port towards the server
    number: int  # HAProxy's count of sessions


@dataclass
class Part:
    """What one Postfix daemon logged of one connection: lines from its first to its last."""

    host: str
    service: str
    pid: int
    client: Endpoint
    began: float
    ended: float  # its last line
    lines: list[int] = field(default_factory=list)
    queue_ids: list[str] = field(default_factory=list)
    disconnected: bool = False


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
                int(suffix["number"] or 0),
            )
        )
    return sorted(found, key=lambda line: (line.number, line.accepted))


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
            at = entry.arrived_ns / 1e9
            current[entry.host, client] = Part(entry.host, entry.tag, entry.pid, client, at, at)
            parts.append(current[entry.host, client])
        if part := current.get((entry.host, client)):
            part.lines.append(entry.line_number)
            part.ended = entry.arrived_ns / 1e9
            part.disconnected = entry.text.startswith("DISCONNECT ")
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
            at = entry.arrived_ns / 1e9
            current[key] = Part(entry.host, entry.tag, entry.pid, client, at, at)
            parts.append(current[key])
        if key not in current:
            continue
        current[key].lines.append(entry.line_number)
        current[key].ended = entry.arrived_ns / 1e9
        if queued := _QUEUE_ID.match(entry.text):
            current[key].queue_ids.append(queued["queue_id"])
        if entry.text.startswith("disconnect from "):
            del current[key]
    return parts


@dataclass
class Found:
    """A client connection with what belongs to it so far."""

    record: dict[str, Any]
    line: BalancerLine | None = None
    screen: Part | None = None

    @property
    def at_server(self) -> float:
        """When its server can have seen it first."""
        return self.line.accepted if self.line else float(self.record["start"])


class Resolver:
    """Adds to each connection's record the lines that are its own."""

    def __init__(
        self, scenario: Scenario, balancer: list[Entry], mail: list[Entry], changed_at: float | None = None
    ) -> None:
        self._scenario, self._changed_at = scenario, changed_at
        self._services = {service.name: service for service in scenario.services}
        self._later = {service.name: service for service in scenario.after.services}
        self._balancer = _grouped(balancer_lines(balancer), lambda line: line.client)
        self._screen = _grouped(screen_parts(mail), _listener_and_client)
        self._smtpd = _grouped(smtpd_parts(mail), _listener_and_client)
        self.found: Counter[str] = Counter()

    def resolve(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        everybody = [Found(record) for record in sorted(records, key=lambda record: record["start"])]
        self.found["connections"] = len(everybody)
        for found in everybody:
            found.record["lines"] = {}
        for client, group in _grouped(everybody, _client).items():
            self._join(group, self._balancer.get(client, []), _accepted_after, _note_line)
        self.found["balancer"] = sum(found.line is not None for found in everybody)
        reached = [found for found in everybody if self._note_server(found)]
        reached.sort(key=lambda found: found.line.number if found.line else 0)  # otherwise as they started
        self._servers(reached)
        for host in SERVERS:
            self._without_balancer_line(host, [found for found in everybody if not found.record["lines"]])
        for found in everybody:
            self._check(found.record)
        return records

    def _service(self, found: Found) -> Service:
        """As it was when the connection was accepted."""
        later = self._changed_at is not None and found.at_server > self._changed_at
        return (self._later if later else self._services)[found.record["service"]]

    def _note_server(self, found: Found) -> bool:
        """Whether a server was reached, and whom it saw."""
        line = found.line
        if line is None or line.source is None or line.server not in SERVERS:
            return False
        service = self._service(found)
        shown = service.shows_client(line.server)
        found.record |= {
            "mta_host": line.server,
            "lb_conns": [
                {
                    "src": _text(line.source),
                    "dst": f"{self._scenario.address(line.server)}:{service.node_port}",
                    "t": line.accepted,
                    "by": "log",
                }
            ],
            "seen_as": _text(line.client if shown else line.source),
        }
        return True

    def _without_balancer_line(self, host: str, lost: list[Found]) -> None:
        """As with dontlognull: where the client's address reaches a server, its port is enough."""
        shown = [found for found in lost if self._services[found.record["service"]].shows_client(host)]
        seen_as = {id(found): _text(_client(found)) for found in shown}
        for found in shown:
            found.record |= {"mta_host": host, "seen_as": seen_as[id(found)]}
        self._servers(shown)
        for found in shown:
            if not found.record["lines"]:
                del found.record["mta_host"], found.record["seen_as"]

    def _servers(self, everybody: list[Found]) -> None:
        """Both hops of the servers, for connections of which it is known who saw them, and as whom."""
        screened = [f for f in everybody if self._services[f.record["service"]].daemon == "postscreen"]
        for key, group in _grouped(
            screened, lambda found: _seen("postscreen", self._services, found)
        ).items():
            self._join(group, self._screen.get(key, []), _connected_after, self._note_screen)
        handed = [found for found in everybody if found.screen is None or not found.screen.disconnected]
        for key, group in _grouped(handed, lambda found: _seen("smtpd", self._services, found)).items():
            self._join(group, self._smtpd.get(key, []), _handed_over, self._note_smtpd)

    def _join(
        self,
        group: list[Found],
        parts: list[Any],
        apart_s: Callable[[Found, Any], float],
        note: Callable[[Found, Any], None],
    ) -> None:
        if min(len(group), len(parts)) > 0 and len(group) != len(parts):
            self.found["told apart by time"] += len(group)
        for found, part in zip(group, in_step(group, parts, apart_s), strict=True):
            if part is not None:
                note(found, part)
                parts.remove(part)

    def _note_screen(self, found: Found, part: Part) -> None:
        self.found["screen"] += 1
        found.screen = part
        found.record["lines"]["screen"] = part.lines
        found.record["screen_pid"] = part.pid

    def _note_smtpd(self, found: Found, part: Part) -> None:
        self.found["smtpd"] += 1
        found.record["lines"]["smtpd"] = part.lines
        found.record |= {"smtpd_pid": part.pid, "smtpd_service": part.service}
        found.record["logged_queue_ids"] = part.queue_ids

    def _check(self, record: dict[str, Any]) -> None:
        """A queue id that a client was told must be in its lines."""
        missing = set(record.get("queue_ids", ())) - set(record.get("logged_queue_ids", ()))
        self.found["queue id not in the lines"] += len(missing)


def _note_line(found: Found, line: BalancerLine) -> None:
    found.line = line
    found.record["lines"]["balancer"] = [line.line_number]
    found.record["accepted_at"] = line.accepted


def _accepted_after(found: Found, line: BalancerLine) -> float:
    return _after(found.record["start"], line.accepted, LATE_CLOCK_S)


def _connected_after(found: Found, part: Part) -> float:
    return _after(found.at_server, part.began, EARLY_S)


def _handed_over(found: Found, part: Part) -> float:
    """A verdict may come after the client has left; a queue id that the client was told settles it."""
    if not set(found.record.get("queue_ids", ())) <= set(part.queue_ids):
        return CONTRADICTION_S
    return _after(found.screen.ended if found.screen else found.at_server, part.began, EARLY_S)


def _after(cause: float, effect: float, early_s: float) -> float:
    return CONTRADICTION_S if effect < cause - early_s else abs(effect - cause)


def _client(found: Found) -> Endpoint:
    return found.record["client_ip"], found.record["client_port"]


def _seen(daemon: str, services: dict[str, Any], found: Found) -> tuple[str, str, str]:
    """Host, daemon and client as the server's log has them."""
    syslog_name = services[found.record["service"]].syslog_name or "postfix"
    return found.record["mta_host"], f"{syslog_name}/{daemon}", found.record["seen_as"]


def _listener_and_client(part: Part) -> tuple[str, str, str]:
    return part.host, part.service, _text(part.client)


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    grouped: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        grouped[key(item)].append(item)
    return grouped


def _text(where: Endpoint) -> str:
    return f"{where[0]}:{where[1]}"
