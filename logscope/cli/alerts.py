"""Alerts of a live run: a command that is run, or a URL that is told, when something should be looked at.

What is told is one JSON object: what was found, how bad it is, where, and the session behind it. It goes to a
command's standard input or is posted; nothing of a log becomes part of a command line or an address. The same
finding is told once in a while, with how often it was found meanwhile; all together not more than some a
minute; and what cannot be delivered is tried again. Delivering is done beside the run, which never waits.
"""

from __future__ import annotations

import hashlib
import json
import queue
import shlex
import subprocess
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from logscope.errors import UsageError
from logscope.report.wording import plural

if TYPE_CHECKING:
    from logscope.detect.anomalies import Finding
    from logscope.detect.masking import Judge
    from logscope.live import Live
    from logscope.where import Condition

EVERY_S = 600.0
"""How long the same finding is not told again."""
MOST_A_MINUTE = 20
DELAYS_S = (1.0, 5.0, 25.0)
"""Before what could not be delivered is tried again."""
_TIMEOUT_S = 20.0
_LAST_S = 5.0
"""How long the end of a run waits for what is being delivered."""
_MOST_KNOWN = 10_000
_MOST_WAITING = 1000
_UP = ("UP", "NO CHECK")
_READS = (
    "session_id", "client_address", "client_port", "balancer", "server", "mta_host", "accepted_at",
    "mta_connected_at", "ended_at", "outcome", "masked", "screen", "termination_state", "duration_ms",
    "message_count", "helo", "sasl_username",
)  # fmt: skip
_LOOK_S = 1.0
JUDGE_S = 10.0
"""How often the verdict on masking is looked at, at most; …"""
_SHARE = 0.05
"""… and so that this takes no more of the time."""

Body = dict[str, Any]


@dataclass(frozen=True)
class Receivers:
    """Who is told.

    Attributes:
        commands: each run with the object as its standard input.
        urls: each posted to.

    Raises:
        UsageError: a command is none, or a URL.
    """

    commands: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for command in self.commands:
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise UsageError(f"--alert-exec {command}: {error}") from None
            if not words:
                raise UsageError("--alert-exec: no command is named")
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise UsageError(f"--alert-webhook {url}: is no URL", hint="Write https://HOST/PATH.")


class Gate:
    """Lets the same finding pass once in a while, and all together only some a minute. Memory is bounded."""

    def __init__(self, every_s: float = EVERY_S, most: int = MOST_A_MINUTE) -> None:
        self._every_s, self._most = every_s, most
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._passed: deque[float] = deque(maxlen=most)
        self.held_back = 0

    def count(self, finding_id: str, now: float) -> int:
        """How often it was found since it was last told, this time included; 0 if it is not told now."""
        told_at, found = self._told.get(finding_id, (None, 0))
        if told_at is not None and now - told_at < self._every_s:
            self._note(finding_id, told_at, found + 1)
            return 0
        if len(self._passed) == self._most and now - self._passed[0] < 60:
            self.held_back += 1
            return 0
        self._passed.append(now)
        self._note(finding_id, now, 0)
        return found + 1

    def _note(self, finding_id: str, told_at: float, found: int) -> None:
        self._told[finding_id] = (told_at, found)
        self._told.move_to_end(finding_id)
        if len(self._told) > _MOST_KNOWN:
            self._told.popitem(last=False)


