"""Reads the TOML file of a relay. What is wrong is said with file, line and column.

[log]
[[balancer]]            [[balancer.frontend]]   [[balancer.backend]]  [[balancer.backend.server]]
[[mta]]                 [[mta.listener]]        [mta.domains]         [mta.screen]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from logscope.errors import Place, SettingsError
from logscope.relay.addresses import Network
from logscope.relay.balance.formats import SessionFormat
from logscope.relay.balance.settings import (
    BackendSettings,
    Balance,
    BalancerSettings,
    Check,
    FrontendSettings,
    MarkedDown,
    SendProxy,
)
from logscope.relay.balance.settings import ServerSettings as BackendServer
from logscope.relay.header import Endpoint
from logscope.relay.queue.schedule import Patience
from logscope.relay.screen.settings import Action, DnsList, ScreenSettings, ScreenTest
from logscope.relay.settings import (
    ListenerSettings,
    LogSettings,
    RelaySettings,
    ServerSettings,
    Transport,
)
from logscope.relay.smtp.clients import ClientLimits
from logscope.relay.smtp.rules import Rules
from logscope.relay.smtp.site import Site
from logscope.relay.toml_table import (
    Source,
    Table,
    count,
    endpoint,
    enum_of,
    networks,
    one_of,
    score,
    seconds,
    text_value,
    texts,
    truth,
    word,
)
from logscope.unreadable import reason, toml_mistake

ALL: tuple[str, ...] = ("*",)
NONE: tuple[str, ...] = ()
FORMS = ("bsd", "rfc3339", "rfc5424")


def read(path: Path) -> RelaySettings:
    """The settings in a file. Paths in them are relative to it.

    Raises:
        SettingsError: the file cannot be read, or makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "`logscope relay init DIR` writes one." if isinstance(error, FileNotFoundError) else None
        raise SettingsError(f"cannot be read: {reason(error)}", place=Place(str(path)), hint=hint) from None
    return parse(text, str(path), path.parent)


