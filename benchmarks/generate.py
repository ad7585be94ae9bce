"""Writes a pair of logs, `haproxy.log` and `mail.log`, of any number of sessions, and on request who was who.

    python benchmarks/generate.py DIRECTORY --sessions 1000000 --truth

A balancer spreads the sessions over several Postfix servers, whose lines are interleaved in the order of
their stamps, as one log host would write them. The mix is that of an ordinary day: about 70 % delivered, the
rest refused, listed, talking too early, hanging up, failing to log in or meeting no server. HAProxy's line
comes when its session has ended.

The lines have the shapes of HAProxy 2.6 (`option tcplog`) and Postfix 3.7 as real daemons wrote them; the
numbers in them are drawn from a seeded generator, so the same options give the same bytes. Memory does not
grow with the number of sessions, except for a table of the clients known to postscreen. Addresses:
198.18.0.0/15 (RFC 2544, benchmarks) and the documentation networks.

`--truth` adds `truth.jsonl`, one object for each session in the order of arrival: `client_address`,
`client_port`, `server`, `behaviour`, `balancer_line`, `postscreen_line` (CONNECT), `smtpd_line` (connect
from), `smtpd_pid`, `queue_ids`; line numbers count from one, and what did not happen is null.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, count
from pathlib import Path
from typing import IO, Any

PUBLIC_ADDRESS = "203.0.113.25"
BALANCER_ADDRESS = "172.20.5.4"
BALANCER = f"edge1.example.com[{BALANCER_ADDRESS}]"
ONE_CLIENT = "198.51.100.7"
ORDINARY_CLIENTS = 1 << 16  # 198.18.0.0/16
LISTED_CLIENTS = 1 << 14  # 198.19.0.0/18
SESSIONS_A_ROUND = 4096  # between two writes
START = 1795339134  # 2026-11-22 09:18:54 UTC
RETRY_S = 300.0
MAX_USE = 100  # sessions one smtpd process serves (postconf(5), max_use)

SENDER_DOMAINS = ("mail.example", "sender.example", "example.net", "news.example", "lists.example.org")
DESTINATIONS = (
    "mx.partner.example[192.0.2.81]:25",
    "mx1.far.example[192.0.2.82]:25",
    "in.other.example[192.0.2.83]:25",
)
TLS = (
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 "
    "server-signature RSA-PSS (2048 bits) server-digest SHA256"
)

Record = dict[str, Any]
SmtpdLog = Callable[[float, str], None]  # seconds after the session's start, text
Event = tuple[float, int, str, Record | None, str]


@dataclass(frozen=True)
class Options:
    """What to write. Times are seconds."""

    sessions: int
    concurrency: int = 50
    servers: int = 3
    seed: int = 1
    masked: bool = False
    one_address: bool = False
    smtpd_ports: bool = False
    backend_port: bool = False
    skew_s: tuple[float, ...] = ()


class Log:
    """One file, written in the order of the stamps although its lines come session by session."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._pending: list[Event] = []
        self._order = count()
        self._second = -1
        self._stamp = ""
        self.lines = 0

    def add(self, at: float, text: str, record: Record | None = None, key: str = "") -> None:
        """Take a line without its stamp; its number in the file goes to `record[key]` once it is written."""
        self._pending.append((at, next(self._order), text, record, key))

    def write_before(self, horizon: float) -> None:
        """Write what was logged before `horizon`; nothing older may be added after that."""
        self._pending.sort()
        end = bisect_left(self._pending, (horizon,))
        lines = []
        for number, (at, _, text, record, key) in enumerate(self._pending[:end], self.lines + 1):
            if at >= self._second + 1:
                self._second = int(at)
                self._stamp = time.strftime("%b %e %H:%M:%S ", time.gmtime(self._second))
            lines.append(self._stamp + text)
            if record is not None:
                record[key] = number
        self._file.write("".join(lines))
        self.lines += end
        del self._pending[:end]


