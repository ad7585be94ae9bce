"""Runs a whole relay: starts its parts in order, and ends them in order when it is told to."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from logscope.grammar import catalogue
from logscope.relay.balance.settings import SendProxy
from logscope.relay.rim.balancer import Balancer
from logscope.relay.rim.clock import Clock
from logscope.relay.rim.disk import Disk
from logscope.relay.rim.journal import Journal
from logscope.relay.rim.mta import MailServer
from logscope.relay.rim.watch import RelayLoop, Watch
from logscope.relay.rim.wire import Doors
from logscope.relay.rim.witness import Witness
from logscope.relay.settings import RelaySettings, ServerSettings

_POLL_S = 0.05
_GARBAGE = 20_000
"""Objects before garbage is looked for: some hundred sessions leave as many that point to each other."""


class Relay:
    """Balancers and mail servers of one configuration. Use as an asynchronous context manager.

    Args:
        settings: the configuration.
        witness: is told which lines belong to which connection.
        disk: where queues and mailboxes are; None for the real one.

    Raises:
        ListenError: an address cannot be bound.
        OutputError: a log cannot be written.
    """

    def __init__(
        self, settings: RelaySettings, witness: Witness | None = None, disk: Disk | None = None
    ) -> None:
        self.settings, self.witness = settings, witness
        self.clock = Clock()
        self._watch: Watch
        self._running: list[MailServer | Balancer] = []
        self._doors = Doors(settings.binds)
        try:
            settings.directory.mkdir(parents=True, exist_ok=True)
            hosts = [server.host for server in settings.servers]
            self.journal = Journal(catalogue.load(), settings.log, settings.directory, self.clock, hosts)
            self.servers = [
                MailServer(entry, settings.directory, self.journal, disk, witness)
                for entry in settings.servers
            ]
            self.balancers = [
                Balancer(entry, self.journal, 3026 + number, witness)
                for number, entry in enumerate(settings.balancers)
            ]
        except BaseException:
            self._doors.close()
            raise

    async def __aenter__(self) -> Relay:
        self._watch = watch = Watch(asyncio.get_running_loop())
        try:
            parts: tuple[MailServer | Balancer, ...] = (*self.servers, *self.balancers)
            for part in parts:
                await part.start(watch, self._doors)
                self._running.append(part)
        except BaseException:
            for part in self._running:
                part.stop_listening()
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        await self._stop()

    def summary(self) -> str:
        """Where it listens, and where it logs."""
        lines = []
        for balancer in self.balancers:
            for frontend in balancer.frontends:
                where = ", ".join(map(str, frontend.addresses()))
                servers = ", ".join(
                    f"{server.settings.name} {_header(server.settings.send_proxy)}"
                    for server in frontend.backend.servers
                )
                lines.append(f"{balancer.settings.host} {frontend.settings.name}  {where}  →  {servers}")
        lines += [
            f"{server.settings.host}  {', '.join(map(str, server.addresses()))}" for server in self.servers
        ]
        taken = dict.fromkeys(to for server in self.servers for to in _recipients(server.settings))
        if taken:
            lines.append(f"mail for: {', '.join(taken)}")
        log = self.settings.log
        lines.append(f"logs: {log.balancer}, {log.mail} in {self.settings.directory}")
        return "\n".join(lines)

    def counts(self) -> str:
        """How much mail was delivered, and how much waits."""
        delivered = sum(server.postman.delivered for server in self.servers)
        return f"{delivered} delivered, {sum(len(server.postman) for server in self.servers)} in the queue"

    async def drain(self) -> None:
        """Take nothing new, and give what is there a while to come to its end."""
        for balancer in self.balancers:
            balancer.stop_listening()
        for server in self.servers:
            server.stop_listening()
        until = self.clock.now() + self.settings.drain_s
        while self.clock.now() < until and any(
            (*(server.connections for server in self.servers), *(entry.sessions for entry in self.balancers))
        ):
            await asyncio.sleep(_POLL_S)

    async def _stop(self) -> None:
        """End what runs; a part that did not start has nothing to end, and nothing to wait for."""
        for part in self._running:
            await part.stop()
        self._doors.close()
        self._watch.close()
        self.journal.close()


def _allow_many_connections() -> None:
    """Take as many descriptors as the system gives: a session needs three."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _recipients(settings: ServerSettings) -> Iterator[str]:
    """Whom a server takes mail for, by domain."""
    for domain, mailboxes in settings.site.rules.domains.items():
        if mailboxes is None:
            yield f"anybody@{domain}"
        elif mailboxes:
            more = f" and {len(mailboxes) - 1} more there" if len(mailboxes) > 1 else ""
            yield f"{min(mailboxes)}@{domain}{more}"


def _header(send_proxy: SendProxy) -> str:
    return "without a header" if send_proxy is SendProxy.NONE else f"with PROXY {send_proxy}"


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serve` in the loop that suits it."""
    with asyncio.Runner(loop_factory=RelayLoop) as runner:
        runner.run(serving)


async def serve(
    settings: RelaySettings,
    ready: Callable[[Relay], None],
    until: Callable[[Relay], Awaitable[None]] | None = None,
    witness: Witness | None = None,
) -> None:
    """Run a relay until SIGTERM or SIGINT, or until something else has come to its end.

    Args:
        ready: called once everything listens.
        until: makes an awaitable after which the relay ends.
        witness: is told which lines belong to which connection.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    _allow_many_connections()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Relay(settings, witness) as relay:
        gc.freeze()  # the grammars stay as they are: no need to look through them again and again
        gc.set_threshold(_GARBAGE)
        loop.add_signal_handler(signal.SIGHUP, relay.journal.reopen)
        ready(relay)
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
        if until is not None:
            waiting.append(asyncio.ensure_future(until(relay)))
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