def parse(text: str, name: str, directory: Path) -> RelaySettings:
    """The settings in a text.

    Args:
        name: what errors call it.
        directory: what its paths are relative to.

    Raises:
        SettingsError: it makes no sense.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, place, hint = toml_mistake(name, text, error)
        raise SettingsError(message, place=place, hint=hint) from None
    table = Table(found, Source(name, text), ())
    settings = RelaySettings(
        directory=directory / table.take("directory", text_value, "."),
        log=_log(table.table("log")),
        balancers=tuple(_balancer(entry) for entry in table.tables("balancer")),
        servers=tuple(_server(entry) for entry in table.tables("mta")),
        drain_s=table.take("drain", seconds, 10.0),
    )
    table.finish()
    if not settings.balancers and not settings.servers:
        raise SettingsError("there is nothing to run", place=Place(name), hint="Add [[balancer]] or [[mta]].")
    return settings


# --- values ----------------------------------------------------------------------------------------------


def _log_format(value: Any) -> str:
    if text_value(value):
        SessionFormat(value)
    return str(value)


def _target(value: Any) -> str:
    """Where a log goes. `udp://HOST:PORT`, as it is written elsewhere, is the same as `udp:HOST:PORT`."""
    scheme, colon, rest = text_value(value).partition(":")
    if scheme in ("udp", "tcp", "unix") and rest.startswith("//"):
        rest = rest.removeprefix("//")
        value = f"{scheme}:{rest}"
    if colon and scheme in ("udp", "tcp"):
        host, _, port = rest.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{value!r} is no log host; write {scheme}:192.0.2.1:514")
    if not value or (colon and scheme == "unix" and not rest):
        raise ValueError(f"{value!r} is no place for a log; name a file, -, udp:HOST:PORT or unix:PATH")
    return str(value)


def _zone(value: Any) -> str:
    try:
        ZoneInfo(text_value(value))
    except (KeyError, OSError, ValueError):
        raise ValueError(f"unknown time zone {value!r}") from None
    return str(value)


# --- the parts --------------------------------------------------------------------------------------------


def _log(table: Table) -> LogSettings:
    settings = LogSettings(
        balancer=table.take("balancer", _target, "haproxy.log"),
        mail=table.take("mail", _target, "mail.log"),
        form=table.take("format", one_of(str, *FORMS), "bsd"),
        zone=table.take("zone", _zone, "UTC"),
    )
    table.finish()
    return settings


def _balancer(table: Table) -> BalancerSettings:
    host, most = table.take("host", word, "edge1"), table.take("maxconn", count, 4000)
    inner_backends, inner_frontends = table.tables("backend"), table.tables("frontend")
    table.finish()  # first: a misspelt [[balancer.backend]] leaves each frontend without one
    backends = tuple(map(_backend, inner_backends))
    names = [backend.name for backend in backends]
    frontends = tuple(_frontend(entry, names) for entry in inner_frontends)
    if not frontends:
        raise table.fail("", "a balancer needs a frontend", "Add [[balancer.frontend]].")
    return BalancerSettings(host=host, frontends=frontends, backends=backends, max_connections=most)


def _frontend(table: Table, backends: list[str]) -> FrontendSettings:
    table_backend = table.take("backend", one_of(str, *backends))
    settings = FrontendSettings(
        name=table.take("name", word),
        bind=table.take("bind", _endpoints),
        backend=table_backend,
        max_connections=table.take("maxconn", count, 2000),
        client_timeout_s=table.take("timeout_client", seconds, 60.0),
        trusted_proxies=table.take("accept_proxy_from", networks, ()),
        deny=table.take("deny", networks, ()),
        inspect_delay_s=table.take("inspect_delay", seconds, 0.0),
        reject_early=table.take("reject_early", truth, False),
        log_format=table.take("log_format", _log_format, ""),
        log_as_soon=table.take("logasap", truth, False),
        log_nothing=table.take("dontlognull", truth, False),
    )
    table.finish()
    return settings


def _endpoints(value: Any) -> tuple[Endpoint, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not entries:
        raise TypeError(f"{value!r} is no list of addresses")
    return tuple(endpoint(entry) for entry in entries)


def _backend(table: Table) -> BackendSettings:
    settings = BackendSettings(
        name=table.take("name", word),
        servers=tuple(_backend_server(entry) for entry in table.tables("server")),
        balance=table.take("balance", enum_of(Balance), Balance.ROUND_ROBIN),
        retries=table.take("retries", count, 3),
        redispatch=table.take("redispatch", truth, False),
        connect_timeout_s=table.take("timeout_connect", seconds, 5.0),
        server_timeout_s=table.take("timeout_server", seconds, 60.0),
        queue_timeout_s=table.take("timeout_queue", seconds, 5.0),
        log_checks=table.take("log_health_checks", truth, False),
    )
    table.finish()
    return settings


def _backend_server(table: Table) -> BackendServer:
    settings = BackendServer(
        name=table.take("name", word),
        address=table.take("address", endpoint),
        send_proxy=table.take("send_proxy", enum_of(SendProxy), SendProxy.NONE),
        checksum=table.take("crc32c", truth, False),
        unique_id=table.take("unique_id", truth, False),
        source=table.take("source", _address, ""),
        weight=table.take("weight", count, 1),
        backup=table.take("backup", truth, False),
        max_connections=table.take("maxconn", count, 0),
        check=table.take("check", enum_of(Check), Check.NONE),
        check_header=table.take("check_send_proxy", truth, False),
        inter_s=table.take("inter", seconds, 2.0),
        check_timeout_s=table.take("timeout_check", seconds, 2.0),
        rise=table.take("rise", count, 2),
        fall=table.take("fall", count, 3),
        on_marked_down=table.take("on_marked_down", enum_of(MarkedDown), MarkedDown.KEEP),
    )
    table.finish()
    return settings


def _address(value: Any) -> str:
    return str(ip_network(text_value(value)).network_address)


def _server(table: Table) -> ServerSettings:
    host = table.take("host", word)
    hostname = table.take("hostname", word, host)
    limit = table.take("message_size_limit", count, 10_240_000)
    users, certificate = table.take("users", text_value, ""), table.take("certificate", text_value, "")
    domains, transports = _domains(table.table("domains"))
    rules = Rules(
        domains=domains,
        helo_required=table.take("helo_required", truth, True),
        check_helo=table.take("check_helo", truth, True),
        check_sender=table.take("check_sender", truth, True),
        unknown_domains=frozenset(table.take("unknown_domains", texts, NONE)),
        forbidden_headers=table.take("forbidden_headers", _text_table, {}),
        message_limit=limit,
        recipient_limit=table.take("recipient_limit", count, 1000),
    )
    site = Site(
        hostname=hostname,
        rules=rules,
        limits=_limits(table.table("client_limits")),
        origin=next(iter(domains), hostname),
        tls=bool(certificate),
        tls_required=table.take("tls_required", truth, False),
        auth=bool(users and certificate),
        port_logging=table.take("client_port_logging", truth, False),
        soft_errors=table.take("soft_error_limit", count, 10),
        hard_errors=table.take("hard_error_limit", count, 20),
        error_sleep_s=table.take("error_sleep", seconds, 1.0),
        timeout_s=table.take("timeout", seconds, 300.0),
    )
    if users and not certificate:
        hint = 'Add certificate and key, or certificate = "self-signed": passwords are taken under TLS only.'
        raise table.fail("users", "users can only log in under TLS", hint)
    settings = ServerSettings(
        host=host,
        listeners=tuple(_listener(entry) for entry in table.tables("listener")),
        site=site,
        screen=_screen(table.table("screen"), hostname, limit, bool(certificate)),
        transports=transports,
        default_transport=table.take("relayhost", _relayhost, Transport("none")),
        users=users,
        certificate=certificate,
        key=table.take("key", text_value, ""),
        names=table.take("names", _text_table, {}),
        dns_zone=table.take("dns_zone", _zones, {}),
        spool=table.take("spool", text_value, f"spool/{host}"),
        mailboxes=table.take("mailboxes", text_value, f"mail/{host}"),
        patience=_patience(table),
        concurrency=table.take("concurrency", count, 20),
        outside_bounces=table.take("bounces_to_outside", truth, False),
    )
    table.finish()
    if not settings.listeners:
        raise table.fail("", "an mta needs a listener", "Add [[mta.listener]].")
    return settings


def _relayhost(value: Any) -> Transport:
    return Transport("smtp", endpoint(value))


def _patience(table: Table) -> Patience:
    return Patience(
        shortest_pause_s=table.take("minimal_backoff", seconds, 300.0),
        longest_pause_s=table.take("maximal_backoff", seconds, 4000.0),
        lifetime_s=table.take("maximal_lifetime", seconds, 5 * 86_400.0),
    )


def _text_table(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no table of texts")
    return {text_value(key): text_value(entry) for key, entry in value.items()}


def _zones(value: Any) -> dict[str, dict[Network, str]]:
    """`"zen.dnsbl.example" = { "198.51.100.0/24" = "127.0.0.2" }`."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no table of lists")
    return {
        text_value(name).lower(): {
            ip_network(network, strict=False): _address(answer)
            for network, answer in _text_table(entries).items()
        }
        for name, entries in value.items()
    }


