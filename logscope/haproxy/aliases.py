"""What each `%alias` of a HAProxy log-format prints, as a piece of a template.

The table follows the aliases of HAProxy's configuration manual ("Custom log format", section 8.2.6 since
2.5, 8.2.4 before), removed spellings included. Field names are those of `grammars/haproxy.toml`, so a custom
format gives the same columns as a stock one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Shape(Enum):
    """How a value is printed."""

    NUMBER = auto()  # digits, -1 for "never came to that"
    COUNT = auto()  # digits
    CODE = auto()  # digits, nothing when there is none
    PADDED = auto()  # digits with leading zeros
    TOTAL = auto()  # digits, "+" in front under `option logasap` (or, for retries, after a redispatch)
    ADDRESS = auto()  # an address, "unix" for a local socket, nothing when unknown
    PORT = auto()  # a port, the listener's id for a local socket, nothing when unknown
    LOCAL_DATE = auto()  # dd/Mon/yyyy:hh:mm:ss.mmm without a zone
    ZONED_DATE = auto()  # dd/Mon/yyyy:hh:mm:ss +zzzz
    SECONDS = auto()  # Unix time
    NAME = auto()  # a name without blanks
    STATE = auto()  # the same, but never quoted
    TRANSPORT = auto()  # a name, "~" behind it when the listener does TLS
    TEXT = auto()  # anything
    CAPTURES = auto()  # {a|b}, or nothing at all when nothing is captured
    CAPTURE_LIST = auto()  # one word for each capture, or nothing at all
    REQUEST = auto()  # method, URI and version, or <BADREQ>
    NOTHING = auto()  # carries flags only


@dataclass(frozen=True, slots=True)
class Alias:
    """One alias.

    Attributes:
        field: name of the field it fills.
        shape: how it is printed.
        http: whether it says something of HTTP; a format with such an alias is one of requests, not of
            sessions.
        plus: name of the flag field of a `+`, for TOTAL.
        sample: the sample fetch that prints the same; `%[bc_src]` is `%bi`.
        hexadecimal: whether `+X` changes it.
    """

    field: str
    shape: Shape
    http: bool = False
    plus: str = ""
    sample: str = ""
    hexadecimal: bool = False

    @property
    def quotable(self) -> bool:
        """Whether `+Q` puts quotes around it; numbers, dates and states never get them."""
        return self.shape in _QUOTABLE


_QUOTABLE = frozenset(
    {
        Shape.ADDRESS,
        Shape.NAME,
        Shape.TRANSPORT,
        Shape.TEXT,
        Shape.CAPTURES,
        Shape.CAPTURE_LIST,
        Shape.REQUEST,
    }
)

ALIASES: dict[str, Alias] = {
    # addresses and ports
    "ci": Alias("client_address", Shape.ADDRESS, sample="src", hexadecimal=True),
    "cp": Alias("client_port", Shape.PORT, sample="src_port", hexadecimal=True),
    "fi": Alias("frontend_address", Shape.ADDRESS, sample="dst", hexadecimal=True),
    "fp": Alias("frontend_port", Shape.PORT, sample="dst_port", hexadecimal=True),
    "bi": Alias("source_address", Shape.ADDRESS, sample="bc_src", hexadecimal=True),
    "bp": Alias("source_port", Shape.PORT, sample="bc_src_port", hexadecimal=True),
    "si": Alias("server_address", Shape.ADDRESS, sample="bc_dst", hexadecimal=True),
    "sp": Alias("server_port", Shape.PORT, sample="bc_dst_port", hexadecimal=True),
    # names
    "f": Alias("frontend", Shape.NAME, sample="fe_name"),
    "ft": Alias("frontend", Shape.TRANSPORT),
    "b": Alias("backend", Shape.NAME, sample="be_name"),
    "s": Alias("server", Shape.NAME, sample="srv_name"),
    "H": Alias("balancer_host", Shape.NAME, sample="hostname"),
    "ID": Alias("unique_id", Shape.TEXT, sample="unique-id"),
    "OG": Alias("log_origin", Shape.NAME),
    # dates
    "t": Alias("accepted_at", Shape.LOCAL_DATE),
    "T": Alias("accepted_at_utc", Shape.ZONED_DATE),
    "Tl": Alias("accepted_at_utc", Shape.ZONED_DATE),
    "Ts": Alias("accepted_at_utc", Shape.SECONDS, sample="accept_date", hexadecimal=True),
    "ms": Alias("accepted_ms", Shape.PADDED, hexadecimal=True),
    "tr": Alias("requested_at", Shape.LOCAL_DATE, http=True),
    "trg": Alias("requested_at_utc", Shape.ZONED_DATE, http=True),
    "trl": Alias("requested_at_utc", Shape.ZONED_DATE, http=True),
    # timers, milliseconds
    "Ta": Alias("duration_ms", Shape.TOTAL, http=True, plus="total_plus"),
    "Tc": Alias("connect_ms", Shape.NUMBER, sample="bc.timer.connect"),
    "Td": Alias("transfer_ms", Shape.NUMBER, sample="res.timer.data"),
    "Th": Alias("handshake_ms", Shape.NUMBER, sample="fc.timer.handshake"),
    "Ti": Alias("idle_ms", Shape.NUMBER, http=True, sample="req.timer.idle"),
    "Tq": Alias("request_ms", Shape.NUMBER, http=True, sample="req.timer.tq"),
    "TR": Alias("request_ms", Shape.NUMBER, http=True, sample="req.timer.hdr"),
    "Tr": Alias("response_ms", Shape.NUMBER, http=True, sample="res.timer.hdr"),
    "Tt": Alias("duration_ms", Shape.TOTAL, plus="total_plus", sample="fc.timer.total"),
    "Tu": Alias("user_ms", Shape.TOTAL, plus="user_plus", sample="txn.timer.user"),
    "Tw": Alias("queue_ms", Shape.NUMBER, sample="req.timer.queue"),
    # counts
    "ac": Alias("process_connections", Shape.COUNT, sample="act_conn"),
    "fc": Alias("frontend_connections", Shape.COUNT, sample="fe_conn"),
    "bc": Alias("backend_connections", Shape.COUNT, sample="be_conn"),
    "sc": Alias("server_connections", Shape.COUNT),
    "rc": Alias("retries", Shape.TOTAL, plus="retries_plus"),
    "sq": Alias("server_queue", Shape.COUNT, sample="bc_srv_queue"),
    "bq": Alias("backend_queue", Shape.COUNT, sample="bc_be_queue"),
    "B": Alias("bytes_to_client", Shape.TOTAL, plus="bytes_plus", sample="res.bytes_in"),
    "U": Alias("bytes_to_server", Shape.TOTAL, plus="upload_plus", sample="req.bytes_in"),
    "lc": Alias("log_counter", Shape.COUNT, hexadecimal=True),
    "rt": Alias("request_counter", Shape.COUNT, sample="txn.id32", hexadecimal=True),
    "pid": Alias("process_id", Shape.COUNT, sample="pid", hexadecimal=True),
    # states
    "ts": Alias("termination_state", Shape.STATE, sample="txn.sess_term_state"),
    "tsc": Alias("termination_state", Shape.STATE, http=True),
    "sslv": Alias("tls_protocol", Shape.NAME, sample="ssl_fc_protocol"),
    "sslc": Alias("tls_cipher", Shape.NAME, sample="ssl_fc_cipher"),
    # HTTP
    "ST": Alias("http_status", Shape.NUMBER, http=True, sample="txn.status"),
    "CC": Alias("request_cookie", Shape.TEXT, http=True),
    "CS": Alias("response_cookie", Shape.TEXT, http=True),
    "hr": Alias("request_headers", Shape.CAPTURES, http=True),
    "hs": Alias("response_headers", Shape.CAPTURES, http=True),
    "hrl": Alias("request_headers", Shape.CAPTURE_LIST, http=True),
    "hsl": Alias("response_headers", Shape.CAPTURE_LIST, http=True),
    "HM": Alias("http_method", Shape.TEXT, http=True, sample="method"),
    "HP": Alias("http_path", Shape.TEXT, http=True),
    "HPO": Alias("http_path_only", Shape.TEXT, http=True),
    "HQ": Alias("http_query", Shape.TEXT, http=True, sample="query"),
    "HU": Alias("http_uri", Shape.TEXT, http=True),
    "HV": Alias("http_version", Shape.TEXT, http=True, sample="req.ver"),
    "r": Alias("http_request", Shape.REQUEST, http=True),
    "o": Alias("", Shape.NOTHING),
}

REMOVED: dict[str, str] = {
    "Bi": "bi",
    "Bp": "bp",
    "Ci": "ci",
    "Cp": "cp",
    "Fi": "fi",
    "Fp": "fp",
    "Si": "si",
    "Sp": "sp",
    "cc": "CC",
    "cs": "CS",
    "st": "ST",
}
"""Spellings accepted with a warning from 1.5 to 2.4 and refused since, each with today's."""

SAMPLES: dict[str, Alias] = {entry.sample: entry for entry in ALIASES.values() if entry.sample} | {
    # those of the HTTPS format and of the manual's error-log-format
    "fc_err": Alias("connection_error_code", Shape.CODE),
    "ssl_fc_err,hex": Alias("tls_error_code", Shape.TEXT),
    "ssl_c_err": Alias("client_certificate_error", Shape.CODE),
    "ssl_c_ca_err": Alias("client_ca_error", Shape.CODE),
    "ssl_fc_is_resumed": Alias("tls_resumed", Shape.CODE),
    "ssl_fc_sni": Alias("tls_sni", Shape.TEXT),
}
"""Sample fetches whose fields are known by name, most of them because an alias prints the same."""

ACTIVE_TIME = Alias("active_ms", Shape.TOTAL, http=True, plus="active_plus")
"""`%Ta` in a format that has `%Tt` too: the time of the request apart from that of the connection."""


def alias(name: str) -> Alias | None:
    """The entry of an alias written without its `%`, today's or a removed spelling; None when HAProxy has
    none such."""
    return ALIASES.get(REMOVED.get(name, name))
