"""Where syslog is listened to: addresses, who may send, sockets, and the process that serves them."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logscope.errors import ListenError, UsageError, did_you_mean
from logscope.sources.pipes import Piped
from logscope.sources.receiver import Counts, tls_context

SOCKET_BUFFER = 16 << 20
"""Bytes of received datagrams that the kernel is asked to keep."""
_LEAST_BUFFER = 4 << 20
_QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")
_LEAST_QUEUE = 512
_PIPE = 1 << 20
_KINDS = ("udp", "tcp", "tls", "unix")
_FROM_FORCE = 33  # SO_RCVBUFFORCE, for who may exceed net.core.rmem_max (socket(7))
_CHILD = (
    "import sys; sys.path[:] = {path!r}; from logscope.sources.receiver import main; main(int(sys.argv[1]))"
)
"""Modules come from where they come from here, not from the working directory."""
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_HINT = (
    "Write udp://127.0.0.1:5514, tcp://[::1]:5514, tls://192.0.2.5:6514, unix:///run/logscope/log, "
    "or a port alone."
)


@dataclass(frozen=True)
class Endpoint:
    """One place to listen.

    Attributes:
        kind: one of `udp`, `tcp`, `tls` and `unix`.
        host, port: where; of a unix socket `host` is the path.
    """

    kind: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix://{self.host}"
        return f"{self.kind}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.kind == "unix" or ipaddress.ip_address(self.host).is_loopback


@dataclass(frozen=True)
class Access:
    """Who may send, and how TLS is spoken.

    Attributes:
        allow: networks of senders; empty for this machine alone.
        certificate, key: PEM files of this side; the key may be in the certificate's file.
        authority: PEM file of who signs the senders' certificates; None if they need none.
    """

    allow: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None
    authority: str | None = None


def parse_endpoint(text: str) -> list[Endpoint]:
    """What `--listen` names: one place, or UDP and TCP for a port or address alone.

    >>> [str(one) for one in parse_endpoint("5514")]
    ['udp://127.0.0.1:5514', 'tcp://127.0.0.1:5514']

    Raises:
        UsageError: it is none.
    """
    kind, sign, place = text.partition("://")
    if not sign and text.startswith(tuple(f"{kind}:" for kind in _KINDS)):
        kind, sign, place = text.partition(":")  # as HAProxy and rsyslog write it in places
    if not sign:
        return [found for one in ("udp", "tcp") for found in parse_endpoint(f"{one}://{text}")]
    if kind not in _KINDS:
        raise UsageError(f"--listen {text}: unknown kind {kind!r}", hint=did_you_mean(kind, _KINDS) or _HINT)
    if kind == "unix":
        if not place.startswith("/"):
            raise UsageError(f"--listen {text}: a path from the root is needed", hint=_HINT)
        return [Endpoint(kind, place, 0)]
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise UsageError(f"--listen {text}: {port!r} is no port", hint=_HINT)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"--listen {text}: {host!r} is no address", hint=_HINT) from None
    return [Endpoint(kind, host, int(port))]


def refuse_places(files: Sequence[str]) -> None:
    """Files that are places to listen at, and would be waited for.

    Raises:
        UsageError: one is.
    """
    for name in files:
        kind, sign, place = name.partition(":")
        if sign and place and kind in _KINDS and not os.path.lexists(name):
            raise UsageError(
                f"{name} is no file but a place to listen at",
                hint=f"Write --listen {kind}://{place.removeprefix('//')}.",
            )


def parse_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """What `--allow` names: addresses and networks, or `any`.

    Raises:
        UsageError: one is neither.
    """
    found: list[str] = []
    for text in texts:
        if text == "any":
            found += ["0.0.0.0/0", "::/0"]
            continue
        try:
            found.append(str(ipaddress.ip_network(text, strict=False)))
        except ValueError:
            raise UsageError(
                f"--allow {text}: is no address and no network",
                hint="Write 192.0.2.0/24, 2001:db8::25 or any.",
            ) from None
    return tuple(found)


class Received(Piped):
    """The lines of one endpoint; an input of `live.Live`."""

    def __init__(self, name: str, descriptor: int) -> None:
        super().__init__(name, descriptor)
        self.counts = Counts()

    def stop(self) -> None:
        """The receiver ends it, when it has passed everything on."""


@dataclass
class Listening:
    """Open endpoints and the process that serves them.

    Attributes:
        inputs: the lines of each endpoint.
        notes: what the user should know.
    """

    inputs: list[Received]
    notes: list[str]
    _control: socket.socket
    _process: subprocess.Popen[bytes]
    _paths: list[Path]
    _report: bytes = field(default=b"")

    def look(self) -> None:
        """Take the latest counts."""
        with suppress(BlockingIOError, ConnectionError):
            while data := self._control.recv(1 << 16):
                self._report += data
        *complete, self._report = self._report.split(b"\n")
        if complete:
            for one, counts in zip(self.inputs, json.loads(complete[-1]), strict=True):
                one.counts = Counts(**counts)

    def stop(self) -> None:
        """Nothing more is received; what has come is passed on, and the inputs end."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the process, its inputs having been read."""
        self.stop()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def listen(endpoints: Sequence[Endpoint], access: Access) -> Listening:
    """Open endpoints and start the process that serves them.

    Raises:
        UsageError: others could reach an endpoint, and nobody said who may send; TLS without a certificate.
        ListenError: one cannot be opened.
    """
    for endpoint in endpoints:
        _check(endpoint, access)
    sockets: list[socket.socket] = []
    notes: list[str] = []
    try:
        for endpoint in endpoints:
            sockets.append(_bound(endpoint))
            if sockets[-1].type == socket.SOCK_DGRAM and endpoint.kind == "udp":
                notes += _buffer_notes(endpoint, sockets[-1])
            elif endpoint.kind == "unix":
                notes += _queue_notes(endpoint)
        return _started(endpoints, sockets, access, notes)
    finally:
        for one in sockets:
            one.close()