def _domains(table: Table) -> tuple[dict[str, frozenset[str] | None], dict[str, Transport]]:
    """`"example.com" = { mailboxes = ["alice"], deliver = "maildir" }`, or just the mailboxes, or `"*"`."""
    domains: dict[str, frozenset[str] | None] = {}
    transports = {}
    for name in list(table.values):
        if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
            raise table.fail(name, f"{name!r} is no domain")
        if isinstance(table.values[name], dict):
            entry = table.table(name)
            mailboxes = entry.take("mailboxes", texts, ALL)
            transports[name.lower()] = entry.take("deliver", _transport, Transport())
            entry.finish()
        else:
            mailboxes = table.take(name, texts)
            transports[name.lower()] = Transport()
        known = frozenset(mailbox.lower() for mailbox in mailboxes)
        domains[name.lower()] = None if "*" in known else known
    return domains, transports


def _transport(value: Any) -> Transport:
    if value in ("maildir", "discard"):
        return Transport(str(value))
    if isinstance(value, str) and value.startswith("smtp:"):
        return Transport("smtp", endpoint(value.removeprefix("smtp:")))
    raise SettingsError(f"unknown transport {value!r}", hint="Write maildir, discard or smtp:ADDRESS:PORT.")


def _limits(table: Table) -> ClientLimits:
    limits = ClientLimits(
        connection_count=table.take("connection_count", count, 50),
        connection_rate=table.take("connection_rate", count, 0),
        message_rate=table.take("message_rate", count, 0),
        recipient_rate=table.take("recipient_rate", count, 0),
        auth_rate=table.take("auth_rate", count, 0),
        window_s=table.take("window", seconds, 60.0),
    )
    table.finish()
    return limits


