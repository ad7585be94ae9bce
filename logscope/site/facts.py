"""The facts themselves. Frozen values; every `place` is the line of configuration that says so.

A PROXY header is `v1`, `v2` or `none` where it is sent (HAProxy configuration manual 5.2), and expected or
not where it arrives (postscreen(8), smtpd(8)): Postfix takes both versions since 3.5, version 1 since 2.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

from logscope.errors import Place

if TYPE_CHECKING:
    from logscope.haproxy.log_format import Translated

Address: TypeAlias = IPv4Address | IPv6Address

ANY = ""
"""The address of something that listens on all of its host's."""


def parsed(text: str) -> Address | None:
    """An address of a configuration as a value, IPv4-mapped ones as IPv4; None for a name or nothing."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


@dataclass(frozen=True, slots=True)
class Entrance:
    """A `bind` line: where clients come in.

    Attributes:
        balancer: name of the balancer, as `Site.balancers` has it.
        frontend: the `frontend` or `listen` it belongs to.
        address: as written, empty for any; a path for a socket.
        port, last_port: a range, mostly of one; None for a socket.
        accept_proxy: whether clients must send a PROXY header (another balancer stands before this one).
        tls: whether the balancer ends TLS here.
    """

    balancer: str
    frontend: str
    address: str
    port: int | None
    last_port: int | None
    accept_proxy: bool
    tls: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Target:
    """A `server` line, `default-server` included.

    Attributes:
        balancer, backend, server: names.
        frontends: the frontends whose clients may come here; none where that is computed at run time.
        address: as written: an address, a host name, or a path.
        port: None where it is the port that the client connected to.
        header: the PROXY header on clients' connections: `none`, `v1` or `v2`.
        check: whether its health is checked.
        check_header: whether checks send a header, too (`check-send-proxy`).
        check_address, check_port: where checks go; the target's own unless `addr` or `port` says otherwise.
        source: the address that connections come from; empty where the system chooses.
        transparent: connections come from the client's own address (`usesrc clientip`).
        backup, disabled: as written.
    """

    balancer: str
    backend: str
    server: str
    frontends: tuple[str, ...]
    address: str
    port: int | None
    header: str
    check: bool
    check_header: bool
    check_address: str
    check_port: int | None
    source: str
    transparent: bool
    backup: bool
    disabled: bool
    place: Place


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How the sessions of one frontend are logged.

    Attributes:
        log_format: the format as HAProxy sees it; None for its default, the `Connect from …` line.
        format_place: the line that chose it; None for the default.
        structured_format: `log-format-sd`, the structured data before each line; None for none.
        options: of `dontlognull`, `logasap`, `dontlog-normal`, `log-separate-errors`, `tcplog`, `httplog`
            those that are on, each with its line.
        logs_source_port: whether the format has `%bi` and `%bp`, by which masked sessions are joined.
    """

    balancer: str
    frontend: str
    mode: str
    log_format: str | None
    structured_format: str | None
    format_place: Place | None
    options: Mapping[str, Place]
    logs_source_port: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Balancer:
    """One HAProxy.

    Attributes:
        name: as the user named it (`HOST=FILE`), else what `log-send-hostname` says, else empty.
        log_host: the host name that its own lines carry; empty where the system's is used or none is sent.
        log_tag: the program in its lines: `haproxy` unless `log-tag` says otherwise.
        files: where it was read from.
    """

    name: str
    log_host: str
    log_tag: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BalancerAddress:
    """An address of a balancer.

    Attributes:
        how: `source` (a `source` setting: mail servers see it as peer), `bind` (clients connect to it, and
            connections may come from it), `loopback` (a server on the same host is reached from there),
            `proxy_interfaces` (Postfix names it as the address it is reached through).
    """

    balancer: str
    address: str
    how: str
    place: Place


@dataclass(frozen=True, slots=True)
class Listener:
    """An smtpd or postscreen service of master.cf.

    Attributes:
        mail_server: name of the mail server, as `Site.mail_servers` has it.
        service: as written in master.cf (`smtp`, `10024`, `127.0.0.1:10025`).
        daemon: `smtpd` or `postscreen`.
        tag: its syslog tag, such as `postfix/submission/smtpd`.
        address: empty for all of `inet_interfaces`.
        port: None for smtpd behind postscreen.
        expects_header: whether it waits for a PROXY header.
        header_place: the line that says so; None for the built-in value.
        logs_client_port: whether clients are logged with their port; postscreen always does.
        port_place: the line that says so; None for the built-in value.
        own_name: whether its `syslog_name` tells it from other services of the daemon.
    """

    mail_server: str
    service: str
    daemon: str
    tag: str
    address: str
    port: int | None
    expects_header: bool
    header_place: Place | None
    logs_client_port: bool
    port_place: Place | None
    own_name: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Network:
    """An entry of `mynetworks`. Entries that name a file or table have no `network`.

    Attributes:
        entry: as written, without the `!`.
        excluded: whether a `!` stands in front.
    """

    entry: str
    excluded: bool
    network: IPv4Network | IPv6Network | None
    place: Place


