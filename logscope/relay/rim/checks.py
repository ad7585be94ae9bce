"""Health checks of a backend's servers."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from logscope.relay.balance.servers import Admin, Backend, Server
from logscope.relay.balance.settings import Check, SendProxy
from logscope.relay.header import Endpoint, Header, encode_v1, encode_v2

if TYPE_CHECKING:
    from logscope.relay.rim.balancer import Balancer

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Result:
    """How a check went, in HAProxy's words."""

    passed: bool
    reason: str
    code: int | None = None
    info: str = ""

    def values(self, duration_s: float) -> dict[str, Any]:
        """The fields of `reason: …, code: …, info: …, check duration: …`."""
        values: dict[str, Any] = {"check_reason": self.reason, "check_duration_ms": round(duration_s * 1000)}
        if self.code is not None:
            values["check_code"] = self.code
        if self.info:
            values["check_info"] = self.info
        return values


class Checker:
    """Checks one server, again and again."""

    def __init__(self, balancer: Balancer, backend: Backend, server: Server) -> None:
        self._balancer, self._backend, self._server = balancer, backend, server
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if this server is to be checked."""
        if self._server.settings.check is not Check.NONE:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        clock = self._balancer.clock
        while True:
            if self._server.admin is not Admin.MAINTENANCE:
                began = clock.now()
                result = await self._check()
                self._note(result, clock.now() - began)
            await asyncio.sleep(self._server.settings.inter_s)

    def _note(self, result: Result, duration_s: float) -> None:
        server, before = self._server, self._server.health
        changed = server.checked(result.passed)
        values = result.values(duration_s)
        if self._backend.settings.log_checks and server.health != before:
            self._balancer.log(
                "haproxy.health_check",
                check_type="Health",
                check_result="succeeded" if result.passed else "failed",
                check_health=server.health if not server.up else server.health - server.settings.rise + 1,
                check_health_total=server.settings.fall if server.up else server.settings.rise,
                check_state="UP" if server.up else "DOWN",
                **self._backend.server_values(server),
                **values,
            )
        if changed is not None:
            self._balancer.mark(self._backend, server, changed, values)

    async def _check(self) -> Result:
        settings = self._server.settings
        layer = 4
        try:
            async with asyncio.timeout(settings.check_timeout_s):
                local = (settings.source, 0) if settings.source else None
                reader, writer = await asyncio.open_connection(
                    settings.address.address, settings.address.port, local_addr=local
                )
                try:
                    layer = 7 if settings.check is Check.SMTP else 4
                    self._send_header(writer)
                    if settings.check is Check.SMTP:
                        return await _smtp(reader, writer)
                    return Result(True, "Layer4 check passed")
                finally:
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    writer.close()
        except TimeoutError:
            return Result(False, f"Layer{layer} timeout")
        except OSError as error:
            return Result(False, "Layer4 connection problem", info=os.strerror(error.errno or 0))

    def _send_header(self, writer: asyncio.StreamWriter) -> None:
        settings = self._server.settings
        if not settings.check_header or settings.send_proxy is SendProxy.NONE:
            return
        if settings.send_proxy is SendProxy.V2:
            writer.write(encode_v2(Header(is_local=True), settings.checksum))
            return
        own = Endpoint(*writer.get_extra_info("sockname")[:2])
        writer.write(encode_v1(Header(own, Endpoint(*writer.get_extra_info("peername")[:2]))))


async def _smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Result:
    """`option smtpchk`: a greeting of one line, HELO, QUIT."""
    for command in (b"", b"HELO localhost\r\n"):
        writer.write(command)
        try:
            line = await reader.readline()
        except ValueError:
            return Result(False, "Layer7 invalid response")
        shown = "".join(
            character if " " <= character <= "~" else "?" for character in line.decode("latin-1").strip()
        )
        if not (line[:3].isdigit() and line[3:4] in (b" ", b"\r")):
            return Result(False, "Layer7 invalid response", info=shown)
        if line[:1] != b"2":
            return Result(False, "Layer7 wrong status", int(line[:3]), shown)
    writer.write(b"QUIT\r\n")
    return Result(True, "Layer7 check passed", int(line[:3]), shown)
