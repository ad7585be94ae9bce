"""Scanned rows to the events that the joins read: the one place where grammar fields meet join columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *
from logscope.correlate.tables import Bytes, Matrix, Vector, hash_bytes, mix
from logscope.engine import kernel
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.fields import Kind
from logscope.grammar.ops import MICROSECONDS, MILLISECONDS

# How a slot of the scanned row becomes an event column.
COPY, NAME, ENUM, TEXT, QUEUE, HEADER_V2 = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Plan:
    """What the joins take from one kind of line: its role, fixed values, and fields by event column."""

    role: int
    fixed: dict[int, int] = field(default_factory=dict)
    fields: dict[int, str] = field(default_factory=dict)


_CLIENT = {E_HI: "client_address", E_PORT: "client_port"}
_HEADER = {E_HI2: "proxy_client_address", E_PORT2: "proxy_client_port"}
_REFUSAL = {
    E_N2: "reply_code",
    E_N1: "stage",
    E_T1: "helo",
    E_T2: "dsn",
    E_T3: "reply",
    E_T4: "sender",
    E_T5: "recipient",
}
_MESSAGE = {E_QUEUE: "queue_id", E_T0: "queue_id"}
_DELIVERY = _MESSAGE | {
    E_HI: "relay_address", E_PORT: "relay_port", E_N0: "status", E_N1: "delay_s",
    E_N2: "delay_before_queue_s",
    E_N3: "delay_in_queue_s", E_N4: "delay_connect_s", E_N5: "delay_transmit_s", E_T1: "recipient",
    E_T2: "original_recipient", E_T3: "relay_host", E_T4: "reply", E_T5: "next_queue_id",
    E_HI2: "dsn", E_LO2: "tls_policy",
}  # fmt: skip


def _verdict(verdict: int) -> Plan:
    return Plan(R_SCREEN_VERDICT, {E_N0: verdict}, _CLIENT)


def _test(test: int, header: int = 0) -> Plan:
    return Plan(R_SCREEN_TEST, {E_N0: test, E_N1: header}, _CLIENT | (_HEADER if header else {}))


PLANS: dict[str, Plan] = {
    "haproxy.tcp_session": Plan(
        R_BALANCER,
        {},
        _CLIENT
        | {
            E_HI2: "source_address",
            E_PORT2: "source_port",
            E_N0: "accepted_at",
            E_N1: "queue_ms",
            E_N2: "connect_ms",
            E_N3: "duration_ms",
            E_N4: "total_plus",
            E_N5: "bytes_to_client",
            E_N6: "bytes_to_server",
            E_N7: "retries",
            E_N8: "frontend",
            E_N9: "backend",
            E_N10: "server",
            E_N11: "termination_state",
        },
    ),
    "postscreen.connect": Plan(
        R_SCREEN_CONNECT, {}, _CLIENT | {E_HI2: "destination_address", E_PORT2: "destination_port"}
    ),
    "postscreen.pass_new": _verdict(V_PASS_NEW),
    "postscreen.pass_old": _verdict(V_PASS_OLD),
    "postscreen.allowlisted": _verdict(V_ALLOWLISTED),
    "postscreen.denylisted": _verdict(V_DENYLISTED),
    "postscreen.pregreet": _test(TEST_PREGREET),
    "postscreen.pregreet_proxy_v1": _test(TEST_PREGREET, 1),
    "postscreen.pregreet_proxy_v2": _test(TEST_PREGREET, 2),
    "postscreen.command_pipelining": _test(TEST_PIPELINING),
    "postscreen.command_pipelining_proxy_v1": _test(TEST_PIPELINING, 1),
    "postscreen.command_pipelining_proxy_v2": _test(TEST_PIPELINING, 2),
    "postscreen.non_smtp_command": _test(TEST_NON_SMTP),
    "postscreen.non_smtp_command_proxy_v1": _test(TEST_NON_SMTP, 1),
    "postscreen.bare_newline": _test(TEST_BARE_NEWLINE),
    "postscreen.command_count_limit": _test(TEST_COMMAND_LIMIT),
    "postscreen.command_time_limit": _test(TEST_TIME_LIMIT),
    "postscreen.command_length_limit": _test(TEST_LENGTH_LIMIT),
    "postscreen.no_valid_recipient": _test(TEST_NO_RECIPIENT),
    "postscreen.dnsbl_rank": Plan(R_SCREEN_RANK, {}, _CLIENT | {E_N0: "dnsbl_rank"}),
    "postscreen.hangup": Plan(R_SCREEN_HANGUP, {}, _CLIENT),
    "postscreen.disconnect": Plan(R_SCREEN_DISCONNECT, {}, _CLIENT),
    "postscreen.reject": Plan(R_SCREEN_REJECT, {E_N0: 0}, _CLIENT | _REFUSAL),
    "postscreen.reject_connect": Plan(
        R_SCREEN_REJECT, {E_N0: 0, E_N3: TEST_CONNECTION_LIMIT}, _CLIENT | _REFUSAL
    ),
    "dnsblog.listed": Plan(R_DNSBLOG, {}, {E_HI: "client_address"}),
    "smtpd.connect": Plan(R_SMTPD_CONNECT, {}, _CLIENT | {E_T0: "client_name"}),
    "smtpd.disconnect": Plan(
        R_SMTPD_DISCONNECT, {}, _CLIENT | {E_T0: "commands", E_N0: "commands_ok", E_N1: "commands_all"}
    ),
    "smtpd.client": Plan(
        R_SMTPD_CLIENT, {}, _CLIENT | _MESSAGE | {E_N4: "sasl_method", E_T4: "sasl_username"}
    ),
    "smtpd.decision": Plan(R_SMTPD_DECISION, {}, _CLIENT | _REFUSAL | {E_N0: "action"}),
    "smtpd.milter_decision": Plan(R_SMTPD_DECISION, {}, _CLIENT | _REFUSAL | {E_N0: "action"}),
    "smtpd.proxy_decision": Plan(R_SMTPD_DECISION, {}, _CLIENT | _REFUSAL | {E_N0: "action"}),
    "smtpd.lost_connection": Plan(R_SMTPD_LOST, {E_N0: 1}, _CLIENT),
    "smtpd.timeout": Plan(R_SMTPD_LOST, {E_N0: 2}, _CLIENT),
    "smtpd.too_many_errors": Plan(R_SMTPD_LOST, {E_N0: 3}, _CLIENT),
    "smtpd.session_error": Plan(R_SMTPD_LOST, {E_N0: 1}, _CLIENT),
    "smtpd.tls_established": Plan(R_SMTPD_TLS, {}, _CLIENT | {E_N2: "tls_protocol", E_N3: "tls_cipher"}),
    "smtpd.sasl_failed": Plan(R_SMTPD_SASL, {}, _CLIENT | {E_N4: "sasl_method", E_T4: "sasl_username"}),
    "smtpd.improper_pipelining_proxy_v1": Plan(R_SMTPD_OTHER, {E_N1: 1}, _CLIENT | _HEADER),
    "smtpd.improper_pipelining_proxy_v2": Plan(R_SMTPD_OTHER, {E_N1: 2}, _CLIENT | _HEADER),
    "smtpd.non_smtp_command_proxy_v1": Plan(R_SMTPD_OTHER, {E_N1: 1}, _CLIENT | _HEADER),
    "smtpd.haproxy_error": Plan(R_SMTPD_OTHER, {E_N1: 3}, {}),
    "cleanup.message_id": Plan(R_MESSAGE_ID, {}, _MESSAGE | {E_T1: "message_id"}),
    "qmgr.active": Plan(
        R_QUEUE_ACTIVE, {}, _MESSAGE | {E_T1: "sender", E_N0: "size", E_N1: "recipient_count"}
    ),
    "qmgr.removed": Plan(R_QUEUE_REMOVED, {}, _MESSAGE),
    "qmgr.expired": Plan(R_QUEUE_OTHER, {E_N0: 4}, _MESSAGE),
}

# Enumerated words that the joins tell apart: the action of a decision (0 refuses) and the status of a
# delivery.
_ENUMS = {name: code for code, name in enumerate(STATUSES)} | {
    "reject": 0,
    "milter-reject": 0,
    "proxy-reject": 0,
    "SOFTBOUNCE": D_DEFERRED,
}


def plan_for(kind: str, fields: frozenset[str]) -> Plan | None:
    """The plan of a kind: its own, else one by the daemon and the fields it has; None when the joins have no
    use for it.
    """
    if kind in PLANS:
        return PLANS[kind]
    daemon, _, what = kind.partition(".")
    if what == "delivery":
        return Plan(R_DELIVERY, {}, _DELIVERY)
    if daemon in ("postscreen", "tlsproxy") and {"client_address", "client_port"} <= fields:
        return Plan(R_SCREEN_OTHER, {E_N0: -1, E_N1: 0}, _CLIENT)
    if daemon == "smtpd" or kind.startswith("postfix."):
        return Plan(R_SMTPD_OTHER, {E_N1: 0}, {key: name for key, name in _CLIENT.items() if name in fields})
    if "queue_id" in fields and daemon not in ("haproxy", "envelope", "anvil"):
        refused = "reject" in what
        held = what.endswith("hold")
        return Plan(
            R_QUEUE_OTHER,
            {E_N0: 1 if refused else 2 if held else 3 if what.endswith("discard") else 0},
            _MESSAGE,
        )
    return None


def slots_of(column: int, kind: Kind, slot: int) -> Iterator[tuple[int, int, int]]:
    """(event column, slot, how) for one field; an address fills two columns."""
    if kind is Kind.ADDRESS:
        yield column, slot, COPY
        yield column + 1, slot + 1, COPY
    elif column == E_QUEUE:
        yield column, slot, QUEUE
    elif kind is Kind.NAME:
        yield column, slot, NAME
    elif kind is Kind.ENUM:
        yield column, slot, ENUM
    elif kind in (Kind.TEXT, Kind.COUNTERS):
        yield column, slot, TEXT
    else:
        yield column, slot, COPY


class Plans:
    """The plans of all templates of one catalogue as arrays, the form in which `extract` reads them.

    `roles`, `kinds`: one entry for each template. `entries`: rows of (event column, slot, how); those of
    template t are `entries[first[t] : first[t + 1]]`, where a negative `how` marks a fixed value in place
    of the slot.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        roles: list[int] = []
        first: list[int] = [0]
        entries: list[tuple[int, int, int]] = []
        for template in catalogue.templates:
            slots = {
                name: int(catalogue.slot_of[template.id, catalogue.field_id(name)]) for name in template.types
            }
            plan = plan_for(template.kind, frozenset(slots))
            roles.append(plan.role if plan else R_NONE)
            if plan:
                entries += [(column, value, -1) for column, value in plan.fixed.items()]
                for column, name in plan.fields.items():
                    if name in slots:
                        kind = Kind(catalogue.fields[catalogue.field_id(name)].kind)
                        entries += slots_of(column, kind, slots[name])
                if template.kind.endswith("_proxy_v2") and "proxy_v2_text" in slots:
                    entries.append((E_HI2, slots["proxy_v2_text"], HEADER_V2))
            first.append(len(entries))
        self.roles = np.array(roles, np.int64)
        self.kinds = catalogue.kind_of.astype(np.int64)
        self.first = np.array(first, np.int64)
        self.entries = np.array(entries, np.int64).reshape(-1, 3)
        self._is_text = np.zeros((len(catalogue.kinds), E_WIDTH), np.bool_)
        for number, kind_code in enumerate(self.kinds.tolist()):
            for column, _, how in entries[first[number] : first[number + 1]]:
                self._is_text[kind_code, column] |= how == TEXT
        self.enum_values = np.array(
            [_ENUMS.get(text, D_OTHER) for text in catalogue.enum_texts] or [0], np.int64
        )

    def moved(self, events: Matrix, by: int) -> Matrix:
        """Events for a pool in which their bytes begin that much further on."""
        if by == 0:
            return events
        texts = self._is_text[events[:, E_KIND]] & (events != NULL)
        result: Matrix = events + np.where(texts, by << 24, 0)
        return result