@dataclass(frozen=True, slots=True)
class Domain:
    """A mail domain that is ours, and the parameter that says so."""

    mail_server: str
    name: str
    parameter: str
    place: Place | None


@dataclass(frozen=True)
class MailServer:
    """One Postfix instance.

    Attributes:
        name: as the user named it (`HOST=DIR`), else `myhostname`, else the directory's name.
        names: lower-case names and addresses by which a `server` line may mean this host.
        myhostname: empty where Postfix asks the system.
        syslog_name: what stands before the daemon's name in its tags.
        listeners: services that clients and balancers connect to, in the order of master.cf.
        behind_postscreen: smtpd services that get their clients from postscreen.
        networks: entries of `mynetworks`; None where it is left to Postfix (`networks_style`).
        networks_style: `host`, `subnet` or `class`: what Postfix trusts when `mynetworks` is not set.
        domains: of `mydestination`, `virtual_mailbox_domains`, `virtual_alias_domains`, `relay_domains`.
        domains_complete: whether these are all: no list is in a table or file.
        proxy_interfaces: addresses that it is reached through, with their line.
        parameters: raw values of main.cf, unknown ones included.
    """

    name: str
    names: frozenset[str]
    files: tuple[str, ...]
    myhostname: str
    syslog_name: str
    listeners: tuple[Listener, ...]
    behind_postscreen: tuple[Listener, ...]
    networks: tuple[Network, ...] | None
    networks_style: str
    domains: tuple[Domain, ...]
    domains_complete: bool
    proxy_interfaces: tuple[tuple[str, Place], ...]
    parameters: Mapping[str, str] = field(repr=False)

    def is_meant_by(self, target: Target) -> bool:
        """Whether a `server` line names this host, by address, by host name or by its own name."""
        host, name = target.address.lower(), target.server.lower()
        return bool(self.names & {host, host.partition(".")[0] if parsed(host) is None else host, name})

    def trusts(self, address: str) -> tuple[bool | None, Network | None]:
        """Whether an address is in `mynetworks`, and the entry that decides; the first that matches does.

        None where main.cf leaves it to Postfix, or a table comes before any entry that matches.
        """
        found = parsed(address)
        if self.networks is None or found is None:
            return None, None
        open_table: Network | None = None
        for entry in self.networks:
            if entry.network is None:
                open_table = open_table or entry
            elif found.version == entry.network.version and found in entry.network:
                return (None, open_table) if open_table else (not entry.excluded, entry)
        return (None, open_table) if open_table else (False, None)


@dataclass(frozen=True, slots=True)
class Route:
    """A target, and the listeners that it can mean.

    Attributes:
        listeners: services on the target's port whose host fits; several where the configurations do not say
            which host an address is, none where no mail server's configuration was given for it.
    """

    target: Target
    listeners: tuple[Listener, ...]

    @property
    def expects_header(self) -> bool | None:
        """Whether a header is expected there; None where no listener is known, or they differ."""
        expected = {listener.expects_header for listener in self.listeners}
        return expected.pop() if len(expected) == 1 else None

    @property
    def verdict(self) -> str:
        """`passed`, `masked`, `unexpected_header` or `missing_header` by configuration alone; `unknown`
        where the listener is."""
        if self.target.transparent:
            return "passed"
        expected, sent = self.expects_header, self.target.header != "none"
        if expected is None:
            return "unknown"
        if sent:
            return "passed" if expected else "unexpected_header"
        return "missing_header" if expected else "masked"


