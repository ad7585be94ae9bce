"""What else the logs show of a target's listener, beside the verdict: each looks like masking, or opens a
way for it.

A document each: `kind`, `severity`, `count`, `text`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import SECOND
from logscope.detect.company import ENOUGH
from logscope.detect.header_lines import DIED
from logscope.detect.header_lines import REFUSED as REFUSED_LINES
from logscope.detect.sample import Sample
from logscope.detect.signals import NEVER, Signals
from logscope.detect.tally import PRIVATE, Node, Peer, Tally
from logscope.detect.targets import Target

Document = dict[str, Any]

EDGE_NS = 60 * SECOND
"""So near to where the balancer's log begins and ends, sessions may be missing there."""
REGULAR = 0.25
"""Deviation from the usual distance, as a share of it, that most of what comes by the clock keeps to."""


def signs(
    target: Target, stand_ins: Collection[str], passed: bool, tally: Tally, signals: Signals
) -> list[Document]:
    """Of one target.

    Args:
        stand_ins: addresses that the mail server saw in its clients' place.
        passed: whether it saw its clients in nearly all sessions.
    """
    node = target.node
    if node is None:
        return []
    peers = {address: peer for address, peer in tally.peers.get(node, {}).items() if address}
    return [
        *_dying(node, signals),
        *_claimed(target, node, peers, stand_ins, signals),
        *(_without_header(node, signals) if passed else ()),
        *_checks(node, peers),
        *_rolling_out(target, peers, stand_ins),
    ]


def _dying(node: Node, signals: Signals) -> Iterator[Document]:
    """smtpd ends with a fatal error when a header names no client."""
    some = [one for one in signals.lines if one.meaning == DIED and Node(one.mta_host, one.service) == node]
    count = sum(one.count for one in some)
    if count < ENOUGH:
        return
    every = _period(some[0].sample) if len(some) == 1 else None
    pace = f", every {_seconds(every)}" if every else ""
    text = (
        f"{count} processes of {node.service or 'smtpd'} died of a PROXY header that names no client{pace}. "
        "HAProxy's health checks send one where the server line has send-proxy-v2 and check-send-proxy; "
        "master then holds the service back, and mail waits. With `send-proxy` (version 1) they name an "
        "address."
    )
    examples = [vars(example) for one in some for example in one.examples[:1]]
    yield _document("smtpd_dies", "critical", count, text, period_s=every, examples=examples)


def _checks(node: Node, peers: Mapping[str, Peer]) -> Iterator[Document]:
    """Health checks that reach the listener: they look like the balancer's sessions and are none."""
    for address, peer in peers.items():
        if peer.probes < ENOUGH:
            continue
        every = _period(peer.checks)
        pace = f" every {_seconds(every)}" if every else ""
        text = (
            f"{peer.probes} health checks of {address} reached {node.service or 'the listener'}{pace}. They "
            "are no "
            "clients, and no masking."
        )
        yield _document("health_checks", "info", peer.probes, text, source=address, period_s=every)


def _without_header(node: Node, signals: Signals) -> Iterator[Document]:
    """Somebody connects without a header to a listener that waits for one."""
    lines = [
        one
        for one in signals.lines
        if one.meaning == REFUSED_LINES and Node(one.mta_host, one.service) == node
    ]
    count = sum(one.count for one in lines)
    if not count:
        return
    every = _period(lines[0].sample) if len(lines) == 1 else None
    if every:
        told = (
            f"They come every {_seconds(every)}, as health checks do: let the checks send the header "
            "(check-send-proxy)."
        )
    else:
        told = "Whoever else reaches this port can claim any address: see that only the balancers can."
    where = node.service or "the listener"
    text = f"{count} connections to {where} brought no PROXY header or a bad one. {told}"
    yield _document("without_header", "warning", count, text, period_s=every)


def _claimed(
    target: Target, node: Node, peers: Mapping[str, Peer], stand_ins: Collection[str], signals: Signals
) -> Iterator[Document]:
    """Sessions that had a header, for they were told the public address, and that no balancer logged."""
    public = {name for cell in target.cells.values() for name in cell.destinations}
    own = {name for address in stand_ins if address in peers for name in peers[address].destinations}
    logged = [signals.balancer_hosts.get(name, NEVER) for name in target.cells]
    firsts = [one.first for one in logged if one.first is not None]
    lasts = [one.last for one in logged if one.last is not None]
    if not public or public & own or not firsts or not lasts or target.alone:
        return
    inside = min(firsts) + EDGE_NS, max(lasts) - EDGE_NS
    found: dict[str, int] = {}
    for address, peer in peers.items():
        if not peer.masked and public & set(peer.destinations):
            starts = peer.sample.times()[:, 0]
            found[address] = int(((starts > inside[0]) & (starts < inside[1])).sum())
    count = sum(found.values())
    inner = sorted(address for address, some in found.items() if some and re.match(PRIVATE, address))
    if count < ENOUGH and not inner:
        return
    claim = f", {', '.join(inner[:3])} among them," if inner else ""
    text = (
        f"{count} sessions came to {node.service or 'the listener'} with a PROXY header{claim} and are in no "
        "balancer's "
        "log. Suspected: another balancer whose log was not given, lines that were lost, or a forged header. "
        "On "
        f"{node.mta_host or 'the mail server'}, `ss -tn state established` shows who connects there; anybody "
        "but a "
        "balancer must be kept out."
    )
    severity = "critical" if inner else "warning"
    yield _document("claimed", severity, count, text, suspected=True, addresses=sorted(found)[:20])


def _rolling_out(target: Target, peers: Mapping[str, Peer], stand_ins: Collection[str]) -> Iterator[Document]:
    """Visible and masked sessions that name different addresses as where they came to."""
    public = {name for cell in target.cells.values() for name in cell.destinations}
    hidden = {name for cell in target.cells.values() for name in cell.hidden_destinations}
    hidden |= {name for address in stand_ins if address in peers for name in peers[address].destinations}
    if public and hidden and not public & hidden:
        text = (
            f"Sessions with their client's address came to {', '.join(sorted(public))}, those with the "
            "balancer's to "
            f"{', '.join(sorted(hidden))}: some of the ways here send the header and some do not yet."
        )
        yield _document("rolling_out", "info", len(hidden), text)


def _document(kind: str, severity: str, count: int, text: str, **more: Any) -> Document:
    return {"kind": kind, "severity": severity, "count": count, "text": text, **more}


def _period(sample: Sample) -> float | None:
    """Seconds between moments that come by the clock; None where they do not."""
    starts: NDArray[np.int64] = sample.times()[:, 0]
    apart: NDArray[np.float64] = np.diff(np.sort(starts)).astype(np.float64) / SECOND
    if len(apart) < 2 * ENOUGH:
        return None
    usual = float(np.median(apart))
    # Stamps may have whole seconds.
    near = np.abs(apart - usual) <= max(1.0, REGULAR * usual)
    return round(usual, 1) if usual > 0 and near.mean() >= 1 - REGULAR else None


def _seconds(period_s: float) -> str:
    return f"{period_s:g} s"
