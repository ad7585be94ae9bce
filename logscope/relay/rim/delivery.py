"""Delivers what is in the queue: to Maildirs, to nowhere, to a next hop."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from logscope.relay.header import Endpoint
from logscope.relay.queue.message import Message, QueueIds, Recipient
from logscope.relay.queue.notices import non_delivery, success, wanted
from logscope.relay.queue.schedule import Failure, Schedule, judge
from logscope.relay.rim.clock import Clock
from logscope.relay.rim.connection import Connection
from logscope.relay.rim.disk import Disk
from logscope.relay.rim.journal import Daemons
from logscope.relay.rim.keeper import Keeper
from logscope.relay.rim.spool import Recovered, Spool
from logscope.relay.rim.watch import Watch
from logscope.relay.rim.wire import Wire, tcp_socket
from logscope.relay.seconds import rounded
from logscope.relay.settings import ServerSettings, Transport
from logscope.relay.smtp.client import Outcome, SmtpClient

_FRESH_BYTES = 16 * 1024 * 1024
"""New messages are kept in memory up to this much; more is read back from the spool when its turn comes."""
_CONNECT_TIMEOUT_S = 30.0
_DISK_PAUSE_S = 10.0


@dataclass
class Attempt:
    """One attempt at one message, with the times that its lines tell."""

    message: Message
    activated_at: float
    started_at: float
    connected_at: float = 0.0

    def delays(self, now: float) -> dict[str, float]:
        """The fields of `delay=…, delays=…`."""
        connected = self.connected_at or self.started_at
        return {
            "delay_s": rounded(now - self.message.arrived_at),
            "delay_before_queue_s": rounded(self.activated_at - self.message.arrived_at),
            "delay_in_queue_s": rounded(self.started_at - self.activated_at),
            "delay_connect_s": rounded(connected - self.started_at),
            "delay_transmit_s": rounded(now - connected),
        }


class Postman:
    """The queue manager and its delivery agents."""

    def __init__(
        self,
        settings: ServerSettings,
        spool: Spool,
        keeper: Keeper,
        disk: Disk,
        directory: Path,
        daemons: Daemons,
        clock: Clock,
        queue_ids: QueueIds,
    ) -> None:
        self.delivered = 0
        self._settings, self._spool, self._keeper, self._clock = settings, spool, keeper, clock
        self._daemons, self._queue_ids = daemons, queue_ids
        self._mailboxes = Mailboxes(directory / settings.mailboxes, settings.host, disk)
        self._qmgr = daemons.bound("qmgr", daemons.alone("qmgr"))
        self._schedule = Schedule()
        self._fresh: dict[str, Message] = {}
        self._fresh_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._watch: Watch
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Handle | None = None
        self._threads = ThreadPoolExecutor(4, f"deliver-{settings.host}")
        self._stopping = self._is_looking = False

    def __len__(self) -> int:
        """Messages that wait or are being delivered."""
        return len(self._schedule) + len(self._running)

    # --- the queue ----------------------------------------------------------------------------------------

    def start(self, recovered: Recovered, watch: Watch) -> None:
        """Begin with what a former run has left."""
        self._watch, self._loop = watch, watch.loop
        for name in recovered.damaged:
            text = f"{name}: damaged queue file, saved in corrupt"
            self._qmgr("qmgr.message", severity="warning", message_text=text)
        for message in recovered.messages:
            self._queue_ids.taken.add(message.queue_id)
            self._schedule.add(message)
        self._look()

    def accept(self, message: Message) -> None:
        """A message is safe in the spool."""
        self._queue_ids.taken.add(message.queue_id)
        if self._fresh_bytes + message.size <= _FRESH_BYTES:
            self._fresh[message.queue_id] = message
            self._fresh_bytes += message.size
        self._log_active(message)
        self._schedule.add(message)
        self._look()

    def _log_active(self, message: Message) -> None:
        self._qmgr(
            "qmgr.active",
            queue_id=message.queue_id,
            sender=message.sender,
            size=message.size,
            recipient_count=len(message.recipients),
            queue_name="active",
        )

    def _look(self) -> None:
        """See at once, after everything else that is due, what can be delivered."""
        if self._is_looking:
            return
        if self._wake is not None:
            self._wake.cancel()
        self._is_looking = True
        self._wake = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begin with what is due, and look again when the next message is."""
        self._wake, self._is_looking = None, False
        if self._stopping:
            return
        room = self._settings.concurrency - len(self._running)
        for queue_id in self._schedule.take_due(self._clock.now(), room):
            if self._discard(queue_id):
                continue
            task = self._loop.create_task(self._attempt(queue_id))
            self._running.add(task)
            task.add_done_callback(self._done)
        next_at = self._schedule.next_at
        if next_at is not None and len(self._running) < self._settings.concurrency:
            self._wake = self._loop.call_later(max(0.0, next_at - self._clock.now()), self._begin)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if len(self._schedule):
            self._look()
        if not task.cancelled() and task.exception() is not None:
            context = {"message": "a delivery failed", "exception": task.exception()}
            self._loop.call_exception_handler(context)

    async def stop(self) -> None:
        """Let deliveries that have begun come to their end; the rest stays in the spool."""
        self._stopping = True
        if self._wake is not None:
            self._wake.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_CONNECT_TIMEOUT_S)
        for task in list(self._running):
            task.cancel()
        self._threads.shutdown()

    # --- one message --------------------------------------------------------------------------------------

    def _discard(self, queue_id: str) -> bool:
        """Be done at once with a new message that goes nowhere and of which nobody wants to hear.

        Returns:
            whether it is one.
        """
        message = self._fresh.get(queue_id)
        if message is None or any(
            entry.notify or self._transport(entry).kind != "discard" for entry in message.recipients
        ):
            return False
        del self._fresh[queue_id]
        self._fresh_bytes -= message.size
        attempt = Attempt(message, message.queued_at, self._clock.now())
        for recipient in message.recipients:
            self._report_discarded(attempt, recipient)
        self._remove(queue_id)
        return True

    async def _attempt(self, queue_id: str) -> None:
        loop = asyncio.get_running_loop()
        activated = self._clock.now()
        message = self._fresh.pop(queue_id, None)
        if message is not None:
            self._fresh_bytes -= message.size
            activated = message.queued_at
        else:
            message = await loop.run_in_executor(self._threads, self._spool.load, queue_id)
            if message.attempts:
                self._log_active(message)
        attempt = Attempt(message, activated, self._clock.now())
        failures: list[Failure] = []
        for transport, recipients in self._by_transport(message.recipients).items():
            failures += await self._deliver(attempt, transport, recipients)
        await self._settle(message, tuple(failures))

    def _by_transport(self, recipients: Iterable[Recipient]) -> dict[Transport, list[Recipient]]:
        found: dict[Transport, list[Recipient]] = {}
        for recipient in recipients:
            found.setdefault(self._transport(recipient), []).append(recipient)
        return found

    def _transport(self, recipient: Recipient) -> Transport:
        return self._settings.transports.get(recipient.domain, self._settings.default_transport)

    async def _deliver(
        self, attempt: Attempt, transport: Transport, recipients: list[Recipient]
    ) -> list[Failure]:
        if transport.kind == "smtp" and transport.next_hop is not None:
            return await self._to_next_hop(attempt, transport.next_hop, recipients)
        failures = []
        for recipient in recipients:
            failure = await self._to_recipient(attempt, transport, recipient)
            if failure is not None:
                failures.append(failure)
        return failures

    async def _to_recipient(
        self, attempt: Attempt, transport: Transport, recipient: Recipient
    ) -> Failure | None:
        if transport.kind == "discard":
            self._report_discarded(attempt, recipient)
            return None
        if transport.kind == "none":
            reason = f"mail for {recipient.domain} has no transport"
            self._report(attempt, "error", recipient, {"relay": "none"}, "5.4.4", reason)
            return Failure(recipient, "5.4.4", reason)
        loop = asyncio.get_running_loop()
        pid = self._daemons.hire("virtual")
        dsn, reason = "2.0.0", "delivered to maildir"
        try:
            await loop.run_in_executor(self._threads, self._mailboxes.deliver, attempt.message, recipient)
        except OSError as error:
            dsn, reason = "4.2.0", f"maildir delivery failed: {error.strerror or error}"
        except ValueError as error:
            dsn, reason = "5.1.3", str(error)
        self._report(attempt, "virtual", recipient, {"relay": "virtual"}, dsn, reason, pid)
        return None if dsn.startswith("2") else Failure(recipient, dsn, reason)

    async def _to_next_hop(
        self, attempt: Attempt, next_hop: Endpoint, recipients: list[Recipient]
    ) -> list[Failure]:
        pid = self._daemons.hire("smtp")
        peer = f"{next_hop.address}[{next_hop.address}]"
        hostname = self._settings.site.hostname
        client = SmtpClient(replace(attempt.message, recipients=tuple(recipients)), hostname, peer)
        where: dict[str, Any] = {
            "relay_host": next_hop.address,
            "relay_address": next_hop.address,
            "relay_port": next_hop.port,
        }
        try:
            await asyncio.wait_for(self._connect(client, next_hop, attempt), _CONNECT_TIMEOUT_S + 3600)
        except (OSError, TimeoutError) as error:
            reason = (
                "Connection timed out" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)
            )
            log = self._daemons.bound("smtp", pid)
            log("smtp.connect_failed", reason=reason, **where)
            text = f"connect to {peer}:{next_hop.port}: {reason}"
            client.outcomes = [Outcome(recipient, "4.4.1", text) for recipient in recipients]
            where = {"relay": "none"}
        failures = []
        for outcome in client.outcomes:
            self._report(attempt, "smtp", outcome.recipient, where, outcome.dsn, outcome.reply, pid)
            if not outcome.is_sent:
                failures.append(Failure(outcome.recipient, outcome.dsn, outcome.reply))
        self._daemons.dismiss("smtp", pid)
        return failures

    async def _connect(self, client: SmtpClient, next_hop: Endpoint, attempt: Attempt) -> None:
        sock = tcp_socket(next_hop)
        try:
            reaching = self._loop.sock_connect(sock, (next_hop.address, next_hop.port))
            await asyncio.wait_for(reaching, _CONNECT_TIMEOUT_S)
        except BaseException:
            sock.close()
            raise
        attempt.connected_at = self._clock.now()
        connection = HopConnection(self._watch, self._clock, client)
        connection.begin(sock)
        await connection.done

    def _report_discarded(self, attempt: Attempt, recipient: Recipient) -> None:
        self._report(attempt, "discard", recipient, {"relay": "none"}, "2.0.0", recipient.domain)

    def _report(
        self,
        attempt: Attempt,
        program: str,
        recipient: Recipient,
        where: dict[str, Any],
        dsn: str,
        reply: str,
        pid: int | None = None,
    ) -> None:
        """The delivery line of one recipient."""
        status = {"2": "sent", "4": "deferred"}.get(dsn[0], "bounced")
        self.delivered += status == "sent"
        hired = self._daemons.hire(program) if pid is None else pid
        self._daemons.bound(program, hired)(
            f"{program}.delivery",
            queue_id=attempt.message.queue_id,
            recipient=recipient.address,
            **where,
            **attempt.delays(self._clock.now()),
            dsn=dsn,
            status=status,
            reply=reply,
        )
        if program != "smtp":
            self._daemons.dismiss(program, hired)

    # --- afterwards ---------------------------------------------------------------------------------------

    async def _settle(self, message: Message, failures: tuple[Failure, ...]) -> None:
        """Keep what is to be tried again, tell senders of the rest, and forget what is done with."""
        now = self._clock.now()
        verdict = judge(message, failures, self._settings.patience, now)
        if verdict.expired:
            self._qmgr("qmgr.expired", queue_id=message.queue_id, sender=message.sender, status="expired")
        returned = [failure for failure in verdict.returned if wanted(failure.recipient, "FAILURE")]
        may_tell = message.sender and (message.bounces or self._settings.outside_bounces)
        if returned and may_tell:
            notice = non_delivery(
                message, returned, self._settings.site.hostname, self._queue_ids.new(now), now
            )
            await self._send_notice(message, notice, "non-delivery")
        failed = {failure.recipient for failure in failures}
        told = [entry for entry in message.recipients if entry not in failed and wanted(entry, "SUCCESS")]
        if told and may_tell:
            notice = success(message, told, self._settings.site.hostname, self._queue_ids.new(now), now)
            await self._send_notice(message, notice, "delivery status")
        if verdict.kept is not None:
            await self._on_disk(self._spool.update, verdict.kept)
            self._schedule.add(verdict.kept)
        else:
            self._remove(message.queue_id)

    def _remove(self, queue_id: str) -> None:
        """A message is done with."""

        def told(_error: OSError | None) -> None:
            self._queue_ids.taken.discard(queue_id)
            self._qmgr("qmgr.removed", queue_id=queue_id)

        self._keeper.remove(queue_id, told)

    def _warn(self, error: OSError) -> None:
        text = f"spool: {error.strerror or error}"
        self._qmgr("qmgr.message", severity="warning", message_text=text)

    async def _send_notice(self, message: Message, notice: Message, kind: str) -> None:
        """Put a notice into the queue; it is safe before what it tells of is forgotten."""
        text = notice.content.partition(b"Message-ID: <")[2].partition(b">")[0].decode()
        await self._on_disk(self._store_one, notice)
        cleanup = self._daemons.bound("cleanup", self._daemons.alone("cleanup"))
        cleanup("cleanup.message_id", queue_id=notice.queue_id, message_id=text)
        bounce = self._daemons.bound("bounce", self._daemons.alone("bounce"))
        bounce(
            "bounce.notification",
            queue_id=message.queue_id,
            notified="sender",
            notice=kind,
            next_queue_id=notice.queue_id,
        )
        self.accept(notice)

    def _store_one(self, notice: Message) -> None:
        error = self._spool.store([notice])[notice.queue_id]
        if error is not None:
            raise error

    async def _on_disk(self, work: Any, argument: Any) -> None:
        """Do something with the spool, and do not go on before it is done: a full disk is waited for."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, work, argument)
            except OSError as error:
                self._warn(error)
                if self._stopping:
                    return
                await asyncio.sleep(_DISK_PAUSE_S)
            else:
                return


class HopConnection(Connection):
    """A connection to a next hop."""

    def __init__(self, watch: Watch, clock: Clock, client: SmtpClient) -> None:
        super().__init__(watch, clock)
        self.done: asyncio.Future[None] = watch.loop.create_future()
        self._client = client

    def begin(self, sock: socket.socket) -> None:
        """Take over a connected socket."""
        self.wire = Wire(self.watch, sock, self)
        self.machine = self._client
        self._client.start(self.clock.now())
        self.serve()

    def on_request(self, _request: Any) -> None:
        self.close()
        self._finish()

    def gone(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Mailboxes:
    """Maildirs (https://cr.yp.to/proto/maildir.html), below a directory: `DOMAIN/LOCALPART/`."""

    def __init__(self, directory: Path, host: str, disk: Disk) -> None:
        self._directory, self._host, self._disk = directory, host, disk
        self._made: set[Path] = set()

    def deliver(self, message: Message, recipient: Recipient) -> None:
        """Write a message into the recipient's mailbox, and have it on the disk before coming back.

        Raises:
            OSError: it could not be written.
            ValueError: the address cannot be the name of a mailbox.
        """
        box = self.path(recipient.address)
        for name in ("tmp", "new", "cur"):
            if box / name not in self._made:
                self._disk.names(box / name)
                self._made.add(box / name)
        head = (
            f"Return-Path: <{message.sender}>\n"
            f"X-Original-To: {recipient.address}\n"
            f"Delivered-To: {recipient.address}\n"
        )
        name = f"{int(message.queued_at)}.Q{message.queue_id}A{message.attempts}.{self._host}"
        self._disk.remove(box / "tmp" / name)
        self._disk.create(box / "tmp" / name, head.encode() + message.content.replace(b"\r\n", b"\n"))
        self._disk.rename(box / "tmp" / name, box / "new" / name)
        self._disk.sync(box / "new")

    def path(self, address: str) -> Path:
        """The directory of an address's mailbox."""
        local, _, domain = address.rpartition("@")
        for part in (local, domain):
            if not re.fullmatch(r"[^\x00-\x1f/\x7f]{1,200}", part) or part.startswith("."):
                raise ValueError("bad address syntax for a mailbox")
        return self._directory / domain.lower() / local.lower()