def _check(endpoint: Endpoint, access: Access) -> None:
    if not endpoint.is_local and not access.allow:
        raise UsageError(
            f"--listen {endpoint}: others can reach it, so say who may send",
            hint="Add --allow 192.0.2.0/24, once for each network, or --allow any.",
        )
    if endpoint.kind == "tls":
        if access.certificate is None:
            raise UsageError(
                f"--listen {endpoint}: TLS needs a certificate",
                hint="Add --tls-cert FILE and --tls-key FILE.",
            )
        try:
            tls_context(access.certificate, access.key, access.authority)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"--listen {endpoint}: certificate or key cannot be used: {error}") from None


def _bound(endpoint: Endpoint) -> socket.socket:
    try:
        return _unix(Path(endpoint.host)) if endpoint.kind == "unix" else _internet(endpoint)
    except OSError as error:
        port = None if endpoint.kind == "unix" else endpoint.port
        raise ListenError(str(endpoint), error, "--listen", port) from None


def _unix(path: Path) -> socket.socket:
    """A socket that everybody may write to, as /dev/log; its directory says who can reach it."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):  # left by a run that was killed
            path.unlink()
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        opened.bind(str(path))
        path.chmod(0o666)
    except OSError:
        opened.close()
        raise
    return opened


def _internet(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if endpoint.kind == "udp" else socket.SOCK_STREAM
    opened = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        try:
            opened.setsockopt(socket.SOL_SOCKET, _FROM_FORCE, SOCKET_BUFFER)
        except OSError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    try:
        opened.bind((endpoint.host, endpoint.port))
        if kind == socket.SOCK_STREAM:
            opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened


def _buffer_notes(endpoint: Endpoint, opened: socket.socket) -> list[str]:
    size = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it (socket(7))
    if size >= _LEAST_BUFFER:
        return []
    told = (
        f"{endpoint}: the kernel keeps only {size >> 10} KiB of what has come, so bursts of more than some "
        f"{size // 1024} lines may be lost. Allow more: sysctl -w net.core.rmem_max={SOCKET_BUFFER}"
    )
    return [told]


def _queue_notes(endpoint: Endpoint) -> list[str]:
    """Who sends to a socket file waits while its queue is full, but for HAProxy, which drops the line."""
    try:
        queue = int(_QUEUE.read_text())
    except (OSError, ValueError):
        return []
    if queue >= _LEAST_QUEUE:
        return []
    told = (
        f"{endpoint}: the kernel keeps only {queue} messages that have come, and HAProxy drops lines where "
        f"there is no room. Allow more: sysctl -w net.unix.max_dgram_qlen={_LEAST_QUEUE}"
    )
    return [told]


def _started(
    endpoints: Sequence[Endpoint], sockets: Sequence[socket.socket], access: Access, notes: list[str]
) -> Listening:
    ours, theirs = socket.socketpair()
    pipes = [os.pipe() for _ in endpoints]
    for reading, _ in pipes:
        with suppress(OSError):
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE)
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(path=sys.path), str(theirs.fileno())],
        pass_fds=[theirs.fileno(), *(one.fileno() for one in sockets), *(writing for _, writing in pipes)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the parent
    )
    theirs.close()
    for _, writing in pipes:
        os.close(writing)
    configuration: dict[str, Any] = {"local": socket.gethostname().partition(".")[0], "endpoints": []}
    for one, (_, writing) in zip(sockets, pipes, strict=True):
        configuration["endpoints"].append(
            {
                "socket": one.fileno(),
                "pipe": writing,
                "allow": access.allow or _LOOPBACK,
                "certificate": None,
                "key": access.key,
                "authority": access.authority,
            }
        )
    for endpoint, described in zip(endpoints, configuration["endpoints"], strict=True):
        if endpoint.kind == "tls":
            described["certificate"] = access.certificate
    ours.sendall(json.dumps(configuration).encode() + b"\n")
    ours.setblocking(False)
    inputs = []
    for endpoint, one, (reading, _) in zip(endpoints, sockets, pipes, strict=True):
        shown = (
            endpoint
            if endpoint.kind == "unix"
            else Endpoint(endpoint.kind, endpoint.host, one.getsockname()[1])
        )
        inputs.append(Received(str(shown), reading))
    paths = [Path(endpoint.host) for endpoint in endpoints if endpoint.kind == "unix"]
    return Listening(inputs, notes, ours, process, paths)