def _listener(table: Table) -> ListenerSettings:
    settings = ListenerSettings(
        bind=table.take("bind", endpoint),
        screen=table.take("screen", truth, True),
        trusted_proxies=table.take("proxy_from", networks, ()),
        header_timeout_s=table.take("proxy_timeout", seconds, 5.0),
        syslog_name=table.take("syslog_name", _syslog_name, "postfix"),
    )
    table.finish()
    return settings


def _syslog_name(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", text_value(value)):
        raise ValueError(f"{value!r} is no syslog name")
    return str(value)


def _screen(table: Table, hostname: str, message_limit: int, tls: bool) -> ScreenSettings:
    actions = {test: table.take(f"{test}_action", enum_of(Action), Action.ENFORCE) for test in ScreenTest}
    wanted = table.take("tests", _tests, frozenset({ScreenTest.PREGREET, ScreenTest.DNSBL}))
    settings = ScreenSettings(
        hostname=hostname,
        tests=wanted,
        actions=actions,
        deny_action=table.take("deny_action", enum_of(Action), Action.ENFORCE),
        greet_wait_s=table.take("greet_wait", seconds, 6.0),
        teaser=table.take("greet_banner", text_value, f"{hostname} ESMTP Postfix"),
        dns_lists=table.take("dnsbl_sites", _dns_lists, ()),
        dnsbl_threshold=table.take("dnsbl_threshold", score, 1),
        dnsbl_allow_threshold=table.take("dnsbl_allowlist_threshold", score, 0),
        allow=table.take("allow", networks, ()),
        deny=table.take("deny", networks, ()),
        time_to_live_s={
            test: table.take(f"{test}_ttl", seconds, ScreenSettings("").lifetime(test)) for test in ScreenTest
        },
        client_limit=table.take("client_connection_count_limit", count, 50),
        screening_limit=table.take("pre_queue_limit", count, 100),
        command_limit=table.take("command_count_limit", count, 20),
        command_time_limit_s=table.take("command_time_limit", seconds, 300.0),
        message_limit=message_limit,
        tls=tls,
    )
    table.finish()
    return settings


def _tests(value: Any) -> frozenset[ScreenTest]:
    convert = one_of(ScreenTest, *map(str, ScreenTest))
    return frozenset(convert(entry) for entry in texts(value))


_DNS_SITE = re.compile(r"([A-Za-z0-9.-]+)(?:=([0-9.;]+))?(?:\*(-?\d+))?")


def _dns_lists(value: Any) -> tuple[DnsList, ...]:
    """Entries as in `postscreen_dnsbl_sites`: `domain`, `domain*2`, `domain=127.0.0.2*3`."""
    found = []
    for entry in texts(value):
        match = _DNS_SITE.fullmatch(entry)
        if match is None:
            raise ValueError(f"{entry!r} is no list; write zen.dnsbl.example=127.0.0.2*2")
        results = frozenset((match[2] or "").split(";")) - {""}
        found.append(DnsList(match[1].lower(), int(match[3] or 1), results))
    return tuple(found)
