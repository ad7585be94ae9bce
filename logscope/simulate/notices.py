"""What the balancers log about the servers themselves: DOWN and UP, when faults take them down.

A handful of lines, written one by one by the grammar's renderer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.render import render_kind
from logscope.simulate.plan import NOTICED_S, down_times
from logscope.simulate.shapes import HAPROXY_PID, envelope
from logscope.simulate.site import BACKENDS, Options
from logscope.syslog.priority import LOCAL0

_SECOND = 1_000_000_000
_WENT = {
    "check_reason": "Layer4 connection problem",
    "check_info": "Connection refused",
    "check_duration_ms": 0,
    "server_sessions": 0,
    "requeued_sessions": 0,
    "queued_sessions": 0,
}
_CAME = {
    "check_reason": "Layer4 check passed",
    "check_duration_ms": 0,
    "requeued_sessions": 0,
    "queued_sessions": 0,
}
_NOBODY = {"proxy_type": "backend", "backend_state": "has no server available!"}


@dataclass(frozen=True)
class Notice:
    """One line.

    Attributes:
        moment: ns, when it was logged.
        host: number of the host among servers and balancers.
        text: the line, its end included.
    """

    moment: int
    host: int
    text: bytes


def notices(options: Options, catalogue: Catalogue, stamps: str, zone: str) -> Iterator[Notice]:
    """The lines of all balancers that have the mail servers behind them, in the order of time."""
    first = len(options.servers) + (len(options.balancers) if options.inner else 0)
    severities = {template.kind: template.severity for template in catalogue.templates}
    for moment, kind, values in _changes(options):
        message = render_kind(catalogue, kind, values).decode()
        for number, balancer in enumerate(options.inner or options.balancers):
            before = envelope(
                stamps,
                LOCAL0,
                severities[kind],
                stamp=_stamp(moment, stamps, zone),
                host=balancer.name,
                service="haproxy",
                pid=HAPROXY_PID,
                message=message,
            )
            yield Notice(moment, first + number, render_kind(catalogue, *before) + b"\n")


def _changes(options: Options) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Moment, kind and fields of each change of a server's state."""
    events = []
    for fault in options.faults:
        for start_s, stop_s, server in down_times(fault, options):
            if start_s + NOTICED_S < stop_s:
                events.append((start_s + NOTICED_S, False, server))
                if stop_s < options.duration_s:
                    events.append((stop_s, True, server))
    up = set(range(len(options.servers)))
    for at_s, comes, server in sorted(events):
        if (server in up) == comes:
            continue  # two faults at once
        (up.add if comes else up.discard)(server)
        moment = options.start_ns + round(at_s * 1e3) * 1_000_000
        for backend in BACKENDS:
            values: dict[str, Any] = {
                "backend": backend,
                "server": options.servers[server].name,
                "active_servers": len(up),
                "backup_servers": 0,
            }
            values |= {"server_state": "UP", **_CAME} if comes else {"server_state": "DOWN", **_WENT}
            yield moment, "haproxy.server_state", values
            if not up:
                yield moment, "haproxy.backend_state", {**_NOBODY, "backend": backend}


def _stamp(moment: int, stamps: str, zone: str) -> str:
    """A stamp for the renderer; the year of those that have none is 2000."""
    when = datetime.fromtimestamp(moment // _SECOND, UTC)
    if stamps != "bsd":
        return when.replace(tzinfo=None).isoformat()
    return when.astimezone(ZoneInfo(zone)).replace(tzinfo=None, year=2000).isoformat()