class Post:
    """Delivers objects from a thread of its own.

    Args:
        receivers: who is told.
        delays_s: before each further try.

    Attributes:
        failures: what could not be delivered, in words, to be taken out by whoever tells the user.
    """

    def __init__(self, receivers: Receivers, delays_s: Sequence[float] = DELAYS_S) -> None:
        self._delays_s = delays_s
        self._queue: queue.Queue[Body | None] = queue.Queue(_MOST_WAITING)
        self._over = threading.Event()
        self._ways: list[tuple[str, Callable[[bytes], None]]] = [
            *((shlex.split(one)[0], _runs(shlex.split(one))) for one in receivers.commands),
            *((str(urlsplit(one).hostname), _posts(one)) for one in receivers.urls),
        ]
        self.failures: deque[str] = deque(maxlen=100)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, body: Body) -> None:
        """Deliver one, some time."""
        try:
            self._queue.put_nowait(body)
        except queue.Full:
            self.failures.append("an alert was dropped: too many are waiting")

    def close(self) -> None:
        """Deliver what waits, without trying again, as far as it does not take long."""
        self._over.set()
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(_LAST_S)

    def _work(self) -> None:
        while (body := self._queue.get()) is not None:
            data = json.dumps(body).encode()
            for name, way in self._ways:
                self._deliver(name, way, data)

    def _deliver(self, name: str, way: Callable[[bytes], None], data: bytes) -> None:
        for delay in (*self._delays_s, None):
            try:
                way(data)
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                if delay is None or _is_final(error) or self._over.wait(delay):
                    self.failures.append(f"an alert could not be delivered to {name}: {_why(error)}")
                    return
            else:
                return


def _runs(words: Sequence[str]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        subprocess.run(
            words, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
            timeout=_TIMEOUT_S,
        )  # fmt: skip

    return run


def _posts(url: str) -> Callable[[bytes], None]:
    from http.client import HTTPException
    from urllib.request import Request, urlopen  # loads much, which most runs do without

    def post(data: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "logscope"}
        try:
            with urlopen(Request(url, data, headers), timeout=_TIMEOUT_S) as answer:
                answer.read(1)
        except HTTPException as error:  # what it answers is not HTTP
            raise ValueError(type(error).__name__) from None

    return post


def _is_final(error: Exception) -> bool:
    """Whether another try would fail as well: the receiver wants none of it, or there is no such command."""
    code = getattr(error, "code", 0)  # of an HTTP answer
    return (400 <= code < 500 and code != 429) or isinstance(error, FileNotFoundError | PermissionError)


def _why(error: Exception) -> str:
    """Without the address, which may hold a secret."""
    if code := getattr(error, "code", 0):
        return f"answer {code}"
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return "it took too long"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)


