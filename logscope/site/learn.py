"""Reads the configurations that a run was given and puts side by side what they say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType

from logscope.errors import Place, SettingsError, did_you_mean
from logscope.haproxy import config as haproxy
from logscope.postfix import config as postfix
from logscope.site.facts import (
    ANY,
    Balancer,
    BalancerAddress,
    Domain,
    Entrance,
    Listener,
    LogOptions,
    MailServer,
    Network,
    Route,
    Site,
    Target,
    parsed,
)

LOG_OPTIONS = ("dontlognull", "logasap", "dontlog-normal", "log-separate-errors", "tcplog", "httplog")
_FORMAT_OPTIONS = ("tcplog", "httplog", "httpslog")
_DOMAIN_LISTS = ("mydestination", "virtual_mailbox_domains", "virtual_alias_domains", "relay_domains")
_LOCAL_NAMES = frozenset(("localhost", "localhost.localdomain"))
_NAMED = re.compile(r"(?P<host>[A-Za-z0-9._-]+)=(?P<rest>.+)")


def learn(haproxy_cfg: Iterable[str] = (), postfix_config: Iterable[str] = ()) -> Site:
    """What some configurations say.

    Args:
        haproxy_cfg: `FILE`, `DIR` (its *.cfg, as `haproxy -f DIR` reads them) or `HOST=FILE`. Files of the
            same host, or of none, are read one after the other as with several `-f`.
        postfix_config: `DIR`, `MAIN.CF`, `MASTER.CF` or `MAIN.CF+MASTER.CF`, each also with `HOST=` before
            it.

    Raises:
        SettingsError: a file cannot be read, or its daemon would refuse it; with file, line and column.
    """
    balancers = [(host, files, haproxy.read(files)) for host, files in _balancer_files(haproxy_cfg)]
    servers = [_mail_server(host, *_postfix_files(path)) for host, path in map(_named, postfix_config)]
    return combined(balancers, servers)


def combined(
    balancers: Sequence[tuple[str, Sequence[Path], haproxy.Config]], mail_servers: Sequence[MailServer]
) -> Site:
    """Configurations that are read already, side by side.

    Args:
        balancers: name (or empty), files and configuration of each.
        mail_servers: as `mail_server` makes them.
    """
    named = [(_balancer(host, files, config), config) for host, files, config in balancers]
    targets = tuple(target for one, config in named for target in _targets(one, config))
    listeners = [listener for server in mail_servers for listener in server.listeners]
    return Site(
        balancers=tuple(one for one, _ in named),
        entrances=tuple(entry for one, config in named for entry in _entrances(one, config)),
        targets=targets,
        log_options=tuple(entry for one, config in named for entry in _log_options(one, config)),
        mail_servers=tuple(mail_servers),
        routes=tuple(_route(target, listeners, mail_servers, targets) for target in targets),
        balancer_addresses=tuple(_addresses(named, mail_servers)),
        formats=tuple(dict.fromkeys(entry for _, config in named for entry in config.formats)),
        structured_formats=tuple(
            dict.fromkeys(entry for _, config in named for entry in config.structured_formats)
        ),
        notes=tuple(
            dict.fromkeys(note for _, config in named for note in (*config.notes, *config.format_problems))
        ),
    )


# --- files --------------------------------------------------------------------------------------------------


def _named(given: str) -> tuple[str, Path]:
    """A host name in front, if there is one, and the path. A file of that very name is a path."""
    match = _NAMED.fullmatch(given)
    if match is None or Path(given).exists():
        return "", Path(given)
    return match["host"], Path(match["rest"])


def _balancer_files(given: Iterable[str]) -> list[tuple[str, list[Path]]]:
    files: dict[str, list[Path]] = {}
    for host, path in map(_named, given):
        found = sorted(path.glob("*.cfg")) if path.is_dir() else [path]
        if not found:
            hint = "Name the file that HAProxy was started with (-f)."
            raise SettingsError("no configuration (*.cfg) inside", place=Place(str(path)), hint=hint)
        files.setdefault(host, []).extend(found)
    return list(files.items())


def _postfix_files(path: Path) -> tuple[Path, Path | None]:
    """main.cf and master.cf out of a directory, one of them (its neighbour is found by its name), or both
    with a `+` between.

    Raises:
        SettingsError: there is no such file, or its name does not tell which it is.
    """
    if path.is_dir():
        others = sorted(path.glob("*.main.cf"))
        if others and not (path / "main.cf").exists():
            hint = f"Name one file for each host: {others[0].name.removesuffix('.main.cf')}={others[0]}"
            raise SettingsError("no main.cf inside, but several", place=Place(str(path)), hint=hint)
        return path / "main.cf", _existing(path / "master.cf")
    first, plus, second = str(path).partition("+")
    if plus and not path.exists():
        return Path(first), Path(second)
    if path.name.endswith("main.cf"):
        return path, _existing(path.with_name(path.name.removesuffix("main.cf") + "master.cf"))
    if path.name.endswith("master.cf"):
        return path.with_name(path.name.removesuffix("master.cf") + "main.cf"), path
    hint = "Name the directory that holds main.cf ('postconf -h config_directory' shows it), or MAIN+MASTER."
    near = did_you_mean(path.name, (entry.name for entry in path.parent.glob("*")))
    what = "this is neither a main.cf nor a master.cf" if path.exists() else "no such file or directory"
    raise SettingsError(what, place=Place(str(path)), hint=near or hint)


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


# --- balancers ----------------------------------------------------------------------------------------------


def _balancer(host: str, files: Sequence[Path], config: haproxy.Config) -> Balancer:
    log_host, log_tag = "", "haproxy"
    for section in config.sections:
        for entry in section.directives if section.kind == "global" else ():
            if entry.keyword == "log-send-hostname" and not entry.negated:
                log_host = entry.argument(0)
            elif entry.keyword == "log-tag" and not entry.negated:
                log_tag = entry.argument(0) or log_tag
    return Balancer(host or log_host, log_host, log_tag, tuple(map(str, files)))


def _entrances(balancer: Balancer, config: haproxy.Config) -> Iterator[Entrance]:
    for proxy in config.frontends:
        for bind in proxy.binds:
            for end in bind.endpoints:
                yield Entrance(
                    balancer=balancer.name,
                    frontend=proxy.name,
                    address=end.address,
                    port=end.port,
                    last_port=end.last_port,
                    accept_proxy=bind.accept_proxy,
                    tls=bind.tls,
                    place=bind.place,
                )


def _targets(balancer: Balancer, config: haproxy.Config) -> Iterator[Target]:
    reached: dict[tuple[str, str], list[str]] = {}
    for frontend in config.frontends:
        for backend, server in config.servers_of(frontend):
            reached.setdefault((backend.name, server.name), []).append(frontend.name)
    for backend in config.backends:
        for server in backend.servers:
            end, check = server.endpoint, server.check_endpoint or server.endpoint
            yield Target(
                balancer=balancer.name,
                backend=backend.name,
                server=server.name,
                frontends=tuple(reached.get((backend.name, server.name), ())),
                address=end.address,
                port=None if end.offset else end.port,
                header=str(server.send_proxy),
                check=server.check,
                check_header=server.check_send_proxy,
                check_address=check.address,
                check_port=None if check.offset else check.port,
                source=server.source.address if server.source else "",
                transparent=server.transparent,
                backup=server.backup,
                disabled=server.disabled,
                place=server.place,
            )


def _log_options(balancer: Balancer, config: haproxy.Config) -> Iterator[LogOptions]:
    for proxy in config.frontends:
        places: dict[str, Place] = {}
        format_place: Place | None = None
        for entry in proxy.directives:
            option = entry.argument(0) if entry.keyword == "option" else ""
            if option in LOG_OPTIONS:
                places[option] = entry.place
            if entry.keyword == "log-format" or option in _FORMAT_OPTIONS:
                format_place = entry.place
        log_format = f"{proxy.structured_format or ''} {proxy.log_format or ''}"
        yield LogOptions(
            balancer=balancer.name,
            frontend=proxy.name,
            mode=proxy.mode,
            log_format=proxy.log_format,
            structured_format=proxy.structured_format,
            format_place=format_place if proxy.log_format is not None else None,
            options=MappingProxyType({name: at for name, at in places.items() if name in proxy.options}),
            logs_source_port=any(name in log_format for name in ("%bp", "%[bc_src_port]", "}bp")),
            place=proxy.place,
        )


def _addresses(
    named: Iterable[tuple[Balancer, haproxy.Config]], mail_servers: Iterable[MailServer]
) -> Iterator[BalancerAddress]:
    seen: set[tuple[str, str, str]] = set()
    for found in (*_haproxy_addresses(named), *_proxy_interfaces(mail_servers)):
        key = (found.balancer, found.address, found.how)
        if key not in seen:
            seen.add(key)
            yield found


def _haproxy_addresses(named: Iterable[tuple[Balancer, haproxy.Config]]) -> Iterator[BalancerAddress]:
    for balancer, config in named:
        for backend in config.backends:
            for server in backend.servers:
                address = parsed(server.endpoint.address)
                if server.source and _is_one(server.source.address):
                    yield BalancerAddress(balancer.name, server.source.address, "source", server.place)
                elif address is not None and address.is_loopback and not server.transparent:
                    from_there = "127.0.0.1" if address.version == 4 else "::1"
                    yield BalancerAddress(balancer.name, from_there, "loopback", server.place)
        for frontend in config.frontends:
            for bind in frontend.binds:
                for end in bind.endpoints:
                    if _is_one(end.address):
                        yield BalancerAddress(balancer.name, end.address, "bind", bind.place)


def _is_one(text: str) -> bool:
    """Whether a text is the address of some host, seen from others."""
    address = parsed(text)
    return address is not None and not address.is_unspecified and not address.is_loopback


def _proxy_interfaces(mail_servers: Iterable[MailServer]) -> Iterator[BalancerAddress]:
    for server in mail_servers:
        for address, place in server.proxy_interfaces:
            yield BalancerAddress("", address, "proxy_interfaces", place)


# --- mail servers -------------------------------------------------------------------------------------------


def _mail_server(host: str, main: Path, master: Path | None) -> MailServer:
    return mail_server(host, postfix.read_files(main, master), tuple(map(str, filter(None, (main, master)))))


def mail_server(host: str, config: postfix.Config, files: tuple[str, ...]) -> MailServer:
    """The facts of one Postfix.

    Args:
        host: what the user calls it; empty for `myhostname`, or the directory.
    """
    myhostname = config.value("myhostname")
    name = host or myhostname or (Path(files[0]).parent.name if files else "")
    interfaces = [word for word in config.words("inet_interfaces") if parsed(word.strip("[]"))]
    names = {name, myhostname, *interfaces}
    names |= {one.partition(".")[0] for one in (name, myhostname) if parsed(one) is None}
    base_name = config.syslog_name()
    listeners = tuple(_listener(name, base_name, config, one) for one in config.listeners)
    passed = [one for one in config.services if one.type == "pass" and one.command == "smtpd"]
    return MailServer(
        name=name,
        names=frozenset(one.lower() for one in names if one),
        files=files,
        myhostname=myhostname,
        syslog_name=base_name,
        listeners=listeners,
        behind_postscreen=tuple(_listener(name, base_name, config, one) for one in passed),
        networks=_networks(config),
        networks_style=config.value("mynetworks_style"),
        domains=tuple(_domains(name, config)),
        domains_complete=not any(
            _is_table(word) for parameter in _DOMAIN_LISTS for word in config.words(parameter)
        ),
        proxy_interfaces=tuple(_interfaces(config)),
        parameters=MappingProxyType({key: entry.value for key, entry in config.parameters.items()}),
    )


def _listener(mail_server: str, base_name: str, config: postfix.Config, service: postfix.Service) -> Listener:
    upstream = f"{service.command}_upstream_proxy_protocol"
    is_screen = service.command == "postscreen"
    return Listener(
        mail_server=mail_server,
        service=service.name,
        daemon=service.command,
        tag=config.tag(service),
        address=service.address,
        port=service.port_number,
        expects_header=bool(config.upstream_proxy_protocol(service)),
        header_place=config.place(upstream, service),
        logs_client_port=is_screen or config.client_port_logging(service),
        port_place=None if is_screen else config.place("smtpd_client_port_logging", service),
        own_name=config.syslog_name(service) != base_name,
        place=service.place,
    )


def _networks(config: postfix.Config) -> tuple[Network, ...] | None:
    if "mynetworks" not in config.parameters:
        return None
    place = config.parameters["mynetworks"].place
    return tuple(_network(word, place) for word in config.words("mynetworks"))


def _network(word: str, place: Place) -> Network:
    entry = word.removeprefix("!")
    try:
        network = ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return Network(entry, word.startswith("!"), None, place)
    return Network(entry, word.startswith("!"), network, place)


def _domains(mail_server: str, config: postfix.Config) -> Iterator[Domain]:
    """Each domain once, under the first list that has it."""
    seen = set(_LOCAL_NAMES)
    for parameter in _DOMAIN_LISTS:
        for word in config.words(parameter):
            name = word.lower().rstrip(".")
            if name and not _is_table(name) and not name.startswith("!") and name not in seen:
                seen.add(name)
                yield Domain(mail_server, name, parameter, config.place(parameter))


def _is_table(word: str) -> bool:
    return ":" in word or "/" in word


def _interfaces(config: postfix.Config) -> Iterator[tuple[str, Place]]:
    place = config.place("proxy_interfaces")
    for word in config.words("proxy_interfaces"):
        address = parsed(word.strip("[]"))
        if address is not None and place is not None:
            yield str(address), place


# --- routes -------------------------------------------------------------------------------------------------


def _route(
    target: Target,
    listeners: Sequence[Listener],
    mail_servers: Sequence[MailServer],
    targets: Sequence[Target],
) -> Route:
    """The listeners on the target's port; those of the host that it names, if one does. None where all of
    them are of hosts that other targets name, at other addresses: whose it is was not given.
    """
    by_name: Mapping[str, MailServer] = {server.name: server for server in mail_servers}
    on_port = [one for one in listeners if target.port is not None and one.port == target.port]
    address = target.address.lower()
    exact = [one for one in on_port if one.address != ANY and one.address.lower() == address]
    if exact:
        return Route(target, tuple(exact))
    named = [one for one in on_port if by_name[one.mail_server].is_meant_by(target)]
    open_ones = [one for one in named or on_port if one.address == ANY]
    elsewhere = {
        server.name
        for server in mail_servers
        if any(server.is_meant_by(other) and _differ(other.address, address) for other in targets)
    }
    if not named and all(one.mail_server in elsewhere for one in open_ones):
        return Route(target, ())
    return Route(target, tuple(open_ones))


def _differ(one: str, other: str) -> bool:
    """Whether both are addresses of one family, and not the same."""
    first, second = parsed(one), parsed(other)
    return first is not None and second is not None and first.version == second.version and first != second
