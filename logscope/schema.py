"""The names, types and units of the tables: one place that the joins fill, the outputs keep and the
documentation lists.

Types: `text`, `address` (canonical text, IPv4-mapped IPv6 unmapped), `int`, `float`, `bool`, `time` (UTC,
nanoseconds), `list of X`, `map`, and structs spelled `{name: type, ...}`. Every value but a key may be null.
"""

from __future__ import annotations

from dataclasses import dataclass

OUTCOMES = (
    "unknown",
    "delivered",
    "partly_delivered",
    "accepted",
    "deferred",
    "bounced",
    "rejected",
    "screened",
    "no_mail",
    "aborted",
    "timeout",
    "server_error",
    "no_server",
    "probe",
    "open",
)
CLIENT_KNOWN_FROM = ("none", "balancer", "proxy_header", "backend_port", "timing", "header_text", "mta")
HOPS = ("balancer", "screen", "smtpd", "queue", "delivery")


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    meaning: str


EVENTS = (
    Column("source", "text", "file or listener the line came from"),
    Column("line_number", "int", "counted from 1 in its source"),
    Column("logged_at", "time", "the line's stamp in UTC; null where it has none"),
    Column("resolution", "text", "of the stamp: s, ms, us, ns"),
    Column("host", "text", "who logged it"),
    Column("service", "text", "the whole syslog tag, such as postfix/submission/smtpd"),
    Column("program", "text", "its last part, such as smtpd"),
    Column("pid", "int", "process id; counted by each host on its own"),
    Column("kind", "text", "what the line says: <program>.<what>, unparsed or foreign"),
    Column("structured", "bool", "every part that varies is a typed field"),
    Column("repeat_count", "int", "more than 1 for `message repeated N times`"),
    Column(
        "structured_data",
        "list of {id: text, name: text, value: text}",
        "what a line of RFC 5424 has before its message; name and value are null of an element without any",
    ),
    Column("fields", "map", "the typed fields of the kind"),
    Column("reason", "text", "why the line was not understood; of others the reason that they give"),
    Column("raw", "text", "the line itself, for lines that were not understood"),
)

SESSIONS = (
    Column(
        "session_id",
        "text",
        "hash of the anchor line's raw stamp, host, program, pid and client address and port",
    ),
    Column("client_address", "address", "the true client as best known; null while masked and not recovered"),
    Column("client_port", "int", "its port"),
    Column("client_known_from", "text", "one of " + ", ".join(CLIENT_KNOWN_FROM)),
    Column("client_name", "text", "host name that the mail server found for the peer"),
    Column("peer_address", "address", "what the mail server logged"),
    Column("peer_port", "int", "what the mail server logged"),
    Column("destination_logged", "text", "what postscreen logged after `to`"),
    Column("masked", "bool", "the mail server saw the balancer instead of the client"),
    Column("balancer", "text", "host that wrote the balancer's line"),
    Column("balancers", "list of text", "all balancers of a chain, outermost first"),
    Column("frontend", "text", "HAProxy's frontend"),
    Column("backend", "text", "HAProxy's backend"),
    Column("server", "text", "HAProxy's server; null where none was reached"),
    Column("mta_host", "text", "host that wrote the mail server's lines"),
    Column("service", "text", "syslog tag of the listener: postscreen's, else smtpd's"),
    Column("accepted_at", "time", "by the balancer"),
    Column("mta_connected_at", "time", "CONNECT or connect at the mail server"),
    Column("ended_at", "time", "by the balancer, else by the mail server"),
    Column("queue_ms", "int", "ms in HAProxy's queue"),
    Column("connect_ms", "int", "ms to connect to the server"),
    Column("duration_ms", "int", "ms from accept to end"),
    Column("bytes_to_client", "int", "bytes from server to client, as HAProxy counted"),
    Column("bytes_to_server", "int", "bytes from client to server, where the log format has them"),
    Column("retries", "int", "of connecting to the server"),
    Column("termination_state", "text", "HAProxy's two letters"),
    Column("screen", "text", "postscreen's verdict"),
    Column("screen_tests", "list of text", "tests of postscreen that failed"),
    Column("dnsbl_rank", "int", "postscreen's DNSBL score"),
    Column("helo", "text", "as far as a line named it"),
    Column("tls_protocol", "text", "such as TLSv1.3"),
    Column("tls_cipher", "text", ""),
    Column("sasl_method", "text", ""),
    Column("sasl_username", "text", ""),
    Column("commands", "map", "smtpd's counters at disconnect: command to [accepted, all]"),
    Column(
        "rejects",
        "list of {stage: text, code: int, dsn: text, text: text, sender: text, recipient: text}",
        "refusals, in order",
    ),
    Column("queue_ids", "list of text", "of the messages of this session, in order"),
    Column("message_count", "int", "messages that reached the queue"),
    Column("outcome", "text", "one of " + ", ".join(OUTCOMES)),
    Column("hops", "list of text", "hops that were seen, of " + ", ".join(HOPS)),
    Column(
        "links",
        "list of {from: text, to: text, method: text, confidence: text, probability: float}",
        "one for each pair of hops joined",
    ),
    Column("join_confidence", "text", "of the weakest link: exact, probable, ambiguous or none"),
    Column(
        "events", "list of {source: text, line_number: int}", "the lines this session was put together from"
    ),
)

