"""What the configurations of a site say about its logs, as a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from logscope.errors import Place
from logscope.report.model import Cell, Column, Facts, Item, Note, Report, Section, Table
from logscope.report.tones import Tone
from logscope.report.wording import plural
from logscope.site.facts import Entrance, Listener, LogOptions, MailServer, Route, Site

_VERDICTS: dict[str, tuple[str, Tone]] = {
    "passed": ("clients are seen", "good"),
    "masked": ("clients are masked", "bad"),
    "unexpected_header": ("header not expected", "bad"),
    "missing_header": ("header missing", "bad"),
    "unknown": ("–", "quiet"),
}


def config_report(site: Site) -> Report:
    """One section for the balancers, one for each mail server, one for what was learnt of both."""
    sections = [*_balancers(site), *map(_mail_server, site.mail_servers), _learnt(site)]
    return Report("config", "Configuration", tuple(sections), document(site))


def document(site: Site) -> dict[str, Any]:
    """The site as plain values, each fact with the place that says it; main.cf's raw values are left out."""
    plain: dict[str, Any] = _plain(site)
    for server in plain["mail_servers"]:
        del server["parameters"]
    plain["routes"] = [
        {
            "backend": route.target.backend,
            "server": route.target.server,
            "header_sent": route.target.header,
            "header_expected": route.expects_header,
            "verdict": route.verdict,
            "listeners": [f"{one.mail_server} {one.service}" for one in route.listeners],
        }
        for route in site.routes
    ]
    plain["formats"] = [{"log_format": one.log_format, "template": one.text} for one in _formats(site)]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Place):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(entry) for entry in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


# --- balancers ------------------------------------------------------------------------------------------


def _balancers(site: Site) -> Iterable[Section]:
    if not site.balancers:
        return
    logged = {(one.balancer, one.frontend): one for one in site.log_options}
    entrances = Table(
        (
            Column("frontend", keep=9),
            Column("listens on", keep=10),
            Column("takes", keep=6),
            Column("log", grow=True, keep=7),
            Column("said at", grow=True, keep=5),
        ),
        tuple(_entrance(one, logged[one.balancer, one.frontend]) for one in site.entrances),
        empty="No bind lines.",
    )
    routes = Table(
        (
            Column("server", keep=9),
            Column("address", keep=7),
            Column("sends", keep=8),
            Column("expected", keep=6),
            Column("so", keep=10),
            Column("reaches", grow=True, keep=5),
            Column("said at", grow=True, keep=4),
        ),
        tuple(map(_route, site.routes)),
        empty="No server lines.",
    )
    names = ", ".join(one.name or "HAProxy" for one in site.balancers)
    yield Section(f"Balancer {names}", (entrances, routes))


def _entrance(entrance: Entrance, logged: LogOptions) -> tuple[Cell, ...]:
    takes = [word for word, on in (("PROXY header", entrance.accept_proxy), ("TLS", entrance.tls)) if on] or [
        "–"
    ]
    return (
        Cell(entrance.frontend, "strong"),
        Cell(_end(entrance.address, entrance.port, entrance.last_port)),
        Cell(", ".join(takes), "plain" if entrance.accept_proxy or entrance.tls else "quiet"),
        Cell(_format(logged)),
        Cell(_told(entrance.place), "quiet"),
    )


def _format(logged: LogOptions) -> str:
    if logged.log_format is None:
        chosen = "no format (a line for each connect)"
    else:
        stock = next((name for name in ("tcplog", "httplog") if name in logged.options), "")
        is_stock = stock and logged.format_place == logged.options[stock]
        chosen = stock if is_stock else "own format"
        if not is_stock and logged.logs_source_port:
            chosen += " with %bp"
    if logged.structured_format:
        chosen += " behind structured data"
    others = [name for name in logged.options if name not in ("tcplog", "httplog")]
    return ", ".join([chosen, *others])


