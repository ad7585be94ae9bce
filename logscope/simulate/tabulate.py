"""The session table in one pass: all that a reader can tell of each session, as numbers and codes.

`tabulate` looks at each session once and fills matrices, a row for each column of the table and a place for
each session that left a line somewhere. Arrow's columns are views of their rows (`tables`). What there is
none of is -1 in codes and indices, `NULL` in numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SCREEN_TESTS, V_NONE
from logscope.engine import kernel
from logscope.simulate.layout import *
from logscope.simulate.memory import Memory
from logscope.simulate.simulation import Block
from logscope.simulate.texts import COUNTED, count_commands

Matrix = NDArray[np.int64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]
Indices = NDArray[np.int32]

# Codes into lists of words.
(
    X_KNOWN_FROM, X_DESTINATION, X_MASKED, X_BALANCER, X_PORTAL, X_SERVER, X_MTA_HOST, X_SERVICE,
    X_TERMINATION, X_SCREEN, X_TLS, X_SASL, X_OUTCOME, X_CONFIDENCE, X_BEHAVIOUR, X_SMTPD,
    X_WIDTH,
) = range(17)  # fmt: skip
# Indices into what is known of each client (`clients`), and the session's row.
I_CLIENT, I_PEER, I_TRUE_CLIENT, I_NAME, I_ROW, I_WIDTH = range(6)
# Numbers.
(
    N_SESSION, N_CLIENT_PORT, N_PEER_PORT, N_ACCEPTED, N_MTA_CONNECTED, N_ENDED, N_QUEUE, N_CONNECT,
    N_DURATION, N_BYTES, N_RETRIES, N_RANK, N_MESSAGES, N_FAULT,
    N_WIDTH,
) = range(15)  # fmt: skip
# Lists: where those of each session begin, and what is in them.
L_BALANCERS, L_HOPS, L_LINKS, L_TESTS, L_COMMANDS, L_REJECTS, L_QUEUE_IDS, L_LISTS = range(8)
IN_BALANCERS, IN_HOPS, IN_FROM, IN_TO, IN_METHOD, IN_TESTS, IN_COMMANDS, IN_WIDTH = range(8)

# What holds for the site, Z_…
Z_SCREEN, Z_SMTPD_PORTS, Z_BACKEND_PORT, Z_SERVERS, Z_BALANCERS, Z_INNER, Z_CLIENTS, Z_WIDTH = range(8)

OUTCOME_OF_STATE = np.array([0, 9, 11, 12, 12, 10, 9, 11, 11])
"""Of sessions that only the balancer saw, by TERMINATIONS."""
KNOWN_BY = np.array([0, 3, 0, 0, 4, 5])
"""Words of `client_known_from` by how a session is joined whose client the mail server does not see."""
METHODS = ("address_port", "backend_port", "order", "queue_id", "timing", "header_text")
KNOWN_FROM = ("none", "balancer", "proxy_header", "backend_port", "timing", "header_text", "mta")
MOST_IN_A_LIST = max(5, len(COUNTED), len(SCREEN_TESTS))


@dataclass(frozen=True)
class SessionRows:
    """The matrices; only the first `count` places are of sessions.

    Attributes:
        offsets: of each list the place of its first item, one more than there are sessions.
        items: of the lists.
        commands: of each item of L_COMMANDS how many were accepted, and given.
        refused: row of the session of each item of L_REJECTS.
        brought: row of the message of each item of L_QUEUE_IDS.
    """

    count: int
    codes: Codes
    indices: Indices
    numbers: Ints
    offsets: Indices
    items: Codes
    commands: Ints
    refused: Indices
    brought: Indices


def rows_of(
    block: Block, site: Ints, who: Indices, named: Indices, run: object, memory: Memory
) -> SessionRows:
    """The session table of a block.

    Args:
        site: Z_….
        who, named: of each client and then of each balancer the place of its address and of its name.
        run: `tabulate`, compiled or not.
    """
    s = block.sessions.T
    room = len(s)
    rows = (
        memory.empty((X_WIDTH, room), np.int8),
        memory.empty((I_WIDTH, room), np.int32),
        memory.empty((N_WIDTH, room), np.int64),
        np.zeros((L_LISTS, room + 1), np.int32),
        memory.empty((IN_WIDTH, MOST_IN_A_LIST * room), np.int8),
        memory.empty((2 * len(COUNTED) * room,), np.int64),
        memory.empty((int(s[:, S_REJECT_COUNT].sum()),), np.int32),
        memory.empty((int(s[:, S_MESSAGES].sum()),), np.int32),
    )
    count = run(s, site, who, named, *rows, np.zeros((2, len(COUNTED)), np.int64))  # type: ignore[operator]
    return SessionRows(int(count), *rows)


@kernel
def tabulate(
    s: Matrix,
    site: Ints,
    who: Indices,
    named: Indices,
    codes: Codes,
    indices: Indices,
    numbers: Ints,
    offsets: Indices,
    items: Codes,
    commands: Ints,
    refused: Indices,
    brought: Indices,
    counted: Matrix,
) -> int:
    """Fill the matrices of `SessionRows`; returns how many sessions left a line somewhere."""
    row = 0
    for i in range(s.shape[0]):
        by_balancer = s[i, S_BALANCER] >= 0 and s[i, S_LOST] & 1 == 0
        by_mta = s[i, S_CONNECTED] != NULL and s[i, S_LOST] & 2 == 0
        if s[i, S_HEADER] == H_MISSING and s[i, S_SMTPD_AT] == NULL:
            by_mta = False  # postscreen's complaint names nobody
        if not (by_balancer or by_mta):
            continue
        by_screen = by_mta and s[i, S_SERVICE] == 0 and site[Z_SCREEN] > 0
        by_smtpd = by_mta and s[i, S_SMTPD_AT] != NULL
        means = other_means(s, i, site, by_screen)
        put_client(
            s, i, row, site, who, named, codes, indices, numbers, by_balancer, by_mta, by_screen, means
        )
        put_places(s, i, row, site, codes, by_balancer, by_mta, by_screen)
        put_times(s, i, row, numbers, by_balancer, by_mta, by_screen)
        put_dialogue(s, i, row, codes, numbers, by_balancer, by_mta, by_screen, by_smtpd)
        put_hops(s, i, row, site, offsets, items, by_balancer, by_screen, by_smtpd, by_mta, means)
        put_lists(s, i, row, site, offsets, items, by_balancer, by_screen)
        put_commands(s, i, row, offsets, items, commands, counted, by_smtpd)
        put_rows(s, i, row, offsets, refused, brought, by_mta)
        row += 1
    return row


@kernel
def other_means(s: Matrix, i: int, site: Ints, by_screen: bool) -> int:
    """How a session is joined whose client the mail server does not see: by the header that came where none
    was expected, else by the balancer's port where both log it, else by time; of METHODS.
    """
    if s[i, S_HEADER] == H_UNEXPECTED:
        return 5
    if (by_screen or site[Z_SMTPD_PORTS] > 0) and site[Z_BACKEND_PORT] > 0:
        return 1
    return 4


@kernel
def put_client(
    s: Matrix,
    i: int,
    row: int,
    site: Ints,
    who: Indices,
    named: Indices,
    codes: Codes,
    indices: Indices,
    numbers: Ints,
    by_balancer: bool,
    by_mta: bool,
    by_screen: bool,
    means: int,
) -> None:
    """Who it is, and whom the mail server sees."""
    client = s[i, S_CLIENT]
    passed = s[i, S_HEADER] == H_PASSED
    front = site[Z_CLIENTS] + max(s[i, S_BALANCER], 0)
    if site[Z_INNER] > 0:
        front = site[Z_CLIENTS] + site[Z_BALANCERS] + s[i, S_NUMBER] % site[Z_INNER]
    peer = client if passed else front
    known = by_balancer or (by_mta and passed)
    ports = by_screen or site[Z_SMTPD_PORTS] > 0
    indices[I_ROW, row] = i
    indices[I_TRUE_CLIENT, row] = who[client]
    indices[I_CLIENT, row] = who[client] if known else -1
    indices[I_PEER, row] = who[peer] if by_mta else -1
    indices[I_NAME, row] = named[peer] if by_mta and s[i, S_SMTPD_AT] != NULL else -1
    numbers[N_CLIENT_PORT, row] = s[i, S_PORT] if by_balancer or (ports and known) else NULL
    numbers[N_PEER_PORT, row] = NULL
    if by_mta and ports:
        numbers[N_PEER_PORT, row] = s[i, S_PORT] if passed else s[i, S_BACK_PORT]
    origin = 0
    if by_balancer and by_mta:
        origin = 2 if passed else KNOWN_BY[means]
    elif by_balancer:
        origin = 1
    elif known:
        origin = 6
    codes[X_KNOWN_FROM, row] = origin
    masked = -1
    if by_mta and (by_balancer or not passed):
        masked = 0 if passed else 1
    codes[X_MASKED, row] = masked


@kernel
def put_places(
    s: Matrix, i: int, row: int, site: Ints, codes: Codes, by_balancer: bool, by_mta: bool, by_screen: bool
) -> None:
    """Balancer, proxies, server, and where the client wanted to go."""
    server = s[i, S_SERVER]
    codes[X_BALANCER, row] = s[i, S_BALANCER] if by_balancer else -1
    codes[X_PORTAL, row] = s[i, S_SERVICE] if by_balancer else -1
    codes[X_SERVER, row] = server if by_balancer else -1
    codes[X_MTA_HOST, row] = server if by_mta else -1
    service = -1
    if by_mta:
        service = 2 if s[i, S_SERVICE] == 1 else 0 if by_screen else 1
    codes[X_SERVICE, row] = service
    destination = -1
    if by_screen:
        header = s[i, S_HEADER]
        if header in (H_MASKED, H_UNEXPECTED) or s[i, S_BALANCER] < 0:
            destination = server
        elif s[i, S_HI] == 0 and s[i, S_LO] >> 32 == 0xFFFF:
            destination = site[Z_SERVERS]
        else:
            destination = site[Z_SERVERS] + 1
    codes[X_DESTINATION, row] = destination
    codes[X_TERMINATION, row] = s[i, S_TERMINATION] if by_balancer else -1


@kernel
def host_clock(moment: int, skew: int) -> int:
    """A moment by the server's own clock, whole microseconds."""
    if moment == NULL:
        return NULL
    return int((moment + skew) // MICROSECOND * MICROSECOND)


@kernel
def put_times(
    s: Matrix, i: int, row: int, numbers: Ints, by_balancer: bool, by_mta: bool, by_screen: bool
) -> None:
    """When, and how long."""
    skew = s[i, S_SKEW]
    start = host_clock(s[i, S_CONNECTED] if by_screen else s[i, S_SMTPD_AT], skew)
    numbers[N_MTA_CONNECTED, row] = start if by_mta else NULL
    if by_balancer:
        numbers[N_ACCEPTED, row] = s[i, S_AT]
        numbers[N_ENDED, row] = s[i, S_AT] + s[i, S_DURATION] * MILLISECOND
        numbers[N_QUEUE, row] = s[i, S_QUEUE] if s[i, S_QUEUE] >= 0 else NULL
        numbers[N_CONNECT, row] = s[i, S_CONNECT] if s[i, S_CONNECT] >= 0 else NULL
        numbers[N_DURATION, row] = s[i, S_DURATION]
        numbers[N_BYTES, row] = s[i, S_BYTES]
        numbers[N_RETRIES, row] = s[i, S_RETRIES]
        return
    for column in (N_ACCEPTED, N_QUEUE, N_CONNECT, N_DURATION, N_BYTES, N_RETRIES):
        numbers[column, row] = NULL
    end = host_clock(s[i, S_SMTPD_END] if s[i, S_SMTPD_END] != NULL else s[i, S_SCREEN_END], skew)
    numbers[N_ENDED, row] = end
    if start != NULL and end != NULL:
        numbers[N_DURATION, row] = (end - start) // MILLISECOND


@kernel
def put_dialogue(
    s: Matrix,
    i: int,
    row: int,
    codes: Codes,
    numbers: Ints,
    by_balancer: bool,
    by_mta: bool,
    by_screen: bool,
    by_smtpd: bool,
) -> None:
    """What was said, and what came of it: without the mail server's lines only what the balancer's say."""
    numbers[N_SESSION, row] = s[i, S_NUMBER]
    numbers[N_RANK, row] = s[i, S_RANK] if by_screen and s[i, S_RANK] > 0 else NULL
    numbers[N_MESSAGES, row] = s[i, S_QUEUED] if by_smtpd else 0
    numbers[N_FAULT, row] = s[i, S_FAULT] if s[i, S_FAULT] >= 0 else NULL
    codes[X_SCREEN, row] = s[i, S_VERDICT] if by_screen else V_NONE
    codes[X_TLS, row] = 0 if by_smtpd and s[i, S_TLS] > 0 else -1
    codes[X_SASL, row] = 0 if by_smtpd and s[i, S_USER] >= 0 else -1
    codes[X_SMTPD, row] = 0 if by_smtpd else -1
    codes[X_BEHAVIOUR, row] = s[i, S_BEHAVIOUR]
    outcome = s[i, S_OUTCOME]
    if not by_mta and s[i, S_SERVER] >= 0:
        outcome = OUTCOME_OF_STATE[s[i, S_TERMINATION]]
    codes[X_OUTCOME, row] = outcome
    codes[X_CONFIDENCE, row] = 1 if (by_balancer and by_mta) or (by_screen and by_smtpd) else 0


@kernel
def put_hops(
    s: Matrix,
    i: int,
    row: int,
    site: Ints,
    offsets: Indices,
    items: Codes,
    by_balancer: bool,
    by_screen: bool,
    by_smtpd: bool,
    by_mta: bool,
    means: int,
) -> None:
    """The hops that saw it, and the links between them: exact ones, since this reader is perfect."""
    at = offsets[L_HOPS, row]
    to = offsets[L_LINKS, row]
    if by_balancer:
        items[IN_HOPS, at] = 0
        at += 1
        if by_mta:
            items[IN_FROM, to] = 0
            items[IN_TO, to] = 1 if by_screen else 2
            items[IN_METHOD, to] = 0 if s[i, S_HEADER] == H_PASSED else means
            to += 1
    if by_screen:
        items[IN_HOPS, at] = 1
        at += 1
        if by_smtpd:
            items[IN_FROM, to] = 1
            items[IN_TO, to] = 2
            items[IN_METHOD, to] = 0 if site[Z_SMTPD_PORTS] > 0 else 2
            to += 1
    if by_smtpd:
        items[IN_HOPS, at] = 2
        at += 1
        if s[i, S_MESSAGES] > 0:
            items[IN_HOPS, at] = 3
            at += 1
            items[IN_FROM, to] = 2
            items[IN_TO, to] = 3
            items[IN_METHOD, to] = 3
            to += 1
        if s[i, S_QUEUED] > 0:
            items[IN_HOPS, at] = 4
            at += 1
            items[IN_FROM, to] = 3
            items[IN_TO, to] = 4
            items[IN_METHOD, to] = 3
            to += 1
    offsets[L_HOPS, row + 1] = at
    offsets[L_LINKS, row + 1] = to


@kernel
def put_lists(
    s: Matrix,
    i: int,
    row: int,
    site: Ints,
    offsets: Indices,
    items: Codes,
    by_balancer: bool,
    by_screen: bool,
) -> None:
    """The balancers of a chain, the outermost first, and the tests that failed."""
    at = offsets[L_BALANCERS, row]
    if by_balancer:
        items[IN_BALANCERS, at] = s[i, S_BALANCER]
        at += 1
        if site[Z_INNER] > 0:
            items[IN_BALANCERS, at] = site[Z_BALANCERS] + s[i, S_NUMBER] % site[Z_INNER]
            at += 1
    offsets[L_BALANCERS, row + 1] = at
    at = offsets[L_TESTS, row]
    tests = s[i, S_TESTS] if by_screen else 0
    bit = 0
    while tests > 0:
        if tests & 1:
            items[IN_TESTS, at] = bit
            at += 1
        tests >>= 1
        bit += 1
    offsets[L_TESTS, row + 1] = at


@kernel
def put_commands(
    s: Matrix,
    i: int,
    row: int,
    offsets: Indices,
    items: Codes,
    commands: Ints,
    counted: Matrix,
    by_smtpd: bool,
) -> None:
    at = offsets[L_COMMANDS, row]
    if by_smtpd:
        count_commands(s, i, counted)
        for command in range(counted.shape[1]):
            if counted[1, command] > 0:
                items[IN_COMMANDS, at] = command
                commands[2 * at] = counted[0, command]
                commands[2 * at + 1] = counted[1, command]
                at += 1
    offsets[L_COMMANDS, row + 1] = at


@kernel
def put_rows(
    s: Matrix, i: int, row: int, offsets: Indices, refused: Indices, brought: Indices, by_mta: bool
) -> None:
    """Of those with many refusals all are alike."""
    at = offsets[L_REJECTS, row]
    if by_mta and s[i, S_REJECT] > 0:
        for _ in range(s[i, S_REJECT_COUNT]):
            refused[at] = i
            at += 1
    offsets[L_REJECTS, row + 1] = at
    at = offsets[L_QUEUE_IDS, row]
    if by_mta:
        for n in range(s[i, S_MESSAGES]):
            brought[at] = s[i, S_FIRST_MESSAGE] + n
            at += 1
    offsets[L_QUEUE_IDS, row + 1] = at