AMENDS = Column(
    "amends",
    "list of text",
    "ids under which this session, or parts of it, were handed out before; of live runs alone",
)

MESSAGES = (
    Column("mta_host", "text", "host of the queue"),
    Column("queue_id", "text", ""),
    Column("queued_at", "time", "first line of this life of the id"),
    Column("session_id", "text", "session that brought it; null for mail from elsewhere"),
    Column("message_id", "text", "Message-ID without brackets"),
    Column("sender", "text", "envelope sender"),
    Column("size", "int", "bytes"),
    Column("recipient_count", "int", "nrcpt"),
    Column("removed_at", "time", "left the queue"),
    Column(
        "final_status",
        "text",
        "sent, partly_sent, deferred, bounced, expired, discarded, held, rejected, open, unknown",
    ),
    Column("next_queue_id", "text", "id under which the next hop took it"),
)

DELIVERIES = (
    Column("mta_host", "text", ""),
    Column("queue_id", "text", ""),
    Column("queued_at", "time", ""),
    Column("logged_at", "time", ""),
    Column("recipient", "text", ""),
    Column("original_recipient", "text", "before aliasing (orig_to)"),
    Column("relay_host", "text", ""),
    Column("relay_address", "address", ""),
    Column("relay_port", "int", ""),
    Column("delay_s", "float", "seconds since arrival"),
    Column("delay_before_queue_s", "float", "seconds before the queue manager"),
    Column("delay_in_queue_s", "float", "seconds in the queue manager"),
    Column("delay_connect_s", "float", "seconds of connection set-up"),
    Column("delay_transmit_s", "float", "seconds of transmission"),
    Column("dsn", "text", "RFC 3463 status"),
    Column("status", "text", ""),
    Column("reply", "text", ""),
    Column("tls", "text", "tls= of Postfix 3.11"),
)

FINDINGS = (
    Column("finding_id", "text", "the same for the same finding in another run"),
    Column("kind", "text", "what it is; docs/anomalies.md lists the kinds"),
    Column("severity", "text", "critical, warning or info"),
    Column(
        "scope",
        "text",
        "where: fleet, or balancer, listener, server, client, network, user, destination and its name",
    ),
    Column("since", "time", "when it began"),
    Column("until", "time", "when it ended; null while it goes on"),
    Column("detected_at", "time", "when there was enough evidence"),
    Column("measure", "text", "what `observed` and `expected` are counts, shares or medians of"),
    Column("observed", "float", ""),
    Column("expected", "float", ""),
    Column("expected_low", "float", "from here …"),
    Column("expected_high", "float", "… to here would be ordinary"),
    Column("explanation", "text", "a sentence"),
    Column("doubt", "text", "what would make it wrong"),
    Column("remedy", "list of text", "what to do next"),
    Column("evidence", "text", "contributors, signs, sessions and the series behind it, as JSON"),
)

TABLES = {
    "sessions": SESSIONS,
    "live_sessions": (*SESSIONS, AMENDS),
    "messages": MESSAGES,
    "deliveries": DELIVERIES,
    "events": EVENTS,
}
