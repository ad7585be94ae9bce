"""Machines in memory: what they are told, what they say, and their lines as the grammars write them."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_network
from typing import Any

from logscope.grammar import catalogue
from logscope.grammar.render import LineWriter
from logscope.relay.header import Endpoint
from logscope.relay.queue.message import Message, QueueIds
from logscope.relay.screen.session import HandOver, LookUp, Screen, answer
from logscope.relay.screen.settings import Memory, ScreenSettings
from logscope.relay.smtp.clients import ClientCounts
from logscope.relay.smtp.rules import Rules
from logscope.relay.smtp.server import Smtpd, Store, Verify
from logscope.relay.smtp.site import Client, Site

CLIENT = Endpoint("192.0.2.10", 41522)
PUBLIC = Endpoint("203.0.113.25", 25)
HOST = "mx-a.example.com"
START = 1_795_339_134.0


@cache
def writer() -> LineWriter:
    return LineWriter(catalogue.load())


class Lines:
    """A log in memory."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []

    def __call__(self, kind: str, **values: Any) -> None:
        self.kinds.append(kind)
        self.texts.append(writer().write(kind, values).decode())


class Talk:
    """One client in front of an SMTP server, at a time of our own."""

    def __init__(self, site: Site | None = None, counts: ClientCounts | None = None, **start: Any) -> None:
        self.now = START
        self.lines = Lines()
        self.site = site or Site(HOST, RULES, soft_errors=100)
        self.server = Smtpd(
            self.site,
            Client("unknown", CLIENT, PUBLIC),
            self.lines,
            counts or ClientCounts(),
            QueueIds(0x22A000).new,
        )
        self.stored: list[Message] = []
        self.requests: list[Any] = []
        self.server.start(self.now, **start)

    def said(self) -> list[str]:
        """What the server has said since it was last asked."""
        text = self.server.out.decode()
        self.server.out.clear()
        return text.split("\r\n")[:-1]

    def say(self, *lines: str | bytes) -> list[str]:
        """Send lines, each in a piece of its own; what the server says to the last."""
        replies: list[str] = []
        for line in lines:
            data = line.encode() if isinstance(line, str) else line
            self.send(data + b"\r\n")
            replies = self.said()
        return replies

    def send(self, data: bytes) -> None:
        """Send bytes; a message is stored at once."""
        self.server.receive(data, self.now)
        self._serve()

    def _serve(self) -> None:
        while self.server.requests:
            request = self.server.requests.pop(0)
            self.requests.append(request)
            if isinstance(request, Store):
                self.stored.append(request.message)
                self.server.stored(request.message, self.now)
            elif isinstance(request, Verify):
                correct = request.credentials.password == "right"
                self.server.verified(request.credentials, correct, self.now)

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; the server is woken when it wants to be."""
        until = self.now + seconds
        while self.server.deadline is not None and self.server.deadline <= until:
            self.now = self.server.deadline
            self.server.wake(self.now)
            self._serve()
        self.now = until
        return self.said()

    def leave(self) -> None:
        """Close the connection."""
        self.server.closed(self.now)
        self._serve()


RULES = Rules(
    domains={"example.com": frozenset({"alice", "bob"}), "example.org": None},
    unknown_domains=frozenset({"nowhere.example"}),
    forbidden_headers={"Subject: forbidden": "content not wanted here"},
    message_limit=1000,
    recipient_limit=3,
)


class Door:
    """One client in front of a screen."""

    def __init__(
        self,
        settings: ScreenSettings,
        memory: Memory | None = None,
        client: Endpoint = CLIENT,
        now: float = START,
        early: bytes = b"",
    ) -> None:
        self.now = now
        self.lines = Lines()
        self.memory = memory if memory is not None else Memory()
        self.screen = Screen(settings, client, PUBLIC, self.lines, self.memory)
        self.requests: list[Any] = []
        self.screen.start(now, early)
        self._gather()

    def _gather(self) -> None:
        self.requests += self.screen.requests
        self.screen.requests.clear()

    def answer(self, **lists: list[str]) -> None:
        """The lists that were asked answer; a name's dots are written as underscores."""
        for name, answers in lists.items():
            answer(self.memory, self.screen.client.address, name.replace("_", "."), answers, self.now)

    def send(self, data: bytes) -> list[str]:
        self.screen.receive(data, self.now)
        self._gather()
        return self.said()

    def said(self) -> list[str]:
        text = self.screen.out.decode()
        self.screen.out.clear()
        return text.split("\r\n")[:-1]

    def wait(self, seconds: float) -> list[str]:
        until = self.now + seconds
        while self.screen.deadline is not None and self.screen.deadline <= until:
            self.now = max(self.now, self.screen.deadline)
            self.screen.wake(self.now)
            self._gather()
        self.now = until
        return self.said()

    def leave(self) -> None:
        self.screen.closed(self.now)
        self._gather()

    @property
    def handed_over(self) -> bool:
        return any(isinstance(request, HandOver) for request in self.requests)

    @property
    def lookups(self) -> list[LookUp]:
        return [request for request in self.requests if isinstance(request, LookUp)]


def networks(*texts: str) -> Any:
    return tuple(ip_network(text) for text in texts)
