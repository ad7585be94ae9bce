"""What a scenario is made of: services, what is configured, what the clients do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .network import BALANCER, SERVERS

V1, V2, PLAIN = "send-proxy", "send-proxy-v2", ""

#: The documented expansion of `option tcplog` (HAProxy manual, section 8.2.2).
TCPLOG = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"

#: How often each behaviour of `clients.BEHAVIOURS` occurs.
EVERYDAY = {
    "clean": 40,
    "starttls": 14,
    "multi_msg": 8,
    "multi_rcpt": 6,
    "pipelining": 6,
    "unknown_rcpt": 6,
    "relay_denied": 6,
    "auth_fail": 4,
    "bad_helo": 3,
    "unknown_sender": 2,
    "content_reject": 2,
    "pregreet": 4,
    "drop_before_greeting": 3,
    "drop_after_greeting": 2,
    "drop_after_ehlo": 3,
    "drop_after_rcpt": 3,
    "drop_in_data": 3,
    "rst_before_greeting": 1,
    "rst_after_ehlo": 2,
    "rst_in_data": 2,
    "rst_after_rcpt": 2,
    "idle_after_ehlo": 1,
    "idle_at_once": 1,
    "quit_close": 3,
    "probe": 2,
    "rubbish": 2,
    "http": 1,
    "early_pipelining": 2,
    "tls_abandoned": 1,
    "reuse_port": 4,
    "bounce": 2,
    "slow": 3,
}
#: Clients that meet postscreen's tests after the greeting, well or badly.
DEEP = {"clean": 10, "multi_rcpt": 4, "http": 9, "bare_newline": 9, "pipelining": 6, "early_pipelining": 6}
#: No screening test is failed on purpose, and nothing takes long.
ORDERLY = {
    "clean": 50,
    "starttls": 12,
    "multi_msg": 10,
    "unknown_rcpt": 8,
    "relay_denied": 6,
    "quit_close": 6,
    "drop_after_ehlo": 4,
    "drop_after_rcpt": 4,
    "rst_in_data": 2,
    "rst_after_ehlo": 2,
    "slow": 10,
    "auth_fail": 3,
}
SUBMISSION = {"submit": 8, "auth_fail": 3, "starttls": 1, "relay_denied": 2, "quit_close": 1}


@dataclass(frozen=True)
class Service:
    """One public port, its backend, and the Postfix service behind it on each server."""

    name: str = "smtp"
    port: int = 25
    node_port: int = 10024
    daemon: str = "postscreen"  # or smtpd
    send: Mapping[str, str] = field(default_factory=lambda: {"mx-a": V1, "mx-b": V1})
    expect: Mapping[str, bool] = field(default_factory=lambda: {"mx-a": True, "mx-b": True})
    syslog_name: str = ""
    master_options: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, int] = field(default_factory=lambda: EVERYDAY)
    share: float = 1.0  # of the sessions
    bind: tuple[str, ...] = ()  # instead of the scenario's
    family: int = 0  # 4 or 6: only such clients come

    def shows_client(self, host: str) -> bool:
        """Whether Postfix logs the true client: a header is sent, and read."""
        return bool(self.send[host]) and self.expect[host]

    def masking(self, host: str) -> str:
        """What a masking verdict has to say of this service on this server."""
        match bool(self.send[host]), self.expect[host]:
            case True, True:
                return "passed"
            case False, False:
                return "masked"
            case True, False:
                return "unexpected_header"
        return "missing_header"


@dataclass(frozen=True)
class Insiders:
    """Who connects without the balancer, from the host of the services (172.20.5.9).

    Attributes:
        kind: of `insiders.KINDS`.
        port: of the mail servers.
        every_s: between two connections to each server.
    """

    kind: str
    port: int
    every_s: float = 2.0

    @property
    def where(self) -> tuple[int, float]:
        """As the command line of `insiders` has it."""
        return self.port, self.every_s


@dataclass(frozen=True)
class Scenario:
    """One set-up with its traffic. Sizes are defaults; the command line can change them."""

    what: str
    services: tuple[Service, ...] = (Service(),)
    main: Mapping[str, str] = field(default_factory=dict)  # main.cf parameters, on every server
    frontend: tuple[str, ...] = ()  # more lines of the frontends
    backend: tuple[str, ...] = ()
    server: str = ""  # more words of every server line
    log_format: str = ""  # instead of `option tcplog`
    bind: tuple[str, ...] = ("203.0.113.25",)
    port_logging: bool = False  # smtpd_client_port_logging
    address_pool: int = 120  # how many client addresses there are
    ipv6_share: float = 0.0
    gap_s: float = 0.4  # mean pause of a client slot between two sessions
    burst: bool = False  # everybody arrives within seconds
    rfc5424: bool = False  # HAProxy logs with microseconds
    reduce_repeats: bool = False  # rsyslog's "message repeated N times"
    sessions: int = 120
    concurrency: int = 12
    layout: str = ""  # what else stands in the way: see `layouts`
    hosts: tuple[str, ...] = ("mx-a", "mx-b")
    later: tuple[Service, ...] = ()  # what the services become when `change_at` of the sessions are over
    change_at: float = 0.5
    insiders: tuple[Insiders, ...] = ()
    master: str = ""  # more lines of master.cf
    verdict: str = ""  # what must be said of every target, where the services do not tell

    def address(self, host: str) -> str:
        """Of a mail server, as the balancer has it."""
        return "127.0.0.1" if self.layout == "one-host" else SERVERS[host]

    @property
    def after(self) -> Scenario:
        """The scenario as it is at last."""
        return replace(self, services=self.later) if self.later else self

    @property
    def balancer(self) -> str:
        """The address that the mail servers see in their clients' place."""
        return {"one-host": "127.0.0.1", "docker-inside": "172.17.0.1"}.get(self.layout, BALANCER)


def both(value: object) -> dict[str, object]:
    return {"mx-a": value, "mx-b": value}


def service(send: object = V1, expect: object = True, **more: object) -> Service:
    """A service that is the same on both servers, unless a mapping says otherwise."""
    send = send if isinstance(send, dict) else both(send)
    expect = expect if isinstance(expect, dict) else both(expect)
    return Service(send=send, expect=expect, **more)  # type: ignore[arg-type]


MANY_FROM_ONE = {
    # The point is the overlap, so Postfix's own limits are out of the way and verdicts are quick.
    "default_process_limit": "400",
    "smtpd_client_connection_count_limit": "0",
    "postscreen_greet_wait": "2s",
}
