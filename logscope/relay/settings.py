"""Everything a relay is told: frozen values, out of a TOML file (`config`) or of flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from logscope.relay.addresses import Network
from logscope.relay.balance.settings import BalancerSettings
from logscope.relay.header import Endpoint
from logscope.relay.queue.schedule import Patience
from logscope.relay.screen.settings import ScreenSettings
from logscope.relay.smtp.site import Site


@dataclass(frozen=True)
class LogSettings:
    """Where lines go and what stands before them.

    Attributes:
        balancer, mail: a file, `-` for standard output, or `udp:HOST:PORT`, `tcp:HOST:PORT`, `unix:PATH`;
            `{host}` in `mail` stands for the server, so that each can have a log of its own.
        form: `bsd` (RFC 3164), `rfc3339` (files with such stamps) or `rfc5424`.
        zone: of stamps that do not name theirs.
    """

    balancer: str = "haproxy.log"
    mail: str = "mail.log"
    form: str = "bsd"
    zone: str = "UTC"


@dataclass(frozen=True)
class Transport:
    """How mail for a domain is delivered.

    Attributes:
        kind: `maildir`, `discard`, `smtp`, or `none`: there is no way.
        next_hop: of `smtp`.
    """

    kind: str = "maildir"
    next_hop: Endpoint | None = None


@dataclass(frozen=True)
class ListenerSettings:
    """One address that a server listens on.

    Attributes:
        screen: clients meet the screen first (postscreen), else the SMTP server at once (smtpd).
        trusted_proxies: peers whose PROXY header is read and believed; connections must then begin with one,
            and other peers are refused. Empty: no header is expected.
        header_timeout_s: how long the header may take (`*_upstream_proxy_timeout`).
        syslog_name: in front of the daemon's name in the log.
    """

    bind: Endpoint
    screen: bool = True
    trusted_proxies: tuple[Network, ...] = ()
    header_timeout_s: float = 5.0
    syslog_name: str = "postfix"


@dataclass(frozen=True)
class ServerSettings:
    """One mail server.

    Attributes:
        host: its name in the log.
        site: its SMTP server. screen: its screen.
        transports: domain → how its mail is delivered; domains are those that `site.rules` takes mail for.
        default_transport: for other mail, which only users that logged in can send; `none` returns it.
        users: file of names and hashed passwords; none when empty.
        certificate, key: PEM files; TLS is offered when they are there. `self-signed` makes one at start.
        names: host names of clients, by address; `unknown` for others.
        dns_zone: what DNS lists answer, by list and network; the system's resolver is asked when empty.
        spool, mailboxes: directories.
        concurrency: deliveries at once.
    """

    host: str
    listeners: tuple[ListenerSettings, ...]
    site: Site
    screen: ScreenSettings
    transports: Mapping[str, Transport] = field(default_factory=dict)
    default_transport: Transport = Transport("none")
    users: str = ""
    certificate: str = ""
    key: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    dns_zone: Mapping[str, Mapping[Network, str]] = field(default_factory=dict)
    spool: str = "spool"
    mailboxes: str = "mail"
    patience: Patience = field(default_factory=Patience)
    concurrency: int = 20
    outside_bounces: bool = False
    max_buffered: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class RelaySettings:
    """A whole relay.

    Attributes:
        directory: what relative paths are relative to.
        drain_s: how long open sessions may go on after SIGTERM.
    """

    directory: Path
    log: LogSettings = field(default_factory=LogSettings)
    balancers: tuple[BalancerSettings, ...] = ()
    servers: tuple[ServerSettings, ...] = ()
    drain_s: float = 10.0

    @property
    def binds(self) -> tuple[Endpoint, ...]:
        """All addresses that are listened on."""
        frontends = (frontend for balancer in self.balancers for frontend in balancer.frontends)
        listeners = (listener for server in self.servers for listener in server.listeners)
        return (
            *(bind for frontend in frontends for bind in frontend.bind),
            *(listener.bind for listener in listeners),
        )