@kernel
def extract(
    template: NDArray[np.int32],
    start: Vector,
    arena: Vector,
    first_row: int,
    last_row: int,
    stamp: Vector,
    time: Vector,
    accepted: Vector,
    order: Vector,
    stamp_kind: NDArray[np.int8],
    host: NDArray[np.int32],
    host_number: Vector,
    host_hash: Vector,
    service: NDArray[np.int32],
    pid: Vector,
    source: int,
    first_line: int,
    roles: Vector,
    kinds: Vector,
    first: Vector,
    entries: Matrix,
    enum_values: Vector,
    names: Vector,
    labels: Vector,
    server_labels: Vector,
    pool: Bytes,
    base: int,
    out: Matrix,
) -> int:
    """Write the rows `first_row` to `last_row` that the joins have a use for to `out`; returns how many.

    `stamp` is the time as written, `time` in UTC, `accepted` HAProxy's accept date in UTC, `order` the
    running maximum of `time`; `names` has the run's own codes of the scanner's names, `labels` what hosts of
    these names are called, and `server_labels` the hosts that servers of these names are; `host_number` and
    `host_hash` are what hosts are known by, from the one without a name (-1) on: numbers depend on what is
    read first, hashes do not; `base` is where the scanned chunk begins in `pool`.
    """
    count = 0
    for row in range(first_row, last_row):
        t = template[row]
        if t < 0 or roles[t] == R_NONE or time[row] == NULL:
            continue
        e = out[count]
        e[:] = NULL
        e[E_ORDER] = order[row]
        e[E_TIME] = time[row]
        e[E_STAMP] = stamp[row]
        e[E_COARSE] = 1 if stamp_kind[row] & (MILLISECONDS | MICROSECONDS) == 0 else 0
        e[E_ROLE] = roles[t]
        e[E_KIND] = kinds[t]
        e[E_SOURCE] = source
        e[E_LINE] = first_line + row
        e[E_HOST] = host_number[host[row] + 1]
        e[E_SERVICE] = names[service[row]]
        e[E_PID] = pid[row]
        for i in range(first[t], first[t + 1]):
            column = entries[i, 0]
            how = entries[i, 2]
            if how < 0:
                e[column] = entries[i, 1]
                continue
            value = arena[start[row] + entries[i, 1]]
            if value == NULL:
                continue
            if how == COPY:
                e[column] = value
            elif how == NAME:
                e[column] = names[value]
            elif how == ENUM:
                e[column] = enum_values[value]
            else:
                begin = base + (value >> 32)
                length = value & 0xFFFFFFFF
                if how == TEXT:
                    e[column] = (begin << 24) | min(length, 0xFFFF)
                elif how == QUEUE:
                    e[column] = hash_bytes(pool, begin, length)
                else:
                    header_v2(pool, begin, length, e)
        if roles[t] == R_BALANCER:
            e[E_N0] = accepted[row]
            if e[E_N10] >= 0:
                e[E_QUEUE] = server_labels[e[E_N10]]
        elif (roles[t] == R_SCREEN_CONNECT or roles[t] == R_SMTPD_CONNECT) and host[row] >= 0:
            e[E_QUEUE] = labels[names[host[row]]]
        elif roles[t] == R_SMTPD_DISCONNECT and e[E_T0] != NULL:
            e[E_QUEUE] = mix(hash_bytes(pool, e[E_T0] >> 24, e[E_T0] & 0xFFFFFF), host_hash[host[row] + 1])
        count += 1
    return count