@dataclass(frozen=True)
class Site:
    """All that the given configurations say. See the package for a tour."""

    balancers: tuple[Balancer, ...] = ()
    entrances: tuple[Entrance, ...] = ()
    targets: tuple[Target, ...] = ()
    log_options: tuple[LogOptions, ...] = ()
    mail_servers: tuple[MailServer, ...] = ()
    routes: tuple[Route, ...] = ()
    balancer_addresses: tuple[BalancerAddress, ...] = ()
    formats: tuple[Translated, ...] = ()
    structured_formats: tuple[Translated, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def grammars(self) -> list[dict[str, Any]]:
        """The log formats and the names that log lines come under as grammars, for
        `logscope.grammar.catalogue.load`."""
        found: list[dict[str, Any]] = []
        if self.formats:
            from logscope.grammar.model import STRUCTURED
            from logscope.haproxy.log_format import as_grammar  # loads pyparsing

            found.append(as_grammar(self.formats))
            if self.structured_formats:
                name = "haproxy-structured-data"
                found.append(as_grammar(self.structured_formats, name, STRUCTURED))
        if self.tags:
            found.append({"name": "configured-tags", "tags": dict(self.tags)})
        return found

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """Whose lines come under names other than the usual ones: HAProxy's `log-tag`, and Postfix's
        `syslog_name` (`name/`), of all its services.
        """
        from logscope.grammar.model import ANY_POSTFIX, HAPROXY  # loads NumPy

        own = {one.log_tag: HAPROXY for one in self.balancers if one.log_tag != HAPROXY}
        names = {server.syslog_name for server in self.mail_servers}
        for server in self.mail_servers:
            services = (*server.listeners, *server.behind_postscreen)
            names |= {one.tag.rpartition("/")[0] for one in services}
        return own | {
            f"{one}/": ANY_POSTFIX for one in sorted(names) if one and not one.startswith("postfix")
        }

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """Those of all mail servers."""
        return tuple(listener for server in self.mail_servers for listener in server.listeners)

    @cached_property
    def domains(self) -> frozenset[str]:
        """Mail domains that are ours, in lower case."""
        return frozenset(domain.name for server in self.mail_servers for domain in server.domains)

    @cached_property
    def peer_addresses(self) -> frozenset[Address]:
        """Addresses that stand for the balancer wherever a mail server logs them as its client."""
        known = (parsed(one.address) for one in self.balancer_addresses if one.how in ("source", "bind"))
        return frozenset(address for address in known if address is not None)

    def target(self, backend: str, server: str) -> Target | None:
        """The `server` line of a backend, by the names that HAProxy logs."""
        return next((one for one in self.targets if (one.backend, one.server) == (backend, server)), None)

    def route(self, backend: str, server: str) -> Route | None:
        """The same with the listeners that it reaches."""
        named = (one for one in self.routes if (one.target.backend, one.target.server) == (backend, server))
        return next(named, None)

    @cached_property
    def names_of_hosts(self) -> Mapping[str, str]:
        """The mail server that a name or address means, in lower case; none that several have."""
        owners: dict[str, set[str]] = {}
        for server in self.mail_servers:
            for name in server.names:
                owners.setdefault(name, set()).add(server.name.lower())
        own_address = {name for name in owners if (found := parsed(name)) is not None and found.is_loopback}
        return {name: min(one) for name, one in owners.items() if len(one) == 1 and name not in own_address}

    @cached_property
    def hosts_of_servers(self) -> Mapping[str, str]:
        """The mail host that each server of HAProxy is, by the server's name alone, which is what log lines
        have: that of its listener, or else the name or address that its line has. None for names that stand
        for several hosts.
        """
        found: dict[str, set[str]] = {}
        for route in self.routes:
            found.setdefault(route.target.server, set()).update(self._hosts_of(route))
        return {server: min(hosts) for server, hosts in found.items() if len(hosts) == 1}

    def _hosts_of(self, route: Route) -> set[str]:
        """The hosts that a route can lead to; none where the configurations do not say."""
        target, address = route.target, route.target.address.lower()
        exact = {one.mail_server for one in route.listeners if one.address.lower() == address != ANY}
        named = exact or {one.name for one in self.mail_servers if one.is_meant_by(target)}
        if named:
            return {name.lower() for name in named}
        own = parsed(address)
        here = address in ("", "localhost") or (own is not None and (own.is_loopback or own.is_unspecified))
        return set() if here or "/" in address else {address}

    def logs_as(self, server: str, hosts: Iterable[str | None]) -> str | None:
        """The one of some hosts, named as in their logs, that a server of HAProxy is."""
        wanted = self.hosts_of_servers.get(server)
        if wanted is None:
            return None
        short = wanted if parsed(wanted) else wanted.partition(".")[0]
        same = {wanted, short} | {name for name, host in self.names_of_hosts.items() if host == wanted}
        found = {host for host in hosts if host and same & {host.lower(), host.lower().partition(".")[0]}}
        return found.pop() if len(found) == 1 else None

    def mail_server(self, host: str) -> MailServer | None:
        """The mail server that logs under a host name: that very name, or the same first label."""
        wanted = host.lower()
        for server in self.mail_servers:
            if wanted in server.names:
                return server
        return None