class Server:
    """One Postfix host: its processes, its clock, its queue ids, and the clients its postscreen knows."""

    def __init__(self, index: int, skew_s: float) -> None:
        self.name = f"mx-{chr(ord('a') + index)}"
        self.address = f"172.20.5.{21 + index}"
        self.skew_s = skew_s
        self.passed_at: dict[str, float] = {}
        self._next_pid = 8950  # each host numbers its processes by itself
        self._idle_smtpd: list[tuple[float, int, int]] = []
        self._next_inode = 0
        self._next_port = 33000 + 977 * index
        self.screen = self.tag("postscreen", 8947)
        self.qmgr = self.tag("qmgr", 8946)
        self.cleanups = [self.tag("cleanup", 8941 - n) for n in range(4)]
        self.virtuals = [self.tag("virtual", 8930 - n) for n in range(4)]
        self.smtps = [self.tag("smtp", 8920 - n) for n in range(4)]
        self.dnsblogs = [self.tag("dnsblog", 8910 - n) for n in range(4)]
        self.bounce = self.tag("bounce", 8900)
        self.anvil = self.tag("anvil", 8899)

    def tag(self, daemon: str, pid: int) -> str:
        return f"{self.name} postfix/{daemon}[{pid}]: "

    def smtpd_for(self, start: float, end: float) -> int:
        """The process that serves a session: one idle by `start`, else a new one."""
        if self._idle_smtpd and self._idle_smtpd[0][0] < start:
            _, pid, uses = heapq.heappop(self._idle_smtpd)
        else:
            self._next_pid = 2000 + (self._next_pid - 1999) % 2_000_000
            pid, uses = self._next_pid, 0
        if uses + 1 < MAX_USE:
            heapq.heappush(self._idle_smtpd, (end, pid, uses + 1))
        return pid

    def queue_id(self, at: float) -> str:
        """A short queue id: the microseconds of its time and the inode of its file."""
        self._next_inode = (self._next_inode + 1) % 0x4000
        return f"{int(at % 1 * 1e6):05X}{0x22A000 + self._next_inode:X}"

    def port(self) -> int:
        """The balancer's next own port towards this server."""
        self._next_port = 32768 + (self._next_port - 32767) % 28232
        return self._next_port


@dataclass
class Session:
    """One client connection while its lines are made. `end` is when the balancer sees it closed."""

    server: Server
    address: str
    port: int
    start: float
    host_name: str
    helo: str
    behaviour: str
    record: Record
    backend_port: int
    screen_peer: str = ""
    smtpd_peer: str = ""
    end: float = 0.0
    bytes_to_client: int = 342
    termination: str = "--"
    queue_ids: list[str] = field(default_factory=list)


class Message:
    """A mail in a server's queue. `active` is the queue manager's line for it."""

    __slots__ = ("active", "arrived", "queue_id", "sender", "server")

    def __init__(self, server: Server, queue_id: str, sender: str, size: int, arrived: float) -> None:
        self.server = server
        self.queue_id = queue_id
        self.sender = sender
        self.arrived = arrived
        self.active = f"{server.qmgr}{queue_id}: from=<{sender}>, size={size}, nrcpt=1 (queue active)\n"