@kernel
def header_v2(pool: Bytes, begin: int, length: int, e: Vector) -> None:
    """Read the client out of an escaped PROXY v2 header (PROXY protocol, section 2.2); a cut or odd one
    gives nothing.

    Postfix writes bytes as themselves, as C escapes or as three octal digits.
    """
    raw = np.zeros(64, np.uint8)
    count = 0
    i = begin
    end = begin + length
    while i < end and count < 64:
        byte = pool[i]
        i += 1
        if byte == 92 and i < end:  # backslash
            byte = pool[i]
            i += 1
            if 48 <= byte <= 55 and i + 1 < end:
                raw[count] = ((byte - 48) * 64 + (pool[i] - 48) * 8 + (pool[i + 1] - 48)) & 255
                i += 2
            elif byte == 110:
                raw[count] = 10
            elif byte == 114:
                raw[count] = 13
            elif byte == 116:
                raw[count] = 9
            elif byte == 97:
                raw[count] = 7
            elif byte == 98:
                raw[count] = 8
            elif byte == 102:
                raw[count] = 12
            elif byte == 118:
                raw[count] = 11
            else:
                raw[count] = byte
        else:
            raw[count] = byte
        count += 1
    at = 0
    if count > 2 and (raw[0] == 0x11 or raw[0] == 0x21) and raw[1] == 0:
        at = -1  # what came before this was taken for commands
    while 0 <= at < count - 4 and not (
        raw[at] == 0x21 and (raw[at + 1] == 0x11 or raw[at + 1] == 0x21) and raw[at + 2] == 0
    ):
        at += 1  # version 2 and PROXY, TCP over IPv4 or IPv6
    wide = 16 if raw[at + 1] == 0x21 else 4
    at += 4
    if at + 2 * wide + 2 > count:
        return
    hi = np.int64(0)
    lo = np.int64(0)
    if wide == 4:
        lo = np.int64(0xFFFF)
        for k in range(4):
            lo = (lo << 8) | np.int64(raw[at + k])
    else:
        for k in range(8):
            hi = (hi << 8) | np.int64(raw[at + k])
            lo = (lo << 8) | np.int64(raw[at + 8 + k])
    e[E_HI2] = hi
    e[E_LO2] = lo
    e[E_PORT2] = (np.int64(raw[at + 2 * wide]) << 8) | np.int64(raw[at + 2 * wide + 1])
