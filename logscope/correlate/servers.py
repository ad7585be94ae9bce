"""Which host each of a balancer's servers is, and how often its sessions are seen there at all.

A server that is called as a host calls itself is taken for that host until some sessions turn up elsewhere.
Names alone decide nothing, but where sessions are told apart by time, who begins with a wrong host finds
evidence for it.
"""

from __future__ import annotations

import math

from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

RARELY = 0.1  # sessions of a server are nearly all seen at its host, or nearly none
LINKS_KEPT = 256
NAMED = 16  # links that a server's name is worth
FIRM = 8  # links, and each stray takes half of them, from which on sessions are looked for at that host alone
OTHER_HOST = 12.0  # nats that a session costs which turns up elsewhere then
SEEN_KEPT = 4096
PERIOD = 16 * SECOND  # sessions that ended in the present one may still be linked


@kernel
def server_place(m: Memory, b: int) -> int:
    """Where the words of a balancer session's server are."""
    backend = max(m[b + B_BACKEND], -1)
    server = max(m[b + B_SERVER], -1)
    hashed = mix(mix(mix(19, backend), server), m[b + B_HOST] + 1)
    return int(m[SERVERS] + SERVER_WIDTH * (hashed & (SERVER_PLACES - 1)))


@kernel
def server_name(m: Memory, b: int) -> int:
    """What tells a server from others that have the same place."""
    backend = max(m[b + B_BACKEND], -1)
    server = max(m[b + B_SERVER], -1)
    return int((m[b + B_HOST] + 1) << 48 | (backend + 1) << 24 | (server + 1))


@kernel
def server_at(m: Memory, b: int) -> int:
    """The words of a balancer session's server, brought up to the present; a server met for the first time
    takes its place over.
    """
    at = server_place(m, b)
    name = server_name(m, b)
    if m[at + SERVER_NAME] != name:
        if m[at + SERVER_NAME] >= 0:
            give_back_list(m, m[at + SERVER_FIRST])
        m[at + SERVER_NAME] = name
        m[at + SERVER_HOST] = -1
        for i in range(SERVER_HOST + 1, SERVER_WIDTH):
            m[at + i] = 0
        for column in (SERVER_GROUP, SERVER_FIRST, SERVER_LAST):
            m[at + column] = -1
    period = m[NOW] // PERIOD
    if m[at + SERVER_PERIOD] != period:
        m[at + SERVER_SEEN] += m[at + SERVER_BEFORE]
        m[at + SERVER_BEFORE] = m[at + SERVER_PRESENT]
        if m[at + SERVER_PERIOD] + 1 != period:
            m[at + SERVER_SEEN] += m[at + SERVER_BEFORE]
            m[at + SERVER_BEFORE] = 0
        m[at + SERVER_PRESENT] = 0
        m[at + SERVER_PERIOD] = period
        if m[at + SERVER_SEEN] >= SEEN_KEPT:
            m[at + SERVER_SEEN] >>= 1
            m[at + SERVER_LINKED] >>= 1
            m[at + SERVER_BEHIND] >>= 1
    return int(at)


@kernel
def see_server(m: Memory, b: int, label: int) -> None:
    """Count a session that reached a server, once it is known that sessions can be linked at all.

    `label` is a hash of the server's short name, NULL where it has none.
    """
    m[REACHED] = 1
    at = server_at(m, b)
    m[at + SERVER_LABEL] = max(label, 0)
    if m[LINKED]:
        m[at + SERVER_PRESENT] += 1


@kernel
def note_label(m: Memory, host: int, label: int) -> None:
    """Remember how a mail host is called."""
    if 0 <= host < SKEW_HOSTS and label != NULL:
        m[m[LABELS] + host] = label


@kernel
def believe_name(m: Memory, at: int) -> None:
    """Take a server whose host nobody knows for the one host that has its name."""
    label = m[at + SERVER_LABEL]
    if m[at + SERVER_HOST] >= 0 or label == 0:
        return
    found = -1
    for host in range(SKEW_HOSTS):
        if m[m[LABELS] + host] == label:
            if found >= 0:
                return
            found = host
    if found >= 0:
        m[at + SERVER_HOST] = found
        m[at + SERVER_LINKS] = NAMED


@kernel
def note_host(m: Memory, b: int, host: int) -> None:
    """Remember where the sessions of a server turn up; that it moved is believed after some sessions."""
    at = server_at(m, b)
    behind = 1 if m[b + B_OUTER] >= 0 else 0
    m[LINKED] += 1
    m[CHAINED] += behind
    if m[LINKED] >= SEEN_KEPT:
        m[LINKED] >>= 1
        m[CHAINED] >>= 1
    m[at + SERVER_LINKED] += 1
    m[at + SERVER_BEHIND] += behind
    if m[b + B_SERVER] < 0:
        return
    believe_name(m, at)
    if m[at + SERVER_HOST] == host:
        m[at + SERVER_LINKS] = min(m[at + SERVER_LINKS] + 1, LINKS_KEPT)
        return
    m[at + SERVER_LINKS] >>= 1
    m[at + SERVER_STRAYS] = min(m[at + SERVER_STRAYS] + 1, LINKS_KEPT)
    if m[at + SERVER_LINKS] == 0:
        m[at + SERVER_HOST] = host
        m[at + SERVER_LINKS] = 1


@kernel
def usual_host(m: Memory, b: int) -> int:
    """Where the sessions of this one's server turn up, or would by its name; -1 where nothing tells."""
    at = server_at(m, b)
    believe_name(m, at)
    return int(m[at + SERVER_HOST])


@kernel
def firm_host(m: Memory, b: int) -> int:
    """The usual host once so many sessions tell it that no other is looked at; -1 before.

    A first link by time may be wrong, and nothing would ever speak against it if no other host were looked
    at.
    """
    usual = usual_host(m, b)
    return usual if m[server_at(m, b) + SERVER_LINKS] >= FIRM else -1


@kernel
def elsewhere_cost(m: Memory, b: int, host: int) -> float:
    """What it costs a session to be at a host, given where its server's sessions usually turn up."""
    usual = usual_host(m, b)
    if usual < 0 or usual == host:
        return 0.0
    at = server_at(m, b)
    links = m[at + SERVER_LINKS]
    if links >= FIRM:
        return OTHER_HOST
    strays = m[at + SERVER_STRAYS]
    return -math.log((strays + 0.5) / (links + strays + 1))


@kernel
def linked_share(m: Memory, b: int) -> float:
    """How often a session of this server is linked with any that a mail server saw: hardly ever where
    addresses are masked, or a host's log is not there.
    """
    return linked_share_at(m, server_at(m, b))


@kernel
def linked_share_at(m: Memory, at: int) -> float:
    linked = m[at + SERVER_LINKED]
    return float((linked + RARELY) / (max(m[at + SERVER_SEEN], linked) + 2 * RARELY))


@kernel
def host_cost(m: Memory, b: int, host: int) -> float:
    """That a session of this server is seen, and at this host."""
    return host_cost_at(m, server_at(m, b), host)


@kernel
def host_cost_at(m: Memory, at: int, host: int) -> float:
    links = m[at + SERVER_LINKS]
    strays = m[at + SERVER_STRAYS]
    here = 0.5
    if m[at + SERVER_HOST] >= 0:
        here = ((links if m[at + SERVER_HOST] == host else strays) + 0.5) / (links + strays + 1)
    return -math.log(linked_share_at(m, at) * here)


@kernel
def alone_cost(m: Memory, b: int) -> float:
    """That a session of this server is seen nowhere."""
    return -math.log(1.0 - linked_share(m, b))
