"""The lab with logscope's relay in the place of HAProxy, of Postfix, or of both.

The same clients, addresses and services; the relay's lines go to the lab's log host, so that a capture and
its truth are made of them as of the real daemons'.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from logscope.relay.rim.certificates import self_signed
from logscope.relay.rim.passwords import hashed

from .configuration import PUBLIC_V6, TCPLOG, TRUTH_SUFFIX
from .daemons import Lab, end, wait_until
from .network import BALANCER, PUBLIC, SERVERS, SERVICES
from .scenarios import PLAIN, V2, Scenario, Service
from .services import LISTS, PASSWORDS

_RUN = "import sys; from logscope.cli.main import main; sys.exit(main())"


class RelayLab(Lab):
    """One process has all that the relay stands for: where the balancer is, or where the first server is.

    Args:
        scenario: what is configured and done.
        directory: where everything is.
        balancer, servers: whether the relay takes their place.
    """

    def __init__(
        self, scenario: Scenario, directory: Path, balancer: bool = True, servers: bool = True
    ) -> None:
        super().__init__(scenario, directory)
        self._has_balancer, self._has_servers = balancer, servers
        self._relay: subprocess.Popen[bytes] | None = None

    def start_balancer(self) -> None:
        if self._has_balancer:
            self._relay = self._start("edge")
        else:
            super().start_balancer()

    def start_server(self, host: str) -> None:
        if not self._has_servers:
            super().start_server(host)
            return
        home = self.directory / host
        (home / "users").write_text("".join(f"{name}:{hashed(word)}\n" for name, word in PASSWORDS.items()))
        (home / "tls.pem").write_bytes(self_signed(f"{host}.example.com"))
        (home / "ready").touch()
        self._take_address(host)
        if host == list(SERVERS)[-1] and not self._has_balancer:
            self._relay = self._start(next(iter(SERVERS)))
        self.hosts[host] = self._services  # whose end would be noticed just as well

    def stop_daemons(self) -> None:
        if not self._has_balancer:
            end(self.balancer)
        if self._relay is not None:
            end(self._relay)
        if not self._has_servers:
            super().stop_servers()

    def _take_address(self, host: str) -> None:
        """Give a server's address to the namespace where the relay runs."""
        to = "edge" if self._has_balancer else next(iter(SERVERS))
        if to != host:
            self.network.move_address(SERVERS[host], host, to)

    def _start(self, part: str) -> subprocess.Popen[bytes]:
        """Run `logscope relay` in a namespace, until it says that it listens."""
        text = log_toml(self.directory) + (balancer_toml(self.scenario) if self._has_balancer else "")
        if self._has_servers:
            text += "".join(server_toml(self.scenario, host) for host in SERVERS)
        (self.directory / "relay.toml").write_text(text)
        said = self.directory / "relay.output"
        process = self.spawn(
            part, "relay", sys.executable, "-c", _RUN, "relay", "--config", str(self.directory / "relay.toml")
        )
        wait_until("the relay", lambda: "logs: " in said.read_text(), process, said, limit_s=90)
        return process


def log_toml(directory: Path) -> str:
    """Lines go to the lab's log host; those of a mail server to a socket of its own, as /dev/log is."""
    mail = f"unix:{directory}/{{host}}/log"
    return f"[log]\nbalancer = 'udp:{SERVICES}:514'\nmail = '{mail}'\n"


