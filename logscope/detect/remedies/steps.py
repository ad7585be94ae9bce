"""What to change, line by line, for each masking verdict.

The order of steps loses no mail: the new listener comes first, is tried, then traffic is moved to it, and the
old one goes last. `*_upstream_proxy_protocol` stands with one service in master.cf and never in main.cf,
where it would break every other listener.
Sources: HAProxy configuration manual 5.2 (`send-proxy`, `check-send-proxy`), postscreen(8) and smtpd(8),
master(5).
"""

from __future__ import annotations

from dataclasses import dataclass

from logscope.detect.remedies import products
from logscope.haproxy.stock_formats import TCPLOG

_TRY = "Then run `logscope masking` on the lines logged from now on: the target should read `passed`."
_GUARD = (
    "Before anything else, see that nobody but the balancer can connect to the port that will take the PROXY "
    "header (an inner address in master.cf, or a firewall): whoever else reaches it can claim any address, "
    "127.0.0.1 included, and relay through the server."
)

_LOG_PORTS = (
    "Meanwhile, to know each masked client exactly: let HAProxy log the address and port that it connects "
    "from, `%bi:%bp` behind the other fields of the frontend's log-format. Of `option tcplog` this is\n"
    f'    log-format "{TCPLOG} %bi:%bp"'
)


@dataclass(frozen=True)
class Subject:
    """Names to put into the steps; None where the logs do not tell."""

    backend: str | None
    server: str | None
    mta_host: str | None
    service: str | None

    @property
    def daemon(self) -> str:
        """Which program of Postfix listens: `postscreen` or `smtpd`."""
        return "postscreen" if (self.service or "").endswith("postscreen") else "smtpd"

    @property
    def option(self) -> str:
        """The option of master.cf that makes the listener take a header."""
        return f"-o {self.daemon}_upstream_proxy_protocol=haproxy"

    @property
    def place(self) -> str:
        """The file to change on the mail server."""
        return f"/etc/postfix/master.cf on {self.mta_host or 'the mail server'}"

    @property
    def server_line(self) -> str:
        """The line to change at the balancer."""
        return f"`server {self.server or 'NAME'} …` of `backend {self.backend or 'NAME'}` in haproxy.cfg"


def masked(subject: Subject, *, ports_logged: bool = False) -> list[str]:
    """The balancer sends no header and the server expects none.

    Args:
        ports_logged: the balancer's lines name its own port, by which the clients are known.
    """
    daemon, server = subject.daemon, subject.server or "NAME"
    processes = "1" if daemon == "postscreen" else "-"
    cache = [
        (
            "Two postscreen services of one instance cannot share a cache file as it is. First, in main.cf:\n"
            "    postscreen_cache_map = proxy:btree:$data_directory/postscreen_cache"
        )
    ]
    return [
        *(() if ports_logged else (_LOG_PORTS,)),
        _GUARD,
        *(cache if daemon == "postscreen" else []),
        (
            f"In {subject.place}, add a second listener beside the one in use, on a free port:\n"
            f"    INNER_ADDRESS:NEW_PORT inet n - y - {processes} {daemon}\n"
            f"        {subject.option}\n"
            "        -o syslog_name=postfix/proxied\n"
            "    Do not set the option in main.cf: the other listeners would wait for a header, too."
        ),
        (
            "Run `postfix check && postfix reload`, and from a host that is not a balancer see that the new "
            "port is closed."
        ),
        (
            f"In {subject.server_line}, name the new port and add the header:\n"
            f"    server {server} INNER_ADDRESS:NEW_PORT send-proxy check check-send-proxy\n"
            "    (leave out `check …` where there is none now), then `haproxy -c -f haproxy.cfg` and reload; "
            "open sessions end in peace."
        ),
        _TRY,
        (
            "When the old port has no traffic any more, remove its listener from master.cf. If the "
            "balancer's address is in `mynetworks`, take it out: masked clients could relay."
        ),
    ]


def unexpected_header(subject: Subject) -> list[str]:
    """The balancer sends a header that the server does not expect: mail is being refused."""
    return [
        _GUARD,
        (
            f"In {subject.place}, add the option to the service that the balancer connects to, and to no "
            "other:\n"
            f"    … {subject.daemon}\n"
            f"        {subject.option}\n"
            "    (not in main.cf: the other listeners would wait for a header, too), then `postfix check && "
            "postfix reload`. Before Postfix 3.5 only version 1 of the header (`send-proxy`) is understood."
        ),
        (
            "If that cannot be done at once, let mail flow first: take `send-proxy` or `send-proxy-v2` off "
            f"{subject.server_line} and reload. Clients are masked until the first steps are done."
        ),
        _TRY,
    ]


def missing_header(subject: Subject) -> list[str]:
    """The server waits for a header that the balancer does not send: mail is being refused."""
    return [
        (
            f"In {subject.server_line}, add the header:\n"
            f"    server {subject.server or 'NAME'} … send-proxy\n"
            "    and `check-send-proxy` where it has `check`; then `haproxy -c -f haproxy.cfg` and reload."
        ),
        (
            "See that nobody but the balancer can connect to the port that takes the PROXY header: whoever "
            "else reaches it can claim any address, 127.0.0.1 included, and relay through the server."
        ),
        _TRY,
    ]


def nameless_header(subject: Subject) -> list[str]:
    """The balancer's header names no client, for it knows none."""
    return [
        (
            "Find where the clients' addresses are lost before "
            f"`backend {subject.backend or 'NAME'}`: HAProxy writes `PROXY UNKNOWN` for a client that came "
            "by a Unix socket (`bind unix@…` or `abns@…`), or that a proxy in front announced without an "
            "address. Postfix refuses that."
        ),
        (
            "Let the process in front send the address, and read it here:\n"
            "    there: server NAME … send-proxy-v2\n"
            "    here:  bind … accept-proxy\n"
            "    (on a socket or an address that only this process reaches), then `haproxy -c -f "
            "haproxy.cfg` and reload both."
        ),
        (
            "If that cannot be done at once, let mail flow first: have the balancer connect to a listener "
            "that expects no header. Clients are masked until the first steps are done."
        ),
        _TRY,
    ]


def masked_upstream(gateway: str) -> list[str]:
    """A gateway before the balancer hides the clients."""
    return [
        f"Find what {gateway} is: a NAT rule, a container gateway or another balancer in front of this one.",
        *products.gateway(gateway),
        (
            "A balancer that can send the PROXY header: switch it on there, and at once `accept-proxy` on "
            "the `bind` line of the frontend in haproxy.cfg, on an address that only this balancer reaches:"
            f"{products.SENDERS}"
        ),
        "Then run `logscope masking` on the lines logged from now on.",
    ]


def suspected(*, header_missing: bool) -> list[str]:
    """The mail server's log alone suggests it: which balancer it is nobody knows."""
    first = "Read the balancer's log, too, or name its configuration (--haproxy-cfg): that decides it."
    if header_missing:
        return [first, products.LATE_HEADER]
    return [first, products.BALANCERS, products.OTHER_SERVERS]
