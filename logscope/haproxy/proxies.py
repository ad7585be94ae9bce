"""Frontends, backends and listens worked out of their sections: what they inherit, who listens, who is sent
what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from logscope.errors import Place, did_you_mean
from logscope.haproxy.endpoints import Endpoint, endpoint, place_of, port
from logscope.haproxy.sections import Directive, Section
from logscope.haproxy.stock_formats import ENVIRONMENT
from logscope.haproxy.words import ConfigError


class SendProxy(StrEnum):
    """Which PROXY header a server is sent (section 5.2)."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class Bind:
    """A listener (section 5.1)."""

    endpoints: tuple[Endpoint, ...]
    name: str
    accept_proxy: bool
    tls: bool
    options: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Server:
    """A server (section 5.2), `default-server` included.

    Attributes:
        send_proxy: the header on client connections.
        check: whether it is checked; `check_send_proxy` whether the checks send a header as well.
        check_endpoint: where checks go when not to the server's own address and port (`addr`, `port`).
        source: the address connections come from, None when the system chooses.
        transparent: connections come from the client's own address (`usesrc client`, `usesrc clientip`).
    """

    name: str
    endpoint: Endpoint
    send_proxy: SendProxy
    check: bool
    check_send_proxy: bool
    check_endpoint: Endpoint | None
    source: Endpoint | None
    transparent: bool
    backup: bool
    disabled: bool
    options: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Proxy:
    """A `frontend`, `backend` or `listen` with everything it inherits.

    Attributes:
        directives: inherited ones first, in the order in which they take effect.
        options: names after `option` that are on (`tcplog`, `dontlognull`, `logasap`, …).
        log_format: the format of its session lines; None for the default `Connect from …` line.
        error_log_format: the format of connection errors; None for HAProxy's fixed one.
        structured_format: `log-format-sd`, the structured data before a line of RFC 5424; None for none.
        default_backend: empty when it has none.
        backends: every backend it may choose (`default_backend`, `use_backend`), without names computed at
            run time.
    """

    kind: str
    name: str
    mode: str
    binds: tuple[Bind, ...]
    servers: tuple[Server, ...]
    options: frozenset[str]
    log_format: str | None
    error_log_format: str | None
    structured_format: str | None
    default_backend: str
    backends: tuple[str, ...]
    directives: tuple[Directive, ...]
    place: Place

    @property
    def is_frontend(self) -> bool:
        """Whether clients come in here (and lines are logged in its format)."""
        return self.kind in ("frontend", "listen")


NO_DATA = "-"
"""The nil value of structured data."""
_MOST_SERVERS = 65_536  # of one `server-template`


def proxies(sections: Iterable[Section]) -> Iterator[Proxy]:
    """Frontends, backends and listens, each with the defaults that hold for it (section 4)."""
    named: dict[str, tuple[Directive, ...]] = {}
    current: tuple[Directive, ...] = ()
    for section in sections:
        if section.kind not in ("defaults", "frontend", "backend", "listen"):
            continue
        if section.base and section.base not in named:
            hint = did_you_mean(section.base, named) or f"Define 'defaults {section.base}' above."
            raise ConfigError(
                f"there is no defaults section {section.base!r}", place=section.place, hint=hint
            )
        if section.kind == "defaults":
            # Defaults do not inherit from the ones before them unless they say so.
            current = named.get(section.base, ()) + section.directives
            if section.name:
                named[section.name] = current
        else:
            yield _proxy(section, named[section.base] if section.base else current)


def _proxy(section: Section, inherited: tuple[Directive, ...]) -> Proxy:
    directives = inherited + section.directives
    own = section.directives
    default_backend = _last(directives, "default_backend") if section.kind != "backend" else ""
    chosen = [entry.argument(0) for entry in own if entry.keyword == "use_backend"]
    backends = [name for name in [*chosen, default_backend] if name and "%" not in name]
    return Proxy(
        kind=section.kind,
        name=section.name,
        mode=_last(directives, "mode") or "tcp",
        binds=tuple(_bind(entry) for entry in own if entry.keyword == "bind"),
        servers=tuple(_servers(inherited, own)),
        options=_options(directives),
        log_format=_log_format(directives),
        error_log_format=_last(directives, "error-log-format") or None,
        structured_format=_structured_format(directives),
        default_backend=default_backend,
        backends=tuple(dict.fromkeys(backends)),
        directives=directives,
        place=section.place,
    )


def _last(directives: Iterable[Directive], keyword: str) -> str:
    """The argument of the last directive of a name, which is the one that counts; empty when there is
    none."""
    found = ""
    for entry in directives:
        if entry.keyword == keyword:
            found = "" if entry.negated else entry.argument(0)
    return found


def _options(directives: Iterable[Directive]) -> frozenset[str]:
    options: set[str] = set()
    for entry in directives:
        if entry.keyword == "option" and entry.arguments:
            (options.discard if entry.negated else options.add)(entry.argument(0))
    return frozenset(options)


_STOCK = {
    "tcplog": "HAPROXY_TCP_LOG_FMT",
    "tcplog clf": "HAPROXY_TCP_CLF_LOG_FMT",
    "httplog": "HAPROXY_HTTP_LOG_FMT",
    "httplog clf": "HAPROXY_HTTP_CLF_LOG_FMT",
    "httpslog": "HAPROXY_HTTPS_LOG_FMT",
}


