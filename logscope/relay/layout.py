"""The relay that runs when nothing is configured, and that `relay init` writes down: as its TOML.

clients ──▶ edge1 :2525 ──PROXY header──▶ mx-a, mx-b    postscreen ─▶ smtpd ─▶ queue ─▶ Maildir
            edge1 :2526 ──no header─────▶ mx-a, mx-b    the same clients, masked  (with `masked`)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address

from logscope.relay.header import Endpoint

HOSTS = ("mx-a", "mx-b", "mx-c", "mx-d", "mx-e", "mx-f", "mx-g", "mx-h")
USERS = tuple(f"user{number}" for number in range(1, 61))
LISTS = {
    "zen.dnsbl.example": {"198.51.100.192/27": "127.0.0.4", "2001:db8:bad::/48": "127.0.0.4"},
    "bl.list.example": {"198.51.100.192/28": "127.0.0.2"},
}
"""What the DNS lists of the layout say: documentation addresses are listed, nobody else."""
NAMES = {f"192.0.2.{number}": f"mx{number}.mail.example" for number in range(10, 60)}
"""Host names of some clients; the others are `unknown`, as most bots are."""


LISTEN = Endpoint("127.0.0.1", 2525)


@dataclass(frozen=True)
class Layout:
    """What can be chosen about it.

    Attributes:
        listen: of the balancer's first frontend; the other ports are the next ones.
        servers: how many mail servers.
        send_proxy: header towards them: v1, v2 or none (then every client is masked).
        masked: a second frontend whose servers get no header and expect none.
        screen: servers screen their clients; else smtpd answers at once.
        domain: mail is taken for it, for everybody in it.
        form: of the log's envelopes.
        log_format: of the balancer's sessions; HAProxy's `option tcplog` when empty.
        greet_wait_s: how long the screen has clients wait.
        port_logging: smtpd logs the clients' ports.
        trusted: peers whose PROXY header the frontends believe, as traffic from this machine sends it.
    """

    listen: Endpoint = LISTEN
    servers: int = 2
    send_proxy: str = "v1"
    masked: bool = False
    screen: bool = True
    domain: str = "example.com"
    form: str = "bsd"
    balancer_log: str = "haproxy.log"
    mail_log: str = "mail.log"
    log_format: str = ""
    greet_wait_s: float = 6.0
    port_logging: bool = False
    tls: bool = False
    trusted: tuple[str, ...] = ()

    @property
    def frontends(self) -> dict[str, Endpoint]:
        """Name → where it listens."""
        found = {"ft_smtp": self.listen}
        if self.masked:
            found["ft_masked"] = self._port(1)
        return found

    @property
    def masked_too(self) -> tuple[bool, ...]:
        """For each way to the servers whether it is without a header though the other has one."""
        return (False, True)[: 1 + self.masked]

    def server(self, number: int, masked: bool) -> Endpoint:
        """Where a mail server listens, with or without a PROXY header."""
        return self._port(10 + 10 * number + masked)

    @property
    def ports_behind(self) -> int:
        """How far behind the first port the last one is."""
        return self.server(self.servers - 1, self.masked_too[-1]).port - self.listen.port

    def _port(self, offset: int) -> Endpoint:
        """A port behind the first one: they are neighbours."""
        return Endpoint(self.listen.address, self.listen.port + offset)


def to_toml(layout: Layout) -> str:
    """The configuration as text."""
    parts = [_log(layout), _balancer(layout)]
    parts += [_server(layout, number) for number in range(layout.servers)]
    return "\n".join(parts)


def _log(layout: Layout) -> str:
    return f"""\
# A relay for `logscope relay --config`: its balancer, its mail servers, and where they log.

[log]
balancer = {_quoted(layout.balancer_log)}
mail = {_quoted(layout.mail_log)}
format = {_quoted(layout.form)}        # bsd, rfc3339 or rfc5424
zone = "UTC"
"""


def _balancer(layout: Layout) -> str:
    lines = ["[[balancer]]", 'host = "edge1"', ""]
    for name, bind in layout.frontends.items():
        masked = name == "ft_masked"
        lines += ["[[balancer.frontend]]", f"name = {_quoted(name)}", f"bind = {_quoted(str(bind))}"]
        lines.append(f"backend = {_quoted(backend_name(masked))}")
        if layout.log_format:
            lines.append(f"log_format = {_quoted(layout.log_format)}")
        if layout.trusted:
            lines.append(f"accept_proxy_from = {json.dumps(list(layout.trusted))}")
        lines.append("")
    for masked in layout.masked_too:
        lines += [
            "[[balancer.backend]]",
            f"name = {_quoted(backend_name(masked))}",
            'balance = "roundrobin"',
            "",
        ]
        for number in range(layout.servers):
            send_proxy = "none" if masked else layout.send_proxy
            lines += [
                "[[balancer.backend.server]]",
                f"name = {_quoted(HOSTS[number])}",
                f"address = {_quoted(str(layout.server(number, masked)))}",
                f"send_proxy = {_quoted(send_proxy)}",
                "",
            ]
    return "\n".join(lines)


def backend_name(masked: bool) -> str:
    """Name of the backend, of the servers that get a header or of those that do not."""
    return "bk_masked" if masked else "bk_postfix"


def _server(layout: Layout, number: int) -> str:
    host = HOSTS[number]
    lines = [
        "[[mta]]",
        f"host = {_quoted(host)}",
        f"hostname = {_quoted(f'{host}.{layout.domain}')}",
        f"client_port_logging = {_boolean(layout.port_logging)}",
        'unknown_domains = ["nowhere.example"]',
        'forbidden_headers = { "Subject: forbidden" = "content not wanted here" }',
    ]
    if layout.tls:
        lines.append('certificate = "self-signed"')
    lines += ["", "[mta.domains]", f'{_quoted(layout.domain)} = {{ mailboxes = ["*"], deliver = "maildir" }}']
    if layout.domain == "example.com":
        users = ", ".join(map(_quoted, USERS))
        lines[-1] = f'"example.com" = {{ mailboxes = [{users}], deliver = "maildir" }}'
        lines.append('"example.org" = { deliver = "discard" }')
    lines += ["", "[mta.names]"]
    lines += [f"{_quoted(address)} = {_quoted(name)}" for address, name in NAMES.items()]
    for domain, networks in LISTS.items():
        lines += ["", f"[mta.dns_zone.{_quoted(domain)}]"]
        lines += [f"{_quoted(network)} = {_quoted(answer)}" for network, answer in networks.items()]
    lines += [
        "",
        "[mta.screen]",
        f'greet_wait = "{layout.greet_wait_s:g}s"',
        'allow = ["192.0.2.240/29"]',
        'deny = ["198.51.100.248/29"]',
        'dnsbl_sites = ["zen.dnsbl.example*2", "bl.list.example"]',
        "dnsbl_threshold = 2",
    ]
    peer = f"{layout.listen.address}/{ip_address(layout.listen.address).max_prefixlen}"
    for masked in layout.masked_too:
        lines += ["", "[[mta.listener]]", f"bind = {_quoted(str(layout.server(number, masked)))}"]
        lines.append(f"screen = {_boolean(layout.screen)}")
        if masked:
            lines.append('syslog_name = "postfix/masked"')
        if not masked and layout.send_proxy != "none":
            lines.append(f"proxy_from = [{_quoted(peer)}]")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A TOML basic string; its escapes are those of JSON."""
    return json.dumps(text)


def _boolean(value: bool) -> str:
    return "true" if value else "false"