class Site:
    """The balancer, its servers and their clients; `run` writes both logs."""

    def __init__(self, options: Options, haproxy: IO[str], mail: IO[str], truth: IO[str] | None) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        skews = (*options.skew_s, *([0.0] * options.servers))
        self._servers = [Server(n, skews[n]) for n in range(options.servers)]
        self._haproxy = Log(haproxy)
        self._mail = Log(mail)
        self._truth = truth
        self._unwritten: deque[tuple[float, Record]] = deque()
        self._open_ends: list[float] = []
        self._mean_duration_s = 2.0
        behaviours = {name: share for name, share in SHARES.items() if self._possible(name)}
        self._behaviours = list(behaviours)
        self._thresholds = list(accumulate(behaviours.values()))

    def run(self) -> tuple[int, int]:
        """Write everything; returns the number of lines of each log."""
        at = float(START)
        draw = self._random.random
        slack = 2 * max((abs(server.skew_s) for server in self._servers), default=0.0) + 1.0
        next_statistics = at + 600
        for number in range(self._options.sessions):
            at += self._random.expovariate(1.0) * self._mean_duration_s / self._options.concurrency
            session = self._arrival(number, round(at, 3), draw)
            BEHAVIOURS[session.behaviour](self, session)
            self._balancer_line(session, number)
            if at > next_statistics:
                self._statistics(next_statistics)
                next_statistics += 600
            if number % SESSIONS_A_ROUND == SESSIONS_A_ROUND - 1:
                self._write_before(at - slack)
        self._write_before(float("inf"))
        return self._haproxy.lines, self._mail.lines

    def _possible(self, behaviour: str) -> bool:
        """A masked or a single client is not screened: postscreen knows its address already."""
        screened = behaviour in ("listed", "denylisted", "pregreet", "screen_hangup")
        return not (screened and (self._options.masked or self._options.one_address))

    def _arrival(self, number: int, at: float, draw: Callable[[], float]) -> Session:
        behaviour = self._behaviours[bisect_left(self._thresholds, draw() * self._thresholds[-1])]
        address, name = self._client(behaviour in ("listed", "denylisted"), draw)
        server = self._servers[number % len(self._servers)]
        port = 1024 + int(draw() * 64512)
        backend_port = server.port()
        helo = name if name != "unknown" else f"host{int(draw() * 997)}.dyn.example"
        record: Record = {
            "client_address": address,
            "client_port": port,
            "server": server.name,
            "behaviour": behaviour,
            "balancer_line": None,
            "postscreen_line": None,
            "smtpd_line": None,
            "smtpd_pid": None,
        }
        session = Session(server, address, port, at, name, helo, behaviour, record, backend_port)
        if self._options.masked:
            session.screen_peer = f"[{BALANCER_ADDRESS}]:{backend_port}"
            session.smtpd_peer = BALANCER
            port = backend_port
        else:
            session.screen_peer = f"[{address}]:{port}"
            session.smtpd_peer = f"{name}[{address}]"
        if self._options.smtpd_ports:
            session.smtpd_peer += f":{port}"
        return session

    def _client(self, listed: bool, draw: Callable[[], float]) -> tuple[str, str]:
        """Address and verified name: a few clients come very often, many once or twice."""
        if self._options.one_address:
            return ONE_CLIENT, "unknown"
        if listed:
            index = int(draw() ** 3 * LISTED_CLIENTS)
            return f"198.19.{index >> 8}.{index & 255}", "unknown"
        index = int(draw() ** 4 * ORDINARY_CLIENTS)
        if index % 16 == 3:
            return f"2001:db8:{index >> 8:x}::{index & 255:x}", f"mx{index}.six.example"
        name = f"mx{index}.mail.example" if index % 5 else "unknown"
        return f"198.18.{index >> 8}.{index & 255}", name

    def _balancer_line(self, session: Session, number: int) -> None:
        duration_ms = round((session.end - session.start) * 1000)
        ends = self._open_ends
        while ends and ends[0] < session.start:
            heapq.heappop(ends)
        heapq.heappush(ends, session.end)
        # A slow mean: the arrival rate follows it, so that about `concurrency` sessions are open at any time.
        error_s = session.end - session.start - self._mean_duration_s
        self._mean_duration_s += error_s / min(number + 20, 10_000)
        connections = len(ends)
        seconds = int(session.start)
        date = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(seconds))
        milliseconds = round(session.start * 1000) - seconds * 1000
        if session.behaviour == "no_server":
            route = f"bk_postfix/<NOSRV> -1/-1/{duration_ms}"
            further = " -:-"
        else:
            route = f"bk_postfix/{session.server.name} 1/0/{duration_ms}"
            further = f" {BALANCER_ADDRESS}:{session.backend_port}"
        client = f"{session.address}:{session.port}"
        text = (
            f"edge1 haproxy[3026]: {client} [{date}.{milliseconds:03d}] ft_smtp {route} "
            f"{session.bytes_to_client} {session.termination} {connections}/{connections}/{connections - 1}/"
            f"{connections // len(self._servers)}/0 0/0{further if self._options.backend_port else ''}\n"
        )
        # The daemon stamps the line with the accept time and the duration, both in whole milliseconds.
        logged_at = (seconds * 1000 + milliseconds + duration_ms) / 1000
        self._haproxy.add(logged_at, text, session.record, "balancer_line")
        if self._truth is not None:
            session.record["queue_ids"] = session.queue_ids
            self._unwritten.append((session.end + session.server.skew_s, session.record))

    def _write_before(self, horizon: float) -> None:
        self._haproxy.write_before(horizon)
        self._mail.write_before(horizon)
        while self._truth is not None and self._unwritten and self._unwritten[0][0] < horizon - 1:
            self._truth.write(json.dumps(self._unwritten.popleft()[1]) + "\n")

    def _statistics(self, at: float) -> None:
        stamp = time.strftime("%b %e %H:%M:%S", time.gmtime(at - 300))
        for server in self._servers:
            cached = int(self._random.random() * 90)
            for what in ("connection rate 4/60s for (smtpd:198.18.0.1)", f"cache size {cached}"):
                self._mail.add(at, f"{server.anvil}statistics: max {what} at {stamp}\n")

    # -- what postscreen does ----------------------------------------------------------------

    def _screen(self, session: Session, after_s: float, text: str, key: str = "") -> None:
        server = session.server
        record = session.record if key else None
        self._mail.add(session.start + server.skew_s + after_s, f"{server.screen}{text}\n", record, key)

    def _connect(self, session: Session) -> None:
        address, port = (session.server.address, 10024) if self._options.masked else (PUBLIC_ADDRESS, 25)
        text = f"CONNECT from {session.screen_peer} to [{address}]:{port}"
        self._screen(session, 0.0012, text, "postscreen_line")

    def _pass(self, session: Session) -> float:
        """CONNECT and the verdict; returns when the session reaches smtpd, in seconds after its start."""
        draw = self._random.random
        self._connect(session)
        known = BALANCER_ADDRESS if self._options.masked else session.address
        if session.server.passed_at.get(known, float("inf")) <= session.start:
            verdict = "ALLOWLISTED" if known.endswith("7") and not self._options.one_address else "PASS OLD"
            after_s = 0.0013 + draw() * 0.0004
        else:
            verdict = "PASS NEW"
            after_s = 2.0 + draw() * 1.8  # no fixed delay was seen with postscreen_greet_wait = 3s
            session.server.passed_at.setdefault(known, session.start + after_s)
        self._screen(session, after_s, f"{verdict} {session.screen_peer}")
        return after_s + 0.0002 + draw() * 0.001

    def _leave(self, session: Session, after_s: float) -> None:
        session.end = session.start + after_s

    # -- what smtpd does ---------------------------------------------------------------------

    def _serve(self, session: Session, from_s: float, to_s: float) -> tuple[SmtpdLog, float]:
        """Hand the session to an smtpd process; returns its log and the session's start by its clock."""
        server, mail = session.server, self._mail
        base = session.start + server.skew_s
        pid = server.smtpd_for(base + from_s, base + to_s)
        session.record["smtpd_pid"] = pid
        tag = server.tag("smtpd", pid)
        if session.host_name == "unknown" and not self._options.masked and session.port % 4 == 0:
            warning = f"hostname pool{session.port}.dyn.example does not resolve to address {session.address}"
            mail.add(base + from_s - 0.0001, f"{tag}warning: {warning}: Name or service not known\n")
        mail.add(base + from_s, f"{tag}connect from {session.smtpd_peer}\n", session.record, "smtpd_line")

        def log(after_s: float, text: str) -> None:
            mail.add(base + after_s, f"{tag}{text}\n")

        return log, base

    def delivered(self, session: Session) -> None:
        draw = self._random.random
        at = self._pass(session)
        messages = 1 if draw() > 0.04 else 2 + int(draw() * 4)
        tls = draw() < 0.3
        step = 0.02 + draw() ** 3 * 2.5
        end = at + step * (1.2 + messages)
        log, base = self._serve(session, at, end)
        if tls:
            log(at + step * 0.6, f"Anonymous TLS connection established from {session.smtpd_peer}: {TLS}")
        for number in range(messages):
            self._message(session, log, base, at + step * (number + 1), step)
        hello = "ehlo=2 starttls=1" if tls else "ehlo=1"
        total = (3 if tls else 1) + 3 * messages + 1
        counters = f"{hello} mail={messages} rcpt={messages} data={messages} quit=1 commands={total}"
        log(end, f"disconnect from {session.smtpd_peer} {counters}")
        session.bytes_to_client = (2285 if tls else 240) + 102 * messages
        self._leave(session, end + 0.0005)

    def _message(self, session: Session, log: SmtpdLog, base: float, at: float, step: float) -> None:
        draw, server, add = self._random.random, session.server, self._mail.add
        queue_id = server.queue_id(base + at)
        session.queue_ids.append(queue_id)
        number = int(draw() * 1e9)
        domain = SENDER_DOMAINS[number % 5]
        size = 600 + int(draw() ** 4 * 90_000)
        message = Message(server, queue_id, f"user{number % 1013}@{domain}", size, base + at)
        log(at, f"{queue_id}: client={session.smtpd_peer}")
        cleanup, message_id = server.cleanups[number % 4], f"{number:x}.{size:x}@{domain}"
        add(base + at + step * 0.5, f"{cleanup}{queue_id}: message-id=<{message_id}>\n")
        add(base + at + step * 0.6, message.active)
        done = base + at + step * 0.6 + 0.01 + draw() * 0.3
        if draw() < 0.7:
            result = "dsn=2.0.0, status=sent (delivered to maildir)"
            self._attempt(message, server.virtuals, f"box{number % 61}@example.com", "virtual", done, result)
        else:
            done = self._relayed(message, done + draw() * 2, draw())
        add(done + 0.002, f"{server.qmgr}{queue_id}: removed\n")

    def _relayed(self, message: Message, at: float, kind: float) -> float:
        """Hand the message to another site: some bounce, some come through at the second attempt."""
        server = message.server
        number = int(kind * 1e6)
        recipient = f"person{number % 499}@partner.example"
        relay = DESTINATIONS[number % 3]
        said = f"host {relay.removesuffix(':25')} said: "
        rejected = f"<{recipient}>: Recipient address rejected"
        command = "(in reply to RCPT TO command)"
        if kind > 0.95:
            result = f"dsn=5.1.1, status=bounced ({said}550 5.1.1 {rejected}: User unknown {command})"
            self._attempt(message, server.smtps, recipient, relay, at, result)
            self._bounce(message, at + 0.001)
            return at + 0.003
        if kind > 0.85:
            result = f"dsn=4.2.0, status=deferred ({said}450 4.2.0 {rejected}: Greylisted {command})"
            self._attempt(message, server.smtps, recipient, relay, at, result)
            self._mail.add(at + RETRY_S, message.active)
            at += RETRY_S + 0.3
        result = f"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {number:08X}F)"
        self._attempt(message, server.smtps, recipient, relay, at, result)
        return at

    def _attempt(
        self, message: Message, agents: list[str], recipient: str, relay: str, at: float, result: str
    ) -> None:
        delay = at - message.arrived
        if delay < 99:
            delays = f"delay={delay:.2g}, delays={delay * 0.8:.2g}/0.01/{delay * 0.1:.2g}/{delay * 0.1:.2g}"
        else:
            delays = f"delay={delay:.0f}, delays={delay - 1:.0f}/0.01/0.2/0.3"
        agent = agents[int(at * 10) % len(agents)]
        text = f"{agent}{message.queue_id}: to=<{recipient}>, relay={relay}, {delays}, {result}\n"
        self._mail.add(at, text)

    def _bounce(self, message: Message, at: float) -> None:
        add, server = self._mail.add, message.server
        notice = Message(server, server.queue_id(at), "", 2816, at)
        message_id = f"{int(at)}.{notice.queue_id}@{server.name}.example.com"
        add(at, f"{server.cleanups[0]}{notice.queue_id}: message-id=<{message_id}>\n")
        bounced = f"{server.bounce}{message.queue_id}: sender non-delivery notification: {notice.queue_id}\n"
        add(at + 0.001, bounced)
        add(at + 0.002, notice.active)
        result = "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 9A1B2C3D4E)"
        self._attempt(notice, server.smtps, message.sender, DESTINATIONS[0], at + 0.4, result)
        add(at + 0.402, f"{server.qmgr}{notice.queue_id}: removed\n")

    def refused(self, session: Session) -> None:
        draw = self._random.random
        at = self._pass(session)
        end = at + 0.03 + draw() ** 3 * 2
        log, _ = self._serve(session, at, end)
        number = int(draw() * 1e6)
        if number % 3:
            recipient = f"no-such-user{number % 997}@example.com"
            reason = (
                f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table"
            )
        else:
            recipient = f"victim{number % 997}@elsewhere.example"
            reason = f"554 5.7.1 <{recipient}>: Relay access denied"
        sender = f"news{number % 89}@{SENDER_DOMAINS[number % 5]}"
        envelope = f"from=<{sender}> to=<{recipient}> proto=ESMTP helo=<{session.helo}>"
        log(end - 0.01, f"NOQUEUE: reject: RCPT from {session.smtpd_peer}: {reason}; {envelope}")
        log(end, f"disconnect from {session.smtpd_peer} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4")
        self._leave(session, end + 0.0005)

    def lost(self, session: Session) -> None:
        """The client leaves in the middle: at the start, after EHLO, or with its message half sent."""
        draw = self._random.random
        at = self._pass(session)
        end = at + 0.03 + draw() ** 2 * 4
        log, base = self._serve(session, at, end)
        stage = int(draw() * 3)
        if stage == 2:
            queue_id = session.server.queue_id(base + at)
            session.queue_ids.append(queue_id)
            log((at + end) / 2, f"{queue_id}: client={session.smtpd_peer}")
        what = ("CONNECT", "EHLO", f"DATA ({300 + int(draw() * 900)} bytes)")[stage]
        counters = ("commands=0/0", "ehlo=1 commands=1", "ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4")[stage]
        log(end - 0.0001, f"lost connection after {what} from {session.smtpd_peer}")
        log(end, f"disconnect from {session.smtpd_peer} {counters}")
        session.termination = "CD"
        session.bytes_to_client = (36, 240, 289)[stage]
        self._leave(session, end - 0.0005)

    def bad_password(self, session: Session) -> None:
        at = self._pass(session)
        end = at + 0.5 + self._random.random()
        log, _ = self._serve(session, at, end)
        log(end - 0.2, "warning: SASL authentication failure: Password verification failed")
        failure = "SASL PLAIN authentication failed: authentication failure, sasl_username=alice@example.com"
        log(end - 0.2, f"warning: {session.smtpd_peer}: {failure}")
        log(end, f"disconnect from {session.smtpd_peer} ehlo=1 auth=0/1 quit=1 commands=2/3")
        session.bytes_to_client = 294
        self._leave(session, end + 0.0005)

    def idle(self, session: Session) -> None:
        at = self._pass(session)
        end = at + 15.02
        log, _ = self._serve(session, at, end)
        log(end - 0.0001, f"timeout after EHLO from {session.smtpd_peer}")
        log(end, f"disconnect from {session.smtpd_peer} ehlo=1 commands=1")
        self._leave(session, end + 0.0005)

    # -- what postscreen ends itself ---------------------------------------------------------

    def listed(self, session: Session) -> None:
        server, at = session.server, session.start + session.server.skew_s
        self._connect(session)
        for number, (domain, code) in enumerate((("zen.dnsbl.example", 3), ("bl.list.example", 2))):
            agent = server.dnsblogs[(session.port + number) % 4]
            self._mail.add(
                at + 0.002, f"{agent}addr {session.address} listed by domain {domain} as 127.0.0.{code}\n"
            )
        end = 3.01 + self._random.random() * 0.2
        self._screen(session, end - 0.15, f"DNSBL rank 3 for {session.screen_peer}")
        reason = f"550 5.7.1 Service unavailable; client [{session.address}] blocked using zen.dnsbl.example"
        self._screen_reject(session, end - 0.01, reason)
        session.bytes_to_client = 326
        self._screen_end(session, end)

    def denylisted(self, session: Session) -> None:
        self._connect(session)
        self._screen(session, 0.0013, f"DENYLISTED {session.screen_peer}")
        self._screen_reject(session, 3.05, "550 5.3.2 Service currently unavailable")
        session.bytes_to_client = 307
        self._screen_end(session, 3.06)

    def pregreet(self, session: Session) -> None:
        end = 4.0 + self._random.random() * 8
        self._connect(session)
        text = f"EHLO {session.helo}"
        self._screen(
            session, 0.0016, f"PREGREET {len(text) + 2} after 0 from {session.screen_peer}: {text}\\r\\n"
        )
        phase = "in tests after SMTP handshake"
        self._screen(session, end - 0.0001, f"HANGUP after {end:.2g} from {session.screen_peer} {phase}")
        session.bytes_to_client = 187
        self._screen_end(session, end)

    def screen_hangup(self, session: Session) -> None:
        end = 0.01 + self._random.random() * 0.9
        self._connect(session)
        phase = "in tests before SMTP handshake"
        self._screen(session, end - 0.0001, f"HANGUP after {end:.2g} from {session.screen_peer} {phase}")
        session.termination, session.bytes_to_client = "CD", 36
        self._screen_end(session, end)

    def _screen_reject(self, session: Session, after_s: float, reason: str) -> None:
        sender = f"alice{session.port % 97}@{SENDER_DOMAINS[session.port % 5]}"
        recipient = f"user{session.port % 61}@example.com"
        envelope = f"from=<{sender}>, to=<{recipient}>, proto=ESMTP, helo=<{session.helo}>"
        text = f"NOQUEUE: reject: RCPT from {session.screen_peer}: {reason}; {envelope}"
        self._screen(session, after_s, text)

    def _screen_end(self, session: Session, after_s: float) -> None:
        self._screen(session, after_s, f"DISCONNECT {session.screen_peer}")
        self._leave(session, after_s + 0.0004)

    def no_server(self, session: Session) -> None:
        session.record["server"] = None
        session.termination, session.bytes_to_client = "SC", 0
        self._leave(session, 0.0)