def balancer_toml(scenario: Scenario) -> str:
    """The relay's equivalent of `configuration.haproxy_cfg`."""
    lines = ["[[balancer]]", "host = 'edge1'"]
    for service in scenario.services:
        binds = [f"{PUBLIC}:{service.port}", f"[{PUBLIC_V6}]:{service.port}"]
        lines += [
            "[[balancer.frontend]]",
            f"name = 'ft_{service.name}'",
            f"bind = {json.dumps(binds)}",
            f"backend = 'bk_{service.name}'",
            f"log_format = {json.dumps((scenario.log_format or TCPLOG) + TRUTH_SUFFIX)}",
            "[[balancer.backend]]",
            f"name = 'bk_{service.name}'",
        ]
        for host, address in SERVERS.items():
            header = {PLAIN: "none", V2: "v2"}.get(service.send[host], "v1")
            lines += [
                "[[balancer.backend.server]]",
                f"name = '{host}'",
                f"address = '{address}:{service.node_port}'",
                f"send_proxy = '{header}'",
                f"source = '{BALANCER}'",
            ]
    return "\n".join(lines) + "\n"


def server_toml(scenario: Scenario, host: str) -> str:
    """The relay's equivalent of `configuration.main_cf` and its tables."""
    sites = ["zen.dnsbl.example*2", "bl.list.example*1", "wl.list.example*-2"]
    names = {f"192.0.2.{number}": f"mx{number}.mail.example" for number in range(0, 256, 2)}
    users = {
        "example.com": [f"user{number}" for number in range(1, 61)],
        "example.org": [f"box{number}" for number in range(1, 61)],
    }
    lines = [
        "[[mta]]",
        f"host = '{host}'",
        f"hostname = '{host}.example.com'",
        f"certificate = '{host}/tls.pem'",
        f"users = '{host}/users'",
        "client_port_logging = true",
        "timeout = '12s'",
        "minimal_backoff = '60s'",
        "maximal_backoff = '300s'",
        f"relayhost = '{SERVICES}:2525'",
        "unknown_domains = ['nowhere.invalid.example']",
        "forbidden_headers = { 'Subject: forbidden' = 'content not wanted here' }",
        f"names = {{ {', '.join(f'{address!r} = {name!r}' for address, name in names.items())} }}",
        "client_limits = { connection_count = 30 }",
        "[mta.domains]",
        f"'example.com' = {json.dumps(users['example.com'])}",
        f"'example.org' = {{ mailboxes = {json.dumps(users['example.org'])}, deliver = 'discard' }}",
    ]
    lines += [
        f"'{domain}' = {{ deliver = 'smtp:{SERVICES}:2525' }}"
        for domain in ("example.net", "bounce.example.net", "defer.example.net")
    ]
    for domain, entries in LISTS.items():
        lines.append(f"[mta.dns_zone.'{domain}']")
        lines += [f"'{network}' = '{answer}'" for network, answer in entries]
    lines += [
        "[mta.screen]",
        "greet_wait = '3s'",
        "command_time_limit = '15s'",
        f"dnsbl_sites = {json.dumps(sites)}",
        "dnsbl_threshold = 2",
        "allow = ['127.0.0.0/8', '::1/128', '192.0.2.240/29']",
        "deny = ['198.51.100.248/29']",
        *deep_tests(scenario),
    ]
    for service in scenario.services:
        lines += _listener(service, host)
    return "\n".join(lines) + "\n"


def deep_tests(scenario: Scenario) -> list[str]:
    """postscreen's tests after the greeting, with the actions that postconf(5) gives as defaults."""
    actions = {"pipelining": "enforce", "non_smtp_command": "drop", "bare_newline": "ignore"}
    enabled = [test for test in actions if scenario.main.get(f"postscreen_{test}_enable") == "yes"]
    return [
        f"tests = {json.dumps(['pregreet', 'dnsbl', *enabled])}",
        *(f"{test}_action = '{actions[test]}'" for test in enabled),
    ]


def _listener(service: Service, host: str) -> list[str]:
    lines = [
        "[[mta.listener]]",
        f"bind = '{SERVERS[host]}:{service.node_port}'",
        f"screen = {'true' if service.daemon == 'postscreen' else 'false'}",
    ]
    if service.expect[host]:
        lines.append(f"proxy_from = ['{BALANCER}/32']")
    if service.syslog_name:
        lines.append(f"syslog_name = '{service.syslog_name}'")
    return lines
