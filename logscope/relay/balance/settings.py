"""What a balancer is told. Words and defaults are those of HAProxy's configuration manual."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from logscope.relay.header import Endpoint


class Balance(StrEnum):
    """How a server is chosen (section 4.2, `balance`)."""

    ROUND_ROBIN = "roundrobin"
    LEAST_CONN = "leastconn"
    SOURCE = "source"


class SendProxy(StrEnum):
    """The header that a server is sent (section 5.2, `send-proxy`)."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


class Check(StrEnum):
    """How a server's health is checked: not, by connecting, or by an SMTP greeting (`option smtpchk`)."""

    NONE = "none"
    TCP = "tcp"
    SMTP = "smtp"


class MarkedDown(StrEnum):
    """What happens to sessions of a server that goes down (`on-marked-down`)."""

    KEEP = "keep"
    SHUTDOWN = "shutdown-sessions"


@dataclass(frozen=True)
class ServerSettings:
    """One server of a backend (section 5.2).

    Attributes:
        checksum: the header of version 2 ends in its CRC32C.
        unique_id: the header of version 2 carries a TLV of this type, counted up.
        source: address that connections to it come from.
        max_connections: more than these wait in the queue; 0 for no limit.
        check_header: checks send the header too (`check-send-proxy`).
        inter_s: seconds between two checks; `check_timeout_s` how long one may take.
        rise, fall: checks in a row that bring it up, and down.
    """

    name: str
    address: Endpoint
    send_proxy: SendProxy = SendProxy.NONE
    checksum: bool = False
    unique_id: bool = False
    source: str = ""
    weight: int = 1
    backup: bool = False
    max_connections: int = 0
    check: Check = Check.NONE
    check_header: bool = False
    inter_s: float = 2.0
    check_timeout_s: float = 2.0
    rise: int = 2
    fall: int = 3
    on_marked_down: MarkedDown = MarkedDown.KEEP


@dataclass(frozen=True)
class BackendSettings:
    """A group of servers.

    Attributes:
        retries: how often a connection that came to nothing is tried again.
        redispatch: a try may go to another server (`option redispatch`).
        log_checks: a line for each check whose result differs (`option log-health-checks`).
    """

    name: str
    servers: tuple[ServerSettings, ...]
    balance: Balance = Balance.ROUND_ROBIN
    retries: int = 3
    redispatch: bool = False
    connect_timeout_s: float = 5.0
    server_timeout_s: float = 60.0
    queue_timeout_s: float = 5.0
    log_checks: bool = False


@dataclass(frozen=True)
class FrontendSettings:
    """Where clients connect.

    Attributes:
        trusted_proxies: connections from these networks begin with a PROXY header, others are refused
            (`accept-proxy` with a list, which is no option: a header is believed from nobody else).
        deny: clients that are refused (`tcp-request content reject if { src … }`).
        inspect_delay_s: how long a session waits for the client to speak before a server is chosen.
        reject_early: a client that speaks in that time is refused.
        log_as_soon: the line is written when the server is reached (`option logasap`).
        log_nothing: no line for sessions in which the client sent nothing (`option dontlognull`).
    """

    name: str
    bind: tuple[Endpoint, ...]
    backend: str
    max_connections: int = 2000
    client_timeout_s: float = 60.0
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    deny: tuple[IPv4Network | IPv6Network, ...] = ()
    inspect_delay_s: float = 0.0
    reject_early: bool = False
    log_format: str = ""
    log_as_soon: bool = False
    log_nothing: bool = False


@dataclass(frozen=True)
class BalancerSettings:
    """One balancer: a process with frontends and backends.

    Attributes:
        host: its name in the log (`log-send-hostname`).
        max_connections: of the whole process.
    """

    host: str
    frontends: tuple[FrontendSettings, ...]
    backends: tuple[BackendSettings, ...]
    max_connections: int = 4000