class Alerts:
    """Tells of findings of a live run; beside the view, and with its methods.

    Args:
        post: delivers.
        condition: of which sessions it has to hold that are told of; None for none of them.
        tell: takes remarks for the user.
        judge: takes in the sessions, for the verdict on masking; None where it is nobody's concern.
        gate: how often findings are told of.
        gate_of_sessions: how often sessions are, so that a flood of them leaves room for findings.
    """

    wants_evidence = False
    wants_signals = True
    rest_s = 1.0

    def __init__(
        self,
        post: Post,
        condition: Condition | None,
        tell: Callable[[str], None],
        judge: Judge | None = None,
        gate: Gate | None = None,
        gate_of_sessions: Gate | None = None,
    ) -> None:
        self._post, self._condition, self._tell = post, condition, tell
        self._judge = judge
        self._gate = gate or Gate()
        self._gate_of_sessions = gate_of_sessions or Gate()
        self._verdicts: dict[str, str] = {}
        self._to_judge = False
        self._judged_at = time.monotonic() - JUDGE_S
        self._states: Mapping[tuple[str, str], str] = {}
        self._looked_at = 0.0
        self.since: int | None = None

    def show(self, batch: Any, live: Live) -> None:
        """Look at finished sessions."""
        from logscope.cli.view import after
        from logscope.detect import masking

        if not batch.count:
            return
        if self._judge is not None:
            self._judge.add(batch.new(batch.sessions(masking.READS)))
            self._to_judge = True
        if self._condition is None:
            return
        rows = batch.sessions(list(dict.fromkeys((*_READS, *self._condition.columns))))
        if self.since is not None:
            rows = after(rows, self.since)
        for row in _rows(self._condition.select(rows)):
            if live.closing and row["outcome"] == "open":
                continue  # it has not ended, the run has
            scope = f"client {row['client_address'] or 'unknown'}"
            what = f"a session of {scope} at {_server(row)}: {row['outcome']}"
            self._found(f"session.{row['outcome']}", "warning", scope, what, row)

    def show_open(self, batch: Any) -> None:
        """Nobody is told of what goes on."""

    def pause(self, live: Live) -> None:
        """Look at what the balancer says of its servers, and tell of what could not be delivered."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S or live.closing:
            self._looked_at = now
            self._look_at_servers(live.signals.servers)
        if self._to_judge and (live.closing or (not live.busy and now - self._judged_at >= JUDGE_S)):
            self._look_at_verdicts(live)
        while self._post.failures:
            self._tell(self._post.failures.popleft())

    def _look_at_servers(self, states: Mapping[tuple[str, str], str]) -> None:
        for (backend, name), state in states.items():
            if state.upper() not in _UP and self._states.get((backend, name)) != state:
                scope = f"server {backend}/{name}"
                self._found("server_state", "critical", scope, f"HAProxy says that {scope} is {state}")
        self._states = dict(states)

    def _look_at_verdicts(self, live: Live) -> None:
        """Tell of servers that do not see their clients, or did not a while ago."""
        from logscope.cli.watch import name_of, state_of

        assert self._judge is not None
        began = time.monotonic()
        self._to_judge = False
        for target in self._judge.document(live.signals)["targets"]:
            name, state = name_of(target), state_of(target)
            if state != self._verdicts.get(name) and state not in ("passed", "unknown"):
                self._found(state, "critical", name, f"{name}: {target['cause']}", details=target)
            self._verdicts[name] = state
        ended = time.monotonic()
        self._judged_at = ended + (ended - began) / _SHARE

    def finding(self, finding: Finding) -> None:
        """Tell of something unusual."""
        details = finding.document()
        self._found(
            finding.kind, finding.severity, finding.scope, finding.explanation,
            finding_id=finding.finding_id, details=details,
        )  # fmt: skip

    def close(self) -> None:
        """Deliver what waits."""
        self._post.close()
        while self._post.failures:
            self._tell(self._post.failures.popleft())
        for gate, what in ((self._gate, "finding"), (self._gate_of_sessions, "session")):
            if gate.held_back:
                held_back = plural(gate.held_back, f"alert of a {what}", f"alerts of {what}s")
                self._tell(f"{held_back} held back: more than {MOST_A_MINUTE} a minute")

    def _found(
        self,
        kind: str,
        severity: str,
        scope: str,
        what: str,
        session: Mapping[str, Any] | None = None,
        *,
        finding_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        finding_id = finding_id or hashlib.blake2b(f"{kind}\0{scope}".encode(), digest_size=8).hexdigest()
        gate = self._gate if session is None else self._gate_of_sessions
        count = gate.count(finding_id, time.monotonic())
        if count:
            body: Body = {"finding_id": finding_id, "kind": kind, "severity": severity, "scope": scope}
            told_at = datetime.now(UTC).isoformat(timespec="seconds")
            body |= {"told_at": told_at, "count": count, "explanation": what}
            self._post.send(body | {"session": session, "details": details})


def _server(row: Mapping[str, Any]) -> str:
    return f"server {row['server'] or row['mta_host'] or 'unknown'}"


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Rows as JSON can hold them."""
    import pyarrow as pa

    columns = {}
    for name in _READS:
        column = batch.column(name)
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        columns[name] = column.to_pylist()
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(_READS, values, strict=True))
        for name in ("accepted_at", "mta_connected_at", "ended_at"):
            if row[name] is not None:
                row[name] = datetime.fromtimestamp(row[name] / 1e9, UTC).isoformat(timespec="milliseconds")
        yield row