def _route(route: Route) -> tuple[Cell, ...]:
    target = route.target
    text, tone = _VERDICTS[route.verdict]
    if target.transparent:
        text += " (transparent)"
    expected = {True: "header", False: "none", None: "–"}[route.expects_header]
    return (
        Cell(f"{target.backend}/{target.server}", "strong"),
        Cell(_end(target.address, target.port)),
        Cell({"none": "none"}.get(target.header, f"PROXY {target.header}")),
        Cell(expected, "quiet" if route.expects_header is None else "plain"),
        Cell(text, tone),
        Cell(", ".join(f"{one.mail_server} {one.service}" for one in route.listeners) or "–"),
        Cell(_told(target.place), "quiet"),
    )


def _end(address: str, port: int | None, last: int | None = None) -> str:
    if port is None:
        return address or "any"
    host = f"[{address}]" if ":" in address else address or "*"
    return f"{host}:{port}" + (f"-{last}" if last not in (None, port) else "")


def _told(place: Place | None) -> str:
    """File name and line; `default` where nobody says it."""
    return f"{place.file.rpartition('/')[2]}:{place.line}" if place else "default"


# --- mail servers ---------------------------------------------------------------------------------------


def _mail_server(server: MailServer) -> Section:
    columns = (
        Column("service", keep=9),
        Column("logged as", keep=8),
        Column("listens on", keep=7),
        Column("PROXY header", keep=10),
        Column("client port", keep=6),
        Column("said at", grow=True, keep=5),
    )
    rows = tuple(map(_listener, (*server.listeners, *server.behind_postscreen)))
    items: list[Item] = [
        Table(columns, rows, empty="No smtpd or postscreen service (no master.cf was read).")
    ]
    items.append(Facts(tuple(_facts(server))))
    return Section(f"Mail server {server.name}", tuple(items))


def _listener(one: Listener) -> tuple[Cell, ...]:
    header = f"expected ({_told(one.header_place)})" if one.expects_header else "not expected"
    port = "logged" if one.logs_client_port else "not logged"
    return (
        Cell(one.service, "strong"),
        Cell(one.tag),
        Cell("behind postscreen" if one.port is None else _end(one.address, one.port)),
        Cell(header),
        Cell(port, "plain" if one.logs_client_port else "warn"),
        Cell(_told(one.place), "quiet"),
    )


def _facts(server: MailServer) -> Iterable[tuple[str, Cell]]:
    if server.networks is None:
        yield "mynetworks", Cell(f"left to Postfix ({server.networks_style})", "quiet")
    else:
        entries = ", ".join(("!" if one.excluded else "") + one.entry for one in server.networks)
        place = server.networks[0].place if server.networks else None
        yield "mynetworks", Cell(f"{entries or 'nobody'} ({_told(place)})")
    domains = ", ".join(one.name for one in server.domains)
    yield "our domains", Cell(domains or "in tables, which are not read", "plain" if domains else "quiet")


# --- both -----------------------------------------------------------------------------------------------


def _learnt(site: Site) -> Section:
    addresses = {"source": "connects from", "bind": "listens on", "loopback": "connects from (same host)"}
    pairs = [
        (addresses.get(one.how, "is reached at"), Cell(f"{one.address} ({_told(one.place)})"))
        for one in site.balancer_addresses
    ]
    items: list[Item] = [Facts(tuple(pairs))] if pairs else []
    formats = _formats(site)
    if formats:
        read = plural(len(formats), "log format")
        items.append(Note(f"{read} of the balancer can be read: {_shown(formats)}", "good"))
    for tag, whose in site.tags.items():
        program = "HAProxy" if whose == "haproxy" else "Postfix"
        name = f"{tag}…" if tag.endswith("/") else tag
        items.append(Note(f"Lines that begin with {name} are taken for {program}'s.", "good"))
    items += [Note(note, "warn") for note in site.notes]
    if not items:
        items.append(Note("Nothing else was learnt.", "quiet"))
    return Section("The balancer's addresses and formats", tuple(items))


def _formats(site: Site) -> tuple[Any, ...]:
    return (*site.formats, *site.structured_formats)


def _shown(formats: Iterable[Any]) -> str:
    return "; ".join(one.log_format for one in formats)
