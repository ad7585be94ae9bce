"""Writes the two logs of a small mail site, in any of the ways in which a balancer passes on its clients'
addresses or hides them.

A site is described by `Site`: routes (a frontend's way to a server and the service there), who the clients
are, what else connects, and what the logs look like. The lines have the shapes that HAProxy 2.6 and Postfix
3.7 wrote (tests/real); all times and choices come from a seeded generator, so one description gives one pair
of logs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

START = 1_795_339_134.0  # 2026-11-22 09:18:54 UTC
PUBLIC = {"IPv4": "203.0.113.25", "IPv6": "2001:db8:25::25"}
BALANCER = {"IPv4": "172.20.5.4", "IPv6": "fd00:20:5::4"}
OUR_DOMAIN, RELAYED_DOMAIN = "example.com", "elsewhere.example"
TLS = (
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 "
    "server-signature RSA-PSS (2048 bits) server-digest SHA256"
)
NAMELESS = r"bad or missing protocol type: PROXY UNKNOWN\r\n"
V2_SIGNATURE = r"\r\n\r\n\000\r\nQUIT\n!\021\000\f"


@dataclass(frozen=True)
class Way:
    """What a balancer does towards a server, and what the service there expects.

    Attributes:
        send: the header: "", v1 or v2.
        expect: whether the service reads one.
        transparent: the balancer connects from its client's address (`usesrc clientip`).
        enforce: postscreen refuses who talks too early; otherwise it only says so.
        allowlisted: the balancer's address is in mynetworks.
        nameless: a header comes, and names no client (PROXY UNKNOWN).
    """

    send: str = "v1"
    expect: bool = True
    transparent: bool = False
    enforce: bool = True
    allowlisted: bool = False
    nameless: bool = False

    @property
    def verdict(self) -> str:
        """What has to be said of it."""
        if self.send and not self.expect:
            return "unexpected_header"
        if self.expect and not self.send:
            return "missing_header"
        return "passed" if self.send or self.transparent else "masked"


VISIBLE, HIDDEN = Way(), Way("", False)


@dataclass(frozen=True)
class Route:
    """From a frontend to a server.

    Attributes:
        ways: what is done from which second of the run on.
        called: what the balancer calls the server, where that is not its host's name.
        six: the ways for IPv6 clients, where they differ.
        overlap: share of the sessions that still go the old way after a change, as in a roll-out.
    """

    server: str
    ways: tuple[tuple[float, Way], ...] = ((0.0, VISIBLE),)
    six: tuple[tuple[float, Way], ...] | None = None
    frontend: str = "ft_smtp"
    daemon: str = "postscreen"
    syslog_name: str = "postfix"
    node_port: int = 10024
    public_port: int = 25
    share: float = 1.0
    overlap: float = 0.0
    called: str = ""

    @property
    def name(self) -> str:
        """What the balancer calls the server."""
        return self.called or self.server

    @property
    def backend(self) -> str:
        return self.frontend.replace("ft_", "bk_")

    def way(self, at: float, family: str, draw: float) -> Way:
        """What is done at a second of the run."""
        ways = self.six if self.six is not None and family == "IPv6" else self.ways
        begun = [way for since, way in ways if at >= since]
        return begun[-2] if len(begun) > 1 and draw < self.overlap else begun[-1]


@dataclass(frozen=True)
class Clients:
    """Who connects.

    Attributes:
        pool: how many addresses.
        six: share of IPv6.
        hub: share of the sessions that one relay has, `hub_address`; it says one HELO name.
        gateway: an address that clients have before the balancer (masked upstream), empty for none.
        gateway_share: share of the sessions that come by it.
        forgers: share of clients that send a PROXY line of their own.
    """

    pool: int = 80
    six: float = 0.0
    hub: float = 0.0
    hub_address: str = "198.51.100.9"
    gateway: str = ""
    gateway_share: float = 1.0
    forgers: float = 0.0


@dataclass(frozen=True)
class Site:
    """A site and its logs.

    Attributes:
        sessions: through the balancer.
        pace_s: mean seconds between two.
        nat: the address that the servers see in the balancer's place, for clients of each family; the same
            for both where one server address serves both.
        checks_s: seconds between health checks, 0 for none; `checks` says what they are: tcp, v1, v2, smtp.
        direct: sessions of clients past the balancer, for each one through it; `direct_address` if it is one.
        second: share of the sessions that come through a second balancer whose log is not given.
        outsiders: connections to the port that expects a header, without one.
        skew_s: by which each server's clock is ahead.
        lost: share of the lines of the mail log that are missing.
        early_s, late_s: by how many seconds the mail log begins later, and ends earlier.
        fine: RFC 3339 stamps with fractions.
        ports: smtpd logs ports; `backend_ports`: the balancer logs %bi:%bp.
        reload: the moments at which the balancer is reloaded, in seconds of the run.
    """

    name: str
    routes: tuple[Route, ...]
    clients: Clients = Clients()
    sessions: int = 120
    pace_s: float = 2.0
    nat: Mapping[str, str] = field(default_factory=lambda: BALANCER)
    checks: str = ""
    checks_s: float = 0.0
    direct: float = 0.0
    direct_address: str = ""
    second: float = 0.0
    outsiders: int = 0
    skew_s: Mapping[str, float] = field(default_factory=dict)
    lost: float = 0.0
    early_s: float = 0.0
    late_s: float = 0.0
    fine: bool = False
    ports: bool = False
    backend_ports: bool = False
    dontlognull: bool = False
    balancer_mail: int = 0
    reloads: tuple[float, ...] = ()
    mix: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Truth:
    """What really happened on one target: when each session began (ns since 1970), by verdict of its way.

    Sessions from before the mail log begins, or after it ends, are `not covered`.
    """

    moments: dict[str, list[int]] = field(default_factory=dict)


Key = tuple[str, str, str]
"""Frontend, server and family of the clients."""

ORDINARY = {
    "delivered": 60.0,
    "tls": 12.0,
    "refused": 9.0,
    "lost": 5.0,
    "idle": 1.0,
    "silent": 3.0,
    "pregreet": 4.0,
    "listed": 5.0,
    "bad_password": 1.0,
}
SUBMISSION = {"submitted": 80.0, "bad_password": 12.0, "lost": 5.0, "silent": 3.0}


@dataclass
class _Session:
    """One connection while its lines are made."""

    route: Route
    way: Way
    family: str
    address: str
    port: int
    peer: str
    peer_port: int
    start: float
    helo: str
    behaviour: str
    end: float = 0.0
    size: int = 342
    state: str = "--"
    silent: bool = False


class Writer:
    """Makes the logs of one site."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(f"{site.name}{seed}")
        self._draw = self._random.random
        self._haproxy: list[tuple[float, str]] = []
        self._mail: list[tuple[float, str]] = []
        self._known: set[tuple[str, str]] = set()
        self._ports: dict[str, int] = {}
        self._used: set[tuple[str, int]] = set()
        self._pids: dict[str, list[tuple[float, int]]] = {}
        self._next_pid: dict[str, int] = {}
        self._ids = 0
        self._pool = [self._client_address(n) for n in range(site.clients.pool)]
        self.truth: dict[Key, Truth] = {}

    @property
    def sessions(self) -> int:
        """Of the whole site, through the balancer."""
        return self._site.sessions

    def write(self) -> tuple[str, str]:
        """The text of haproxy.log and of mail.log."""
        site = self._site
        at = START
        self._begin = START + site.early_s
        for number in range(site.sessions):
            at += self._random.expovariate(1 / site.pace_s)
            self._arrival(round(at, 3), number)
            for _ in range(int(site.direct + self._draw())):
                self._direct(at + self._draw() * site.pace_s)
        self._checks(at)
        self._outsiders(at)
        for _ in range(site.balancer_mail):
            self._own_mail(START + self._draw() * (at - START))
        for second in site.reloads:
            self._reload(START + second)
        first, last = START + site.early_s, at - site.late_s
        if site.late_s:
            self._forget_after(last)
        mail = [line for line in self._mail if first <= line[0] and (not site.late_s or line[0] <= last)]
        if site.lost:
            mail = [line for line in mail if self._draw() >= site.lost]
        return _text(self._haproxy, fine=False, zoned=site.fine), _text(mail, fine=site.fine, zoned=site.fine)

    def _forget_after(self, last: float) -> None:
        """The mail log ends before these sessions begin."""
        end = round(last * 1000) * 10**6
        for truth in self.truth.values():
            for kind, moments in list(truth.moments.items()):
                late = [at for at in moments if at > end]
                if late and kind != "not covered":
                    truth.moments[kind] = [at for at in moments if at <= end]
                    truth.moments.setdefault("not covered", []).extend(late)
            truth.moments = {kind: moments for kind, moments in truth.moments.items() if moments}

    # --- who connects ---------------------------------------------------------------------------------------

    def _client_address(self, number: int) -> tuple[str, str]:
        if self._draw() < self._site.clients.six:
            return "IPv6", f"2001:db8:c::{number + 1:x}"
        return "IPv4", f"{('192.0.2', '198.51.100')[number % 2]}.{1 + number // 2 % 250}"

    def _client(self) -> tuple[str, str, str]:
        """Family, address and HELO name."""
        clients = self._site.clients
        family, address = self._pool[int(self._draw() ** 1.5 * len(self._pool))]
        by_gateway = bool(clients.gateway) and self._draw() < clients.gateway_share
        helo = f"mail{int(self._draw() * 300)}.sender.example" if by_gateway else _name(address)
        if by_gateway:
            return "IPv6" if ":" in clients.gateway else "IPv4", clients.gateway, helo
        if self._draw() < clients.hub:
            six = ":" in clients.hub_address
            return "IPv6" if six else "IPv4", clients.hub_address, "hub.partner.example"
        return family, address, helo

    def _client_port(self, address: str) -> int:
        while True:
            port = 1024 + int(self._draw() * 64000)
            if (address, port) not in self._used:
                self._used.add((address, port))
                return port

    def _own_port(self, server: str) -> int:
        self._ports.setdefault(server, int(self._draw() * 28000))
        self._ports[server] = (self._ports[server] + 2) % 28000
        return 32768 + self._ports[server]

    def _arrival(self, at: float, number: int) -> None:
        site = self._site
        shares = [route.share for route in site.routes]
        route = self._random.choices(site.routes, shares)[0]
        family, address, helo = self._client()
        way = route.way(at - START, family, self._draw())
        mix = site.mix or (SUBMISSION if route.public_port != 25 else ORDINARY)
        behaviour = self._random.choices(list(mix), list(mix.values()))[0]
        port = self._client_port(address)
        session = _Session(route, way, family, address, port, address, port, at, helo, behaviour)
        if way.transparent:
            session.peer_port = self._own_port(route.server)
        elif not (way.send and way.expect):
            session.peer, session.peer_port = site.nat[family], self._own_port(route.server)
        hidden = self._draw() < site.second
        {
            "passed": self._served,
            "masked": self._served,
            "missing_header": self._missing,
            "unexpected_header": self._unexpected,
        }[way.verdict](session)
        if hidden:
            return
        kind = way.verdict
        if kind == "passed" and site.clients.gateway == address:
            kind = "masked_upstream"
        key = (route.frontend, route.name, family)
        if session.start < self._begin:
            kind = "not covered"
        moments = self.truth.setdefault(key, Truth()).moments.setdefault(kind, [])
        moments.append(round(session.start * 1000) * 10**6)
        self._balancer_line(session, number)

    # --- the balancer's line --------------------------------------------------------------------------------

    def _balancer_line(self, session: _Session, number: int) -> None:
        if self._site.dontlognull and session.silent:
            return
        seconds = int(session.start)
        duration = max(1, round((session.end - session.start) * 1000))
        date = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(seconds))
        route = session.route
        own = session.peer_port if session.way.verdict != "passed" else self._own_port(route.server)
        client = session.address
        source = f"{BALANCER[session.family]}:{own}"
        if session.way.transparent:
            source = f"{client}:{session.peer_port}"
        further = f" {source}" if self._site.backend_ports else ""
        text = (
            f"edge1 haproxy[{3026 + self._worker(session.start)}]: {client}:{session.port} "
            f"[{date}.{round(session.start * 1000) % 1000:03d}] {route.frontend} "
            f"{route.backend}/{route.name} 1/0/{duration} {session.size} {session.state} "
            f"5/4/3/{number % 3}/0 0/0{further}"
        )
        self._haproxy.append((session.start + duration / 1000, text))

    def _worker(self, at: float) -> int:
        return 11 * sum(START + second <= at for second in self._site.reloads)

    def _reload(self, at: float) -> None:
        pid = 3026 + self._worker(at - 0.001)
        for route in self._site.routes:
            for name in (route.frontend, route.backend):
                self._haproxy.append(
                    (at, f"edge1 haproxy[{pid}]: Proxy {name} stopped (cumulated conns: FE: 40, BE: 0).")
                )

    # --- the mail server's lines ----------------------------------------------------------------------------

    def _log(self, session: _Session, daemon: str, pid: int) -> Callable[[float, str], None]:
        route = session.route
        tag = f"{route.server} {route.syslog_name}/{daemon}[{pid}]: "
        base = session.start + 0.001 + self._site.skew_s.get(route.server, 0.0)

        def log(after_s: float, text: str) -> None:
            self._mail.append((base + after_s, tag + text))

        return log

    def _smtpd_pid(self, session: _Session, start: float, end: float) -> int:
        host = f"{session.route.server}{session.route.syslog_name}"
        pids = self._pids.setdefault(host, [])
        for place, (free, pid) in enumerate(pids):
            if free < start:
                pids[place] = (end, pid)
                return pid
        self._next_pid[session.route.server] = self._next_pid.get(session.route.server, 9070) + 1
        pids.append((end, self._next_pid[session.route.server]))
        return pids[-1][1]

    def _peer(self, session: _Session) -> str:
        """As smtpd writes it."""
        name = "unknown" if session.peer != session.address else _name(session.address)
        name = "localhost" if session.peer.startswith("127.") else name
        return f"{name}[{session.peer}]" + (f":{session.peer_port}" if self._site.ports else "")

    def _destination(self, session: _Session) -> str:
        route, family = session.route, session.family
        if session.way.verdict == "passed" and not session.way.transparent:
            return f"[{PUBLIC[family]}]:{route.public_port}"
        inner = f"172.20.5.{21 + ord(route.server[-1]) - ord('a')}"
        return f"[{inner if ':' not in session.peer else 'fd00:20:5::21'}]:{route.node_port}"

    def _screened(self, session: _Session, *, early: bool = False) -> float | None:
        """postscreen's part; when smtpd takes over, in seconds after the start, None where it ends there."""
        if session.route.daemon != "postscreen":
            return 0.002
        log = self._log(session, "postscreen", 9068)
        peer = f"[{session.peer}]:{session.peer_port}"
        log(0.0, f"CONNECT from {peer} to {self._destination(session)}")
        if session.way.allowlisted and session.peer != session.address:
            log(0.0005, f"ALLOWLISTED {peer}")
            return 0.001
        known = (session.route.server, session.peer)
        if early:
            return 0.002
        if known in self._known:
            if session.behaviour in ("silent", "pregreet", "listed"):
                session.behaviour = "lost" if session.behaviour == "silent" else "refused"
            log(0.0006, f"PASS OLD {peer}")
            return 0.001
        if session.behaviour == "silent":
            end = self._draw() * 2
            session.silent, session.size, session.state = True, 36, "CD"
            log(end, f"HANGUP after {end:.2g} from {peer} in tests before SMTP handshake")
        elif session.behaviour == "pregreet":
            end = 3 + self._draw() * 4
            text = f"EHLO {session.helo}\\r\\n"
            if self._draw() < self._site.clients.forgers * 3:
                text = f"PROXY TCP4 127.0.0.1 127.0.0.1 {1024 + int(self._draw() * 60000)} 25\\r\\n"
            log(0.02, f"PREGREET {len(text) - 2} after 0.02 from {peer}: {text}")
            log(end, f"HANGUP after {end - 1:.2g} from {peer} in tests after SMTP handshake")
        elif session.behaviour == "listed":
            end = 3 + self._draw()
            self._log(session, "dnsblog", 9069)(
                0.01, f"addr {session.peer} listed by domain bl.list.example as 127.0.0.2"
            )
            log(end - 0.5, f"DNSBL rank 3 for {peer}")
            log(end - 0.01, f"NOQUEUE: reject: RCPT from {peer}: 550 5.7.1 Service unavailable; "
                f"client [{session.peer}] blocked using bl.list.example; from=<a@sender.example>, "
                f"to=<user1@{OUR_DOMAIN}>, proto=ESMTP, helo=<{session.helo}>")  # fmt: skip
        else:
            wait = 2.0 + self._draw() * 1.8
            self._known.add(known)
            log(wait, f"PASS NEW {peer}")
            return wait
        log(end + 0.0002, f"DISCONNECT {peer}")
        session.end = session.start + end + 0.002
        return None

    def _served(self, session: _Session) -> None:
        at = self._screened(session)
        if at is not None:
            self._smtpd(session, at)

    def _smtpd(self, session: _Session, at: float, unknown: int = 0, told: str = "") -> None:
        """The dialogue with smtpd, from `at` seconds after the start on."""
        draw = self._draw
        length = {"idle": 12.0, "lost": draw() ** 2 * 4, "silent": draw()}.get(
            session.behaviour, 0.01 + draw() ** 3 * 6
        )
        start, end = session.start + at, session.start + at + length
        pid = self._smtpd_pid(session, start, end + 0.01)
        log = self._log(session, "smtpd", pid)
        peer = self._peer(session)
        log(at, f"connect from {peer}")
        if told:
            log(at + 0.0002, f"improper command pipelining after CONNECT from {peer}: {told}")
        counters, last = self._dialogue(session, log, peer, at, length)
        if unknown:
            counters["unknown"] = (0, unknown)
        log(at + length, last) if last else None
        log(at + length + 0.0003, f"disconnect from {peer} {_counted(counters)}")
        session.end = end + 0.002

    def _dialogue(
        self, session: _Session, log: Callable[[float, str], None], peer: str, at: float, length: float
    ) -> tuple[dict[str, tuple[int, int]], str]:
        done = {"ehlo": (1, 1), "mail": (1, 1), "rcpt": (1, 1), "data": (1, 1), "quit": (1, 1)}
        match session.behaviour:
            case "silent":
                session.size, session.state, session.silent = 36, "CD", session.route.daemon == "smtpd"
                return {}, f"lost connection after CONNECT from {peer}"
            case "lost":
                session.size, session.state = 240, "CD"
                return {"ehlo": (1, 1)}, f"lost connection after EHLO from {peer}"
            case "idle":
                return {"ehlo": (1, 1)}, f"timeout after EHLO from {peer}"
            case "refused" | "pregreet" | "listed":
                other = RELAYED_DOMAIN if self._draw() < 0.4 else OUR_DOMAIN
                why = (
                    "Relay access denied"
                    if other == RELAYED_DOMAIN
                    else "User unknown in virtual mailbox table"
                )
                text = (
                    f"NOQUEUE: reject: RCPT from {peer}: 550 5.1.1 <nobody@{other}>: Recipient address "
                    f"rejected: {why}; from=<a@sender.example> to=<nobody@{other}> proto=ESMTP "
                    f"helo=<{session.helo}>"
                )
                log(at + length / 2, text)
                return {"ehlo": (1, 1), "mail": (1, 1), "rcpt": (0, 1), "quit": (1, 1)}, ""
            case "bad_password":
                failed = "SASL PLAIN authentication failed: authentication failure, sasl_username="
                log(at + length / 2, f"warning: {peer}: {failed}{self._user()}")
                return {"ehlo": (1, 1), "auth": (0, 1), "quit": (1, 1)}, ""
            case "submitted":
                client = f"{peer}, sasl_method=PLAIN, sasl_username={self._user()}"
                self._message(session, log, at + length / 2, client, f"friend@{RELAYED_DOMAIN}")
                return {"ehlo": (2, 2), "starttls": (1, 1), "auth": (1, 1)} | done, ""
        session.size = 444
        self._message(session, log, at + length / 2, peer, f"user{int(self._draw() * 60)}@{OUR_DOMAIN}")
        if session.behaviour == "tls":
            session.size = 2285
            log(at + length / 4, f"Anonymous TLS connection established from {peer}: {TLS}")
            return {"ehlo": (2, 2), "starttls": (1, 1)} | {k: v for k, v in done.items() if k != "ehlo"}, ""
        return done, ""

    def _user(self) -> str:
        return f"user{int(self._draw() * 40)}@{OUR_DOMAIN}"

    def _message(
        self, session: _Session, log: Callable[[float, str], None], at: float, client: str, recipient: str
    ) -> None:
        self._ids += 1
        queue_id = f"{int(session.start * 1e3) % 0x100000:05X}{0x22A000 + self._ids:X}"
        log(at, f"{queue_id}: client={client}")
        self._log(session, "cleanup", 9077)(
            at + 0.003, f"{queue_id}: message-id=<{self._ids}@sender.example>"
        )
        queue = self._log(session, "qmgr", 9066)
        queue(at + 0.004, f"{queue_id}: from=<a@sender.example>, size=911, nrcpt=1 (queue active)")
        agent, relay = ("virtual", "virtual") if recipient.endswith(OUR_DOMAIN) else (
            "smtp", "mx.elsewhere.example[192.0.2.81]:25")  # fmt: skip
        self._log(session, agent, 9081)(
            at + 0.02,
            f"{queue_id}: to=<{recipient}>, relay={relay}, delay=0.02, delays=0.01/0.01/0/0, dsn=2.0.0, "
            "status=sent (delivered to maildir)",
        )
        queue(at + 0.021, f"{queue_id}: removed")

    # --- header mismatches ----------------------------------------------------------------------------------

    def _missing(self, session: _Session) -> None:
        """The service waits for a header; most clients wait for the greeting and are turned away."""
        smtpd = session.route.daemon == "smtpd"
        early = session.behaviour in ("pregreet", "silent") or session.way.nameless
        wait = 0.05 + self._draw() if early else 5.002 if smtpd else 4.3 + self._draw() * 1.4
        session.size, session.end = (47, session.start + wait) if smtpd else (31, session.start + wait)
        if smtpd:
            log = self._log(session, "smtpd", self._smtpd_pid(session, session.start, session.end))
            why = "unexpected EOF" if session.behaviour == "silent" else "timeout error"
            why = NAMELESS if session.way.nameless else why
            log(wait - 0.002, f"warning: haproxy read: {why}")
            log(wait - 0.0015, f"connect from {self._peer(session)}")
            log(wait - 0.001, f"disconnect from {self._peer(session)} commands=0/0")
        else:
            why = "time limit exceeded"
            if session.way.nameless:
                why = NAMELESS
            elif session.behaviour == "silent":
                why = "EOF"
            elif early:
                why = f"unrecognized protocol header: EHLO {session.helo}\\r\\n"
            self._log(session, "postscreen", 9068)(wait - 0.001, f"warning: haproxy read: {why}")

    def _unexpected(self, session: _Session) -> None:
        """The service takes the header for the client's first command."""
        header = f"PROXY TCP4 {session.address} {PUBLIC[session.family]} {session.port} 25\\r\\n"
        if session.family == "IPv6":
            header = header.replace("TCP4", "TCP6")
        if session.way.send == "v2":
            return self._unexpected_v2(session)
        if session.route.daemon == "smtpd":
            self._smtpd(session, 0.002, unknown=1, told=header)
            return None
        at = self._screened(session, early=True)
        if session.way.allowlisted:
            self._smtpd(session, at or 0.002, unknown=1)
            return None
        log = self._log(session, "postscreen", 9068)
        peer = f"[{session.peer}]:{session.peer_port}"
        log(0.0004, f"PREGREET {len(header) - 2} after 0 from {peer}: {header}")
        if not session.way.enforce:
            self._smtpd(session, 0.002, unknown=1)
            return None
        log(0.0015, f"HANGUP after 0 from {peer} in tests after SMTP handshake")
        log(0.0016, f"DISCONNECT {peer}")
        session.size, session.end = 77, session.start + 0.003
        return None

    def _unexpected_v2(self, session: _Session) -> None:
        rest = r"\300\000\002t\313\000q\031\216\211\000\031"
        peer = f"[{session.peer}]:{session.peer_port}"
        session.size, session.end = 174, session.start + 0.004
        if session.route.daemon == "smtpd" or session.way.allowlisted:
            at = self._screened(session, early=True) or 0.002
            log = self._log(session, "smtpd", self._smtpd_pid(session, session.start, session.end))
            log(at, f"connect from {self._peer(session)}")
            log(at + 0.001, f"disconnect from {self._peer(session)} quit=1 unknown=0/2 commands=1/3")
            return
        self._screened(session, early=True)
        log = self._log(session, "postscreen", 9068)
        log(0.0004, f"PREGREET 28 after 0 from {peer}: {V2_SIGNATURE}{rest}")
        log(0.001, f"COMMAND PIPELINING from {peer} after : {V2_SIGNATURE[4:]}{rest}")
        log(0.0012, f"BARE NEWLINE from {peer} after QUIT")
        log(0.0014, f"DISCONNECT {peer}")

    # --- what else connects ---------------------------------------------------------------------------------

    def _direct(self, at: float) -> None:
        """A client past the balancer, at a listener of its own that logs under the same name."""
        route = self._random.choice(self._site.routes)
        address = self._site.direct_address or f"203.0.113.{1 + int(self._draw() * 20)}"
        way = Way("", False, transparent=True)
        session = _Session(route, way, "IPv4", address, self._client_port(address), address, 0, at,
                           "app1.example.com", "delivered")  # fmt: skip
        session.peer_port = session.port
        self._served(session)

    def _own_mail(self, at: float) -> None:
        """A report that the balancer's host sends."""
        route = self._random.choice(self._site.routes)
        address = BALANCER["IPv4"]
        session = _Session(route, Way("", False, transparent=True), "IPv4", address, 0, address,
                           self._own_port(route.server), at, "edge1.example.com", "delivered")  # fmt: skip
        self._served(session)

    def _outsiders(self, last: float) -> None:
        for _ in range(self._site.outsiders):
            at = START + self._draw() * (last - START)
            route = self._random.choice(self._site.routes)
            daemon = route.daemon
            self._mail.append(
                (at, f"{route.server} {route.syslog_name}/{daemon}[9068]: warning: haproxy read: EOF")
            )

    def _checks(self, last: float) -> None:
        if not self._site.checks_s:
            return
        seen = {(route.server, route.node_port): route for route in self._site.routes}.values()
        for route in seen:
            at = START + self._draw() * self._site.checks_s
            while at < last:
                self._check(route, at)
                at += self._site.checks_s + self._draw() * 0.01

    def _check(self, route: Route, at: float) -> None:
        way = route.way(at - START, "IPv4", 1.0)
        address = self._site.nat["IPv4"]
        port = self._own_port(route.server)
        session = _Session(route, HIDDEN, "IPv4", address, 0, address, port, at, "", "check")
        pid = 9068 if route.daemon == "postscreen" else self._smtpd_pid(session, at, at + 0.01)
        log = self._log(session, route.daemon, pid)
        peer = f"[{address}]:{session.peer_port}"
        kind = self._site.checks
        if way.expect and kind in ("tcp", "smtp"):
            log(0.001, "warning: haproxy read: EOF") if self._draw() < 0.7 else None
        elif kind == "v2" and self._draw() < 0.7:
            log(
                0.001, "warning: getpeername: Transport endpoint is not connected -- dropping this connection"
            )
        elif route.daemon == "postscreen":
            log(0.0, f"CONNECT from {peer} to {self._destination(session)}")
            log(0.0003, f"HANGUP after 0 from {peer} in tests before SMTP handshake")
            log(0.0004, f"DISCONNECT {peer}")
        else:
            log(0.0, f"connect from unknown[{address}]")
            if kind == "smtp":
                log(0.002, f"disconnect from unknown[{address}] ehlo=1 quit=1 commands=2")
            else:
                log(0.002, f"lost connection after CONNECT from unknown[{address}]")
                log(0.002, f"disconnect from unknown[{address}] commands=0/0")


def _name(address: str) -> str:
    return f"mx{address.replace('.', '-').replace(':', '-')}.mail.example"


def _counted(counters: Mapping[str, tuple[int, int]]) -> str:
    """Disconnect counters as smtpd writes them."""
    good, every = (sum(pair[side] for pair in counters.values()) for side in (0, 1))
    parts = [f"{name}={ok}" + (f"/{all_}" if all_ != ok else "") for name, (ok, all_) in counters.items()]
    return " ".join([*parts, f"commands={good}" + (f"/{every}" if good != every or not good else "")])


def _text(lines: list[tuple[float, str]], *, fine: bool, zoned: bool) -> str:
    lines.sort(key=lambda line: line[0])
    return "".join(f"{_stamp(at, fine=fine, zoned=zoned)} {text}\n" for at, text in lines)


def _stamp(at: float, *, fine: bool, zoned: bool) -> str:
    seconds = int(at)
    if not zoned:
        return time.strftime("%b %e %H:%M:%S", time.gmtime(seconds))
    fraction = f".{int((at - seconds) * 1e6):06d}" if fine else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "+00:00"