BEHAVIOURS: dict[str, Callable[[Site, Session], None]] = {
    "delivered": Site.delivered,
    "refused": Site.refused,
    "lost": Site.lost,
    "bad_password": Site.bad_password,
    "idle": Site.idle,
    "listed": Site.listed,
    "denylisted": Site.denylisted,
    "pregreet": Site.pregreet,
    "screen_hangup": Site.screen_hangup,
    "no_server": Site.no_server,
}
SHARES = {
    "delivered": 0.70,
    "refused": 0.10,
    "lost": 0.035,
    "bad_password": 0.01,
    "idle": 0.002,
    "listed": 0.055,
    "denylisted": 0.01,
    "pregreet": 0.045,
    "screen_hangup": 0.04,
    "no_server": 0.003,
}


def generate(directory: Path, options: Options, truth: bool = False) -> tuple[int, int]:
    """Write the logs into `directory`, which is made; returns the lines of haproxy.log and of mail.log."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        (directory / "haproxy.log").open("w", encoding="ascii", newline="\n") as haproxy,
        (directory / "mail.log").open("w", encoding="ascii", newline="\n") as mail,
    ):
        if not truth:
            return Site(options, haproxy, mail, None).run()
        with (directory / "truth.jsonl").open("w", encoding="ascii", newline="\n") as answers:
            return Site(options, haproxy, mail, answers).run()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a HAProxy log and the mail log behind it.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--concurrency", type=int, default=50, help="sessions open at once, on average")
    parser.add_argument("--servers", type=int, default=3, help="Postfix hosts behind the balancer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--masked", action="store_true", help="no PROXY header: Postfix sees the balancer's address"
    )
    parser.add_argument(
        "--one-address", action="store_true", help="all sessions come from one client address"
    )
    parser.add_argument("--smtpd-ports", action="store_true", help="smtpd_client_port_logging = yes")
    parser.add_argument(
        "--backend-port", action="store_true", help="HAProxy logs %%bi:%%bp behind the tcplog fields"
    )
    parser.add_argument(
        "--skew",
        type=float,
        action="append",
        default=[],
        metavar="SECONDS",
        help="clock error of the first (second …) server",
    )
    parser.add_argument("--truth", action="store_true", help="also write truth.jsonl")
    arguments = parser.parse_args()
    options = Options(
        sessions=arguments.sessions,
        concurrency=arguments.concurrency,
        servers=arguments.servers,
        seed=arguments.seed,
        masked=arguments.masked,
        one_address=arguments.one_address,
        smtpd_ports=arguments.smtpd_ports,
        backend_port=arguments.backend_port,
        skew_s=tuple(arguments.skew),
    )
    started = time.perf_counter()
    haproxy_lines, mail_lines = generate(arguments.directory, options, arguments.truth)
    seconds = time.perf_counter() - started
    print(
        f"{arguments.directory}: {haproxy_lines:,} HAProxy lines, {mail_lines:,} mail lines, {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
