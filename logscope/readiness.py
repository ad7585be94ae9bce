"""Which lines of logging configuration would make more joins exact, and by how much, measured on the logs.

What counts is a link that is not exact now and that the setting would decide: smtpd's client ports decide
links to smtpd; `%bi:%bp` decides whose the masked sessions are, where the mail server logs a port; finer
stamps help wherever times decide. A session that one side never logged (`dontlognull`) cannot be joined at
all. A setting is proposed only where the logs show that it is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from logscope.errors import Place
from logscope.haproxy.stock_formats import TCPLOG
from logscope.site import Site

TABLES: Mapping[str, tuple[str, ...]] = {
    "sessions": ("mta_host", "peer_port", "masked", "hops", "links", "service", "outcome")
}
"""What `Measured.sessions` wants to be given."""

_EXACT: Final = "exact"
_BY_TIME: Final = ("timing", "order")


@dataclass(frozen=True)
class Advice:
    """One setting.

    Attributes:
        setting: its name, as the manual has it.
        missing: what the logs show, in words; empty where they show that it is in place or not needed.
        gain: links that it would make exact, or sessions that it would show, at most.
        of: how many there are of these in all.
        what: what is counted, `links to smtpd` and the like.
        lines: what to add, line by line.
        where: the file to add it to, or the line of the configuration that decides now.
        note: what else to know.
    """

    setting: str
    missing: str
    gain: int
    of: int
    what: str
    lines: tuple[str, ...]
    where: str
    note: str = ""


class Measured:
    """Counts what the logs have and lack."""

    def __init__(self) -> None:
        self.links: Counter[tuple[str, str, str]] = Counter()
        self.sessions_of: Counter[tuple[str | None, bool, bool, bool]] = Counter()
        self.by_time = 0  # masked sessions that only times link to the balancer's
        self.portless = self.portless_by_time = 0  # masked sessions without a port: in no link, by time alone
        self.source_ports = 0  # lines of HAProxy with %bp
        self.lines: Counter[tuple[str, str]] = Counter()
        self.without_host = self.of_balancer = 0
        self.connects = self.without_port = 0
        self.tags: Counter[tuple[str, bool]] = Counter()

    def sessions(self, _table: str, batch: pa.RecordBatch) -> None:
        """Take rows of the table of sessions."""
        batch = batch.filter(pc.fill_null(pc.not_equal(batch.column("outcome"), "probe"), True))
        links = batch.column("links").flatten()
        parts = [pc.struct_field(links, name) for name in ("to", "method", "confidence")]
        for (to, method, confidence), count in _counted(parts):
            self.links[to or "", method or "", confidence or ""] += count
        hidden = batch.filter(pc.fill_null(batch.column("masked"), False)).column("links").flatten()
        origins = [pc.struct_field(hidden, name) for name in ("from", "confidence")]
        for (origin, confidence), count in _counted(origins):
            self.by_time += count if origin == "balancer" and confidence != _EXACT else 0
        nameless = batch.filter(
            pc.and_(pc.fill_null(batch.column("masked"), False), pc.is_null(batch.column("peer_port")))
        )
        alone = pc.binary_join(nameless.column("hops"), ",")
        at_balancer = _true(pc.match_substring(alone, "balancer"))
        self.portless += nameless.num_rows - at_balancer
        self.portless_by_time += at_balancer
        hops = pc.binary_join(batch.column("hops"), ",")
        masked = batch.column("masked").cast(pa.string())
        for (host, is_masked, seen, service), count in _counted(
            [batch.column("mta_host"), masked, hops, batch.column("service")]
        ):
            at = set((seen or "").split(","))
            at_mta = bool(at & {"screen", "smtpd"})
            self.sessions_of[host, "balancer" in at, at_mta, is_masked == "true"] += count
            if service and service.endswith("/smtpd"):
                self.tags[service, "screen" in at] += count

    def events(self, batch: pa.RecordBatch) -> None:
        """Take rows of the table of events."""
        known = pc.is_valid(batch.column("logged_at"))
        columns = [batch.column(name).filter(known) for name in ("program", "resolution")]
        for (program, resolution), count in _counted(columns):
            self.lines["haproxy" if program == "haproxy" else "postfix", resolution or ""] += count
        kinds = batch.column("kind")
        balancer = pc.fill_null(pc.starts_with(kinds, "haproxy."), False)
        self.of_balancer += _true(balancer)
        self.without_host += _true(pc.and_(balancer, pc.is_null(batch.column("host"))))
        if "source_port" in batch.schema.names:
            self.source_ports += _true(pc.is_valid(batch.column("source_port")))
        connects = batch.filter(pc.equal(kinds, "smtpd.connect"))
        self.connects += connects.num_rows
        has_port = "client_port" in connects.schema.names
        self.without_port += connects.column("client_port").null_count if has_port else connects.num_rows

    # --- sums ----------------------------------------------------------------------------------------------

    def count(self, *, to: str | None = None, weak: bool = False, by_time: bool = False) -> int:
        """Links to a hop (any), only those that are not exact, only those that times decided."""
        return sum(
            count
            for (hop, method, confidence), count in self.links.items()
            if (to is None or hop == to)
            and not (weak and confidence == _EXACT)
            and not (by_time and method not in _BY_TIME)
        )

    def count_sessions(self, *, balancer: bool, mta: bool, masked: bool | None = None) -> int:
        """Sessions seen, or not, at the balancer and at the mail server."""
        return sum(
            count
            for (_, at_balancer, at_mta, is_masked), count in self.sessions_of.items()
            if (at_balancer, at_mta) == (balancer, mta) and masked in (None, is_masked)
        )


def advice(found: Measured, site: Site) -> Iterator[Advice]:
    """Every setting that bears on joins, those in place included."""
    yield _smtpd_ports(found, site)
    yield _source_ports(found, site)
    yield _fine_stamps(found)
    yield _balancer_host(found)
    yield _null_sessions(found, site)
    yield _service_names(found, site)


def _smtpd_ports(found: Measured, site: Site) -> Advice:
    silent = [
        one
        for server in site.mail_servers
        for one in (*server.listeners, *server.behind_postscreen)
        if not one.logs_client_port
    ]
    missing = ""
    if found.without_port:
        missing = f"{found.without_port:,} of {found.connects:,} connects at smtpd name no client port"
    # Masked sessions that smtpd alone saw: the balancer logs its port, but has nothing to compare it with.
    lone = found.count_sessions(balancer=True, mta=False)
    recovered = min(found.portless, lone) if found.source_ports else 0
    return Advice(
        "smtpd_client_port_logging",
        missing,
        found.count(to="smtpd", weak=True) + recovered,
        found.count(to="smtpd") + recovered,
        "links to smtpd",
        ("smtpd_client_port_logging = yes",),
        _where((one.port_place for one in silent if one.port_place), "main.cf"),
        "Then address and port decide, whatever the clocks say.",
    )


def _source_ports(found: Measured, site: Site) -> Advice:
    frontends = [one for one in site.log_options if one.mode != "http" and not one.logs_source_port]
    masked = found.count_sessions(balancer=False, mta=True, masked=True)
    joined = found.count_sessions(balancer=True, mta=True, masked=True)
    lost = min(masked - found.portless, found.count_sessions(balancer=True, mta=False)) if masked else 0
    unknown = not site.log_options and not found.source_ports
    wanted = bool(masked or found.by_time) and (bool(frontends) or unknown)
    portless = found.portless + found.portless_by_time
    also = f" {portless:,} of them have no port at smtpd: they need smtpd_client_port_logging, too."
    formats = {one.log_format or TCPLOG for one in frontends} or {TCPLOG}
    return Advice(
        "%bi:%bp in HAProxy's log-format",
        f"{masked + found.by_time:,} sessions came from the balancer's own address: "
        f"{found.by_time:,} are told by time alone, {masked:,} are nobody's"
        if wanted
        else "",
        lost + found.by_time - found.portless_by_time if wanted else 0,
        masked + joined,
        "masked sessions",
        tuple(f'log-format "{_quoted(one)} %bi:%bp"' for one in sorted(formats)),
        _where((one.format_place or one.place for one in frontends), "haproxy.cfg"),
        "A PROXY header (logscope masking) is the better cure: then nothing is masked."
        + (also if wanted and portless else ""),
    )


def _fine_stamps(found: Measured) -> Advice:
    coarse = {side: found.lines[side, "s"] for side in ("haproxy", "postfix")}
    total = sum(found.lines.values())
    whole = sum(coarse.values())
    missing = f"{whole:,} of {total:,} stamps have whole seconds only" if whole else ""
    return Advice(
        "stamps finer than a second",
        missing,
        found.count(weak=True, by_time=True) - found.by_time,  # which stay probable
        found.count(by_time=True) - found.by_time,
        "links decided by order and time",
        ('module(load="builtin:omfile" Template="RSYSLOG_FileFormat")',),
        "rsyslog.conf",
        "Stamps with microseconds and zone; instead of RSYSLOG_TraditionalFileFormat.",
    )


def _balancer_host(found: Measured) -> Advice:
    missing = ""
    if found.without_host:
        missing = f"{found.without_host:,} of {found.of_balancer:,} lines of HAProxy name no host"
    return Advice(
        "log-send-hostname",
        missing,
        found.without_host,
        found.of_balancer,
        "lines whose balancer is not known",
        ("global", "    log-send-hostname"),
        "haproxy.cfg",
        "Two balancers in one file are one until then.",
    )


def _null_sessions(found: Measured, site: Site) -> Advice:
    places = [one.options["dontlognull"] for one in site.log_options if "dontlognull" in one.options]
    unseen = found.count_sessions(balancer=False, mta=True, masked=False)
    seen = found.count_sessions(balancer=True, mta=True)
    wanted = bool(places) or (bool(unseen) and bool(seen) and not site.log_options)
    what = f"{unseen:,} sessions of mail servers have no line of the balancer"
    return Advice(
        "no option dontlognull",
        what if wanted else "",
        unseen if wanted and seen else 0,
        seen + unseen,
        "sessions of mail servers",
        ("no option dontlognull",),
        _where(iter(places), "haproxy.cfg"),
        "With the option HAProxy is silent about clients that sent nothing.",
    )


def _service_names(found: Measured, site: Site) -> Advice:
    shared = [
        one
        for server in site.mail_servers
        for one in server.listeners
        if one.daemon == "smtpd" and not one.own_name
    ]
    both = {tag for tag, _ in found.tags if found.tags[tag, True] and found.tags[tag, False]}
    mixed = sum(count for (tag, _), count in found.tags.items() if tag in both)
    missing = ""
    if both:
        missing = f"{', '.join(sorted(both))} is the tag of smtpd behind postscreen and of others"
    elif len(shared) > 1:
        missing = f"{len(shared)} smtpd services share a tag: " + ", ".join(one.service for one in shared)
    names = [one.service for one in shared] or ["submission"]
    return Advice(
        "syslog_name for each service",
        missing,
        min(mixed, found.count(to="smtpd", weak=True)),
        found.count(to="smtpd"),
        "links to smtpd",
        tuple(f"    -o syslog_name=postfix/{_name(one)}" for one in names),
        _where((one.place for one in shared), "master.cf"),
        "Below the service's line; then its lines are not taken for another's.",
    )


def _name(service: str) -> str:
    """A name for a service of master.cf: its port, without the address in front."""
    return service.rpartition(":")[2]


def _quoted(log_format: str) -> str:
    return log_format.replace("\\", "\\\\").replace('"', '\\"')


def _where(places: Iterator[Place], otherwise: str) -> str:
    named = dict.fromkeys(str(place) for place in places)
    return ", ".join(named) or otherwise


def _counted(columns: list[pa.Array]) -> Iterator[tuple[tuple[str | None, ...], int]]:
    """How often each combination of texts occurs."""
    names = [str(number) for number in range(len(columns))]
    counts = pa.table(columns, names=names).group_by(names).aggregate([([], "count_all")])
    for row in counts.to_pylist():
        yield tuple(row[name] for name in names), row["count_all"]


def _true(mask: pa.BooleanArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