def _log_format(directives: Iterable[Directive]) -> str | None:
    """The format in force: the last of `log-format` and the options that stand for one (section 8.2)."""
    found: str | None = None
    for entry in directives:
        stock = _STOCK.get(" ".join(entry.arguments[:2])) or _STOCK.get(entry.argument(0))
        if entry.keyword == "log-format":
            found = None if entry.negated else entry.argument(0)
        elif entry.keyword == "option" and stock:
            found = None if entry.negated else ENVIRONMENT[stock]
    return found


def _structured_format(directives: Iterable[Directive]) -> str | None:
    found = _last(directives, "log-format-sd")
    return found if found not in ("", NO_DATA) else None


def _bind(directive: Directive) -> Bind:
    options = directive.arguments[1:]
    return Bind(
        endpoints=tuple(endpoint(part, directive) for part in directive.argument(0).split(",")),
        name=_after(options, "name"),
        accept_proxy="accept-proxy" in options,
        tls="ssl" in options,
        options=options,
        place=directive.place,
    )


def _servers(inherited: Iterable[Directive], own: Iterable[Directive]) -> Iterator[Server]:
    """Servers of a section. `default-server` holds for the servers behind it, `source` for all."""
    own = tuple(own)
    source: tuple[str, ...] = ()
    for entry in (*inherited, *own):
        if entry.keyword == "source":
            source = () if entry.negated else ("source", *entry.arguments)
    common = source + _default_server(inherited)
    for entry in own:
        if entry.keyword == "default-server":
            common += entry.arguments
        elif entry.keyword == "server":
            yield _server(entry, entry.argument(0), entry.argument(1), common + entry.arguments[2:])
        elif entry.keyword == "server-template":
            for number in _template_numbers(entry):
                name = f"{entry.argument(0)}{number}"
                yield _server(entry, name, entry.argument(2), common + entry.arguments[3:])


def _default_server(directives: Iterable[Directive]) -> tuple[str, ...]:
    return tuple(
        word for entry in directives if entry.keyword == "default-server" for word in entry.arguments
    )


def _template_numbers(directive: Directive) -> range:
    first, _, last = directive.argument(1).partition("-")
    if not (first.isdigit() and (not last or last.isdigit())):
        message = f"{directive.argument(1)!r} is no number of servers"
        raise ConfigError(message, place=place_of(directive, 1), hint="Write a number (3) or a range (1-3).")
    numbers = range(int(first), int(last) + 1) if last else range(1, int(first) + 1)
    if len(numbers) > _MOST_SERVERS:
        hint = f"Write a range of no more than {_MOST_SERVERS}."
        raise ConfigError("these are too many servers", place=place_of(directive, 1), hint=hint)
    return numbers


def _server(directive: Directive, name: str, address: str, options: tuple[str, ...]) -> Server:
    if not address:
        hint = "Write 'server NAME ADDRESS:PORT'."
        raise ConfigError("this server has no name or no address", place=directive.place, hint=hint)
    source = _after(options, "source")
    return Server(
        name=name,
        endpoint=endpoint(address, directive),
        send_proxy=_send_proxy(options),
        check=_is_on(options, "check"),
        check_send_proxy=_is_on(options, "check-send-proxy"),
        check_endpoint=_check_endpoint(address, options, directive),
        source=endpoint(source, directive) if source else None,
        transparent=_is_transparent(options),
        backup=_is_on(options, "backup"),
        disabled=_is_on(options, "disabled"),
        options=options,
        place=directive.place,
    )


def _check_endpoint(address: str, options: tuple[str, ...], directive: Directive) -> Endpoint | None:
    check_address, check_port = _after(options, "addr"), _after(options, "port")
    if not check_address and not check_port:
        return None
    found = endpoint(check_address or address, directive)
    if not check_port:
        return found
    number = port(check_port, directive)
    return replace(found, port=number, last_port=number, offset=False)


def _is_transparent(options: tuple[str, ...]) -> bool:
    """Whether the last `source` has `usesrc client` or `usesrc clientip` behind it."""
    if "source" not in options:
        return False
    last = len(options) - options[::-1].index("source")
    return options[last + 1 : last + 2] == ("usesrc",) and options[last + 2 : last + 3] in (
        ("client",),
        ("clientip",),
    )


def _after(words: tuple[str, ...], keyword: str) -> str:
    """The word behind the last such keyword; empty when it is not there."""
    found = ""
    for word, following in pairwise(words):
        if word == keyword:
            found = following
    return found


def _is_on(options: tuple[str, ...], keyword: str) -> bool:
    """Whether a switch is on: it and its `no-` or opposite form may both occur, the last one counts."""
    opposite = {"disabled": "enabled", "backup": "non-backup"}.get(keyword, f"no-{keyword}")
    state = False
    for word in options:
        if word in (keyword, opposite):
            state = word == keyword
    return state


def _send_proxy(options: tuple[str, ...]) -> SendProxy:
    """Version 2 wins over version 1 when both are on, as it does in HAProxy."""
    v2 = any(_is_on(options, word) for word in ("send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"))
    if v2:
        return SendProxy.V2
    return SendProxy.V1 if _is_on(options, "send-proxy") else SendProxy.NONE
