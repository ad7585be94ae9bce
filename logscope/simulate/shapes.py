"""The kinds of line that the daemons of a site log, as shapes for the column writer; `lines` fills them.

The names E_… are their numbers, K_… the numbers that hold for all lines of a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.columns import COLUMN, ColumnWriter, Pattern
from logscope.simulate.layout import *
from logscope.simulate.texts import (
    DNSBL,
    TLS_CIPHER,
    TLS_PROTOCOL,
)
from logscope.syslog.priority import LOCAL0, MAIL, priority


@dataclass(frozen=True)
class Line:
    """A kind of line.

    Attributes:
        kind: of its template.
        columns: fields that vary, in the order of the text.
        same: the others.
    """

    kind: str
    columns: tuple[str, ...]
    same: Mapping[str, Any]


def _line(kind: str, *columns: str, **same: Any) -> Line:
    return Line(kind, columns, same)


_PEER = ("client_address", "client_port")
_NAMED = ("client_name", "client_address")
_CLAIMED = (
    "proxy_client_address", "proxy_destination_address", "proxy_client_port", "proxy_destination_port",
)  # fmt: skip
_DELAYS = ("delay_s", "delay_before_queue_s", "delay_in_queue_s", "delay_connect_s", "delay_transmit_s")
_ENVELOPE = ("sender", "recipient")
_RELAY = ("relay_host", "relay_address")

LINES: dict[str, Line] = {
    "connect": _line("postscreen.connect", *_PEER, "destination_address", "destination_port"),
    "pass_new": _line("postscreen.pass_new", *_PEER),
    "pass_old": _line("postscreen.pass_old", *_PEER),
    "allowlisted": _line("postscreen.allowlisted", *_PEER),
    "denylisted": _line("postscreen.denylisted", *_PEER),
    "pregreet": _line(
        "postscreen.pregreet", "text_length", "after_s", *_PEER, "helo",
        client_text=Pattern(r"EHLO {helo:word}\r\n"),
    ),
    "pregreet_v1": _line(
        "postscreen.pregreet_proxy_v1", "text_length", *_PEER, *_CLAIMED,
        after_s=0.0, proxy_protocol="TCP4", client_text="",
    ),
    "pregreet_v1_6": _line(
        "postscreen.pregreet_proxy_v1", "text_length", *_PEER, *_CLAIMED,
        after_s=0.0, proxy_protocol="TCP6", client_text="",
    ),
    "pregreet_v2": _line("postscreen.pregreet_proxy_v2", "text_length", *_PEER, "proxy_v2_text", after_s=0.0),
    "dnsblog": _line("dnsblog.listed", "client_address", list_domain=DNSBL[0], list_result="127.0.0.3"),
    "dnsblog_2": _line("dnsblog.listed", "client_address", list_domain=DNSBL[1], list_result="127.0.0.2"),
    "rank": _line("postscreen.dnsbl_rank", "dnsbl_rank", *_PEER),
    "screen_reject": _line(
        "postscreen.reject", *_PEER, "dsn", "reply", *_ENVELOPE, "helo",
        action="reject", stage="RCPT", reply_code=550, protocol="ESMTP",
    ),
    "hangup": _line("postscreen.hangup", "after_s", *_PEER, test_phase="tests before SMTP handshake"),
    "hangup_later": _line("postscreen.hangup", "after_s", *_PEER, test_phase="tests after SMTP handshake"),
    "no_header": _line("postscreen.haproxy_error", reason="time limit exceeded"),
    "screen_end": _line("postscreen.disconnect", *_PEER),
    "no_name": _line(
        "smtpd.hostname_mismatch", "number", "client_address",
        client_name=Pattern("pool{number:uint}.dyn.example"), reason="Name or service not known",
    ),
    "smtpd": _line("smtpd.connect", *_NAMED),
    "tls": _line(
        "smtpd.tls_established", *_NAMED, tls_level="Anonymous", tls_usage="established",
        tls_protocol=TLS_PROTOCOL, tls_cipher=TLS_CIPHER, tls_bits_used=256, tls_bits=256,
        key_exchange="X25519", server_signature="RSA-PSS", server_signature_bits=2048, server_digest="SHA256",
    ),
    "smtpd_no_header": _line("smtpd.haproxy_error", reason="timeout error"),
    "smtpd_header": _line(
        "smtpd.improper_pipelining_proxy_v1", *_NAMED, *_CLAIMED,
        stage="CONNECT", proxy_protocol="TCP4", client_text="",
    ),
    "smtpd_header_6": _line(
        "smtpd.improper_pipelining_proxy_v1", *_NAMED, *_CLAIMED,
        stage="CONNECT", proxy_protocol="TCP6", client_text="",
    ),
    "smtpd_header_v2": _line("smtpd.improper_pipelining_proxy_v2", *_NAMED, "proxy_v2_text", stage="CONNECT"),
    "sasl": _line(
        "smtpd.sasl_failed", *_NAMED, "sasl_username", sasl_method="PLAIN", reason="(reason unavailable)"
    ),
    "reject": _line(
        "smtpd.decision", *_NAMED, "reply_code", "dsn", "reply", *_ENVELOPE, "helo",
        action="reject", stage="RCPT", protocol="ESMTP",
    ),
    "lost_connect": _line("smtpd.lost_connection", *_NAMED, stage="CONNECT"),
    "lost_ehlo": _line("smtpd.lost_connection", *_NAMED, stage="EHLO"),
    "lost_rcpt": _line("smtpd.lost_connection", *_NAMED, stage="RCPT"),
    "lost_data": _line("smtpd.lost_connection", "byte_count", *_NAMED, stage="DATA"),
    "timeout": _line("smtpd.timeout", *_NAMED, stage="EHLO"),
    "too_many": _line("smtpd.too_many_errors", *_NAMED, stage="RCPT"),
    "end": _line("smtpd.disconnect", *_NAMED, "commands", "commands_ok"),
    "end_some": _line("smtpd.disconnect", *_NAMED, "commands", "commands_ok", "commands_all"),
    "client": _line("smtpd.client", "queue_id", *_NAMED),
    "client_login": _line("smtpd.client", "queue_id", *_NAMED, "sasl_username", sasl_method="PLAIN"),
    "message_id": _line("cleanup.message_id", "queue_id", "message_id"),
    "active": _line("qmgr.active", "queue_id", "sender", "size", "recipient_count", queue_name="active"),
    "removed": _line("qmgr.removed", "queue_id"),
    "virtual": _line(
        "virtual.delivery", "queue_id", "recipient", *_DELAYS, "reply",
        relay="virtual", dsn="2.0.0", status="sent",
    ),
    "sent": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="sent",
    ),
    "deferred": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="deferred",
    ),
    "bounced": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="bounced",
    ),
    "not_reached": _line(
        "smtp.delivery", "queue_id", "recipient", *_DELAYS, "dsn", "reply", relay="none", status="deferred"
    ),
    "notice": _line(
        "bounce.notification", "queue_id", "next_queue_id", notified="sender", notice="non-delivery"
    ),
}  # fmt: skip
"""All kinds of lines of the mail servers; those with `client_name` have a port where smtpd logs it."""

(
    E_CONNECT, E_PASS_NEW, E_PASS_OLD, E_ALLOWLISTED, E_DENYLISTED,
    E_PREGREET, E_PREGREET_V1, E_PREGREET_V1_6,
    E_PREGREET_V2, E_DNSBLOG, E_DNSBLOG_2, E_RANK, E_SCREEN_REJECT, E_HANGUP, E_HANGUP_LATER,
    E_NO_HEADER, E_SCREEN_END, E_NO_NAME, E_SMTPD, E_TLS, E_SMTPD_NO_HEADER, E_SMTPD_HEADER, E_SMTPD_HEADER_6,
    E_SMTPD_HEADER_V2, E_SASL, E_REJECT, E_LOST_CONNECT, E_LOST_EHLO, E_LOST_RCPT, E_LOST_DATA, E_TIMEOUT,
    E_TOO_MANY, E_END, E_END_SOME, E_CLIENT, E_CLIENT_LOGIN, E_MESSAGE_ID, E_ACTIVE, E_REMOVED, E_VIRTUAL,
    E_SENT, E_DEFERRED, E_BOUNCED, E_NOT_REACHED, E_NOTICE,
    E_BALANCER,
) = range(46)  # fmt: skip

_BALANCER = (
    *_PEER, "accepted_at", "frontend", "backend", "server", "queue_ms", "connect_ms", "duration_ms",
    "bytes_to_client", "termination_state", "process_connections", "frontend_connections",
    "backend_connections", "server_connections", "retries",
)  # fmt: skip
_SOURCE = ("source_address", "source_port")
_BEFORE = ("stamp", "host", "service", "pid")

WIDEST = 26
"""Slots that no row is longer than."""

# What a line is to the truth, in the lowest bits of its tag; above them the number of the host that logged
# it, and then that of the session.
TAG_NONE, TAG_BALANCER, TAG_SCREEN, TAG_SMTPD = range(4)
TAG_BITS = 2
HOST_BITS = 7
SESSION_SHIFT = TAG_BITS + HOST_BITS

# Columns of lines.
L_SHAPE, L_ROW, L_TIME, L_TAG, L_WIDTH = range(5)

MOST_HOSTS = 96
MOST_CHANGES = 64
MOST_WORDS = 512
# Numbers that hold all the time, K_…
(
    K_RESOLUTION,  # ns of the mail servers' stamps
    K_BALANCER_RESOLUTION,
    K_PORTS,  # 1: smtpd logs the client's port
    K_SOURCE,  # 1: the balancer logs its own address and port towards the server
    K_FORWARDED,  # 1: an inner balancer is told the client's address by the outer one
    K_VERSION,  # of the PROXY header
    K_SERVERS,
    K_BALANCERS,
    K_INNER,
    K_SCREEN,
    K_HOSTS,  # word of the short name of the first host
    K_CHANGES,  # how many there are of the hosts' clocks' offset from UTC
    K_WIDTHS,  # from here the slots of a row of each shape
) = range(13)
K_ADDRESSES = K_WIDTHS + E_BALANCER + 1  # lower halves of the addresses of servers and balancers
K_ZONES = K_ADDRESSES + MOST_HOSTS  # from when on which offset holds, both ns
K_SPANS = K_ZONES + 2 * MOST_CHANGES  # of the words
K_WIDTH = K_SPANS + MOST_WORDS

POSTSCREEN_PID, QMGR_PID, BOUNCE_PID, HAPROXY_PID = 8947, 8946, 8900, 3026
HAPROXY, POSTSCREEN, DNSBLOG, SMTPD, SUBMISSION, CLEANUP, QMGR, VIRTUAL, RELAY, SMTP, BOUNCE = range(11)
"""Order of `texts.SERVICES`."""


def make_shapes(
    writer: ColumnWriter, catalogue: Catalogue, *, stamps: str, ports: bool, source: bool
) -> list[int]:
    """Make the shapes of all lines, so that their numbers are those of E_…; returns the slots of each.

    Args:
        writer: a new one.
        stamps: what stands before the message: `bsd`, `rfc3339` or `rfc5424`.
        ports: `smtpd_client_port_logging`.
        source: whether the balancer's lines end in `%bi:%bp`.
    """
    severities = {template.kind: template.severity for template in catalogue.templates}
    widths: list[int] = []
    for number, line in enumerate(LINES.values()):
        columns = line.columns
        if ports and "client_name" in columns:
            at = columns.index("client_address") + 1
            columns = (*columns[:at], "client_port", *columns[at:])
        values = {**{name: COLUMN for name in columns if name != "number"}, **line.same}
        if "helo" in columns and "client_text" in line.same:
            del values["helo"]
        shape = writer.shape(line.kind, values, envelope(stamps, MAIL, severities[line.kind]))
        assert (shape.number, tuple(shape.slots)) == (number, (*_BEFORE, *columns)), (line, shape)
        widths.append(shape.width)
    columns = (*_BALANCER, *(_SOURCE if source else ()))
    values = {**dict.fromkeys(columns, COLUMN), "server_queue": 0, "backend_queue": 0}
    kind = "haproxy.tcp_session"
    shape = writer.shape(kind, values, envelope(stamps, LOCAL0, severities[kind]))
    assert (shape.number, tuple(shape.slots)) == (E_BALANCER, (*_BEFORE, *columns)), shape
    widths.append(shape.width)
    assert max(widths) <= WIDEST
    return widths


def envelope(stamps: str, facility: int, severity: str, **values: Any) -> tuple[str, dict[str, Any]]:
    """Kind and fields of what stands before a message; those that are not given are columns."""
    if stamps == "rfc5424":
        values |= {"priority": priority(facility, severity), "syslog_msgid": "-"}
    return f"envelope.{stamps}", {**dict.fromkeys(_BEFORE, COLUMN), **values}
