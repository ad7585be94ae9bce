"""The message and delivery tables in one pass, as `tabulate` makes the session table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.simulate.faults import DESTINATIONS
from logscope.simulate.layout import *
from logscope.simulate.memory import Memory
from logscope.simulate.simulation import Block
from logscope.simulate.tabulate import Codes, Ints, Matrix, host_clock
from logscope.simulate.texts import LENGTH, SPAN

# Numbers of messages and of deliveries; codes of both.
NM_QUEUED, NM_REMOVED, NM_SIZE, NM_RECIPIENTS, NM_SESSION, NM_NEXT, NM_ROW, NM_WIDTH = range(8)
ND_QUEUED, ND_LOGGED, ND_MESSAGE, ND_ROW, ND_WIDTH = range(5)
XM_HOST, XM_STATUS, XM_WIDTH = range(3)
XD_HOST, XD_STATUS, XD_RELAY, XD_DSN, XD_WIDTH = range(5)
DELAYS = (D_DELAY, D_BEFORE_QUEUE, D_IN_QUEUE, D_CONNECT, D_TRANSMIT)

REPLY_DSNS = tuple(dict.fromkeys(REPLY_DSN))
DSN_CODES = np.array([REPLY_DSNS.index(dsn) for dsn in REPLY_DSN])
NEXT_ID = 9
"""Characters of the queue id at the end of what a next hop says that took a message."""


@dataclass(frozen=True)
class MailRows:
    """The matrices of messages and of deliveries."""

    messages: int
    deliveries: int
    message_numbers: Ints
    message_codes: Codes
    numbers: Ints
    codes: Codes
    delays_s: NDArray[np.float64]


def mail_rows_of(block: Block, run: object, memory: Memory) -> MailRows:
    """The message and delivery tables of a block that has its texts; `run` is `tabulate_mail`."""
    s, m, d = block.rows
    messages, deliveries = len(m), len(d)
    arrays = (
        memory.empty((NM_WIDTH, messages), np.int64),
        memory.empty((XM_WIDTH, messages), np.int8),
        memory.empty((ND_WIDTH, deliveries), np.int64),
        memory.empty((XD_WIDTH, deliveries), np.int8),
        memory.empty((len(DELAYS), deliveries), np.float64),
    )
    counts = run(s, m, d, *arrays)  # type: ignore[operator]
    return MailRows(int(counts[0]), int(counts[1]), *arrays)


@kernel
def tabulate_mail(
    s: Matrix,
    m: Matrix,
    d: Matrix,
    message_numbers: Ints,
    message_codes: Codes,
    numbers: Ints,
    codes: Codes,
    delays_s: NDArray[np.float64],
) -> tuple[int, int]:
    """Fill the matrices of `MailRows`; returns how many messages and deliveries the logs show."""
    messages = 0
    deliveries = 0
    for k in range(m.shape[0]):
        if m[k, M_LOST] & 2:
            continue
        skew = m[k, M_SKEW]
        message_numbers[NM_ROW, messages] = k
        message_numbers[NM_QUEUED, messages] = host_clock(m[k, M_QUEUED], skew)
        message_numbers[NM_REMOVED, messages] = host_clock(m[k, M_REMOVED], skew)
        message_numbers[NM_SIZE, messages] = m[k, M_SIZE]
        message_numbers[NM_RECIPIENTS, messages] = m[k, M_RECIPIENTS]
        session = m[k, M_SESSION]
        message_numbers[NM_SESSION, messages] = s[session, S_NUMBER] if session >= 0 else NULL
        message_codes[XM_HOST, messages] = m[k, M_SERVER]
        message_codes[XM_STATUS, messages] = m[k, M_STATUS]
        next_id = NULL
        at = NULL
        if m[k, M_DELIVERIES] > 0:
            for row in range(m[k, M_FIRST_DELIVERY], m[k, M_FIRST_DELIVERY] + m[k, M_DELIVERIES]):
                if d[row, D_NEXT] != NULL and d[row, D_AT] >= at:
                    at = d[row, D_AT]  # of several the last one
                    said = d[row, D_SAID]
                    end = (said >> SPAN) + (said & LENGTH)
                    next_id = (end - NEXT_ID) << SPAN | NEXT_ID
        message_numbers[NM_NEXT, messages] = next_id
        messages += 1
    for row in range(d.shape[0]):
        k = d[row, D_MESSAGE]
        if m[k, M_LOST] & 2:
            continue
        skew = m[k, M_SKEW]
        numbers[ND_ROW, deliveries] = row
        numbers[ND_MESSAGE, deliveries] = k
        numbers[ND_QUEUED, deliveries] = host_clock(m[k, M_QUEUED], skew)
        numbers[ND_LOGGED, deliveries] = host_clock(d[row, D_AT], skew)
        codes[XD_HOST, deliveries] = m[k, M_SERVER]
        codes[XD_STATUS, deliveries] = d[row, D_STATUS]
        codes[XD_RELAY, deliveries] = relay(d[row, D_AGENT], d[row, D_DESTINATION], d[row, D_REPLY])
        codes[XD_DSN, deliveries] = DSN_CODES[d[row, D_REPLY]]
        for n in range(delays_s.shape[0]):
            delays_s[n, deliveries] = d[row, DELAYS[n]] / 1e6
        deliveries += 1
    return messages, deliveries


@kernel
def relay(agent: int, place: int, reply: int) -> int:
    """The next hop: 0 the inner host, then the destinations, then those of senders' domains; -1: none."""
    if agent == A_VIRTUAL or reply == Y_TIMEOUT:
        return -1
    if agent == A_RELAY:
        return 0
    return 1 + place if place >= 0 else DESTINATIONS - place
