"""The scanner: rows, lines of every shape, dispatch by tag, growth, threads, and time in proportion to
the input.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.grammar import ops
from logscope.grammar.build import build
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import NULL, Names
from logscope.grammar.scan import Scanner
from logscope.grammar.source import from_mapping

from .conftest import ENVELOPE, buffer_of, in_envelope, make_catalogue, outcome

CONNECT = b"connect from unknown[192.0.2.10]"
SESSION = b"192.0.2.10:41522 [22/Nov/2026:08:41:56.123] ft_smtp bk_mx/mx1 1/0/8312 1954 -- 7/5/3/2/0 0/0"


@pytest.fixture(params=["interpreter", "kernel"])
def scanner(request: pytest.FixtureRequest, catalogue: Catalogue) -> Scanner:
    """Each engine in turn."""
    return Scanner(catalogue, compiled=request.param == "kernel")


def kinds(scanner: Scanner, *lines: bytes) -> list[str]:
    rows = scanner.scan_bytes(b"\n".join(lines))
    return [rows.kind(row) for row in range(rows.count)]


def test_a_row(scanner: Scanner) -> None:
    rows = scanner.scan_bytes(in_envelope(CONNECT) + b" \r\n")
    assert rows.count == 1
    assert rows.kind(0) == "smtpd.connect"
    assert rows.values(0) == {"client_name": "unknown", "client_address": "192.0.2.10"}
    assert (rows.line(0), rows.message(0)) == ((in_envelope(CONNECT) + b" \r").decode(), CONNECT.decode())
    assert rows.stamp[0] == 974884737 * 10**9
    assert rows.stamp_kind[0] == ops.YEARLESS
    assert (rows.names.text(rows.host[0]), rows.names.text(rows.service[0])) == ("mx-a", "postfix/smtpd")
    assert (rows.pid[0], rows.repeat_count[0], rows.consumed) == (42, 1, len(in_envelope(CONNECT)) + 3)


def test_columns(scanner: Scanner) -> None:
    """Vectorised access and surface values say the same."""
    rows = scanner.scan_bytes(
        b"\n".join([in_envelope(CONNECT), b"rubbish", in_envelope(SESSION, b"haproxy")])
    )
    catalogue = rows.catalogue
    assert rows.column("client_address") == ["192.0.2.10", None, "192.0.2.10"]
    assert rows.column("client_port") == [None, None, 41522]
    assert rows.column("no_such_field") == [None] * 3
    assert rows.integers(catalogue.field_id("client_port")).tolist() == [NULL, NULL, 41522]
    assert rows.addresses(catalogue.field_id("client_address"))[1].tolist() == [
        0xFFFF_C000_020A,
        NULL,
        0xFFFF_C000_020A,
    ]
    assert rows.text(catalogue.field_id("client_name")).to_pylist() == ["unknown", None, None]
    assert rows.text(catalogue.field_id("backend")).to_pylist() == [None, None, "bk_mx"]
    assert rows.text(catalogue.field_id("client_port")).to_pylist() == [None, None, "41522"]
    assert rows.messages().to_pylist() == [CONNECT.decode(), "rubbish", SESSION.decode()]
    named = [catalogue.kinds[code] if code >= 0 else int(code) for code in rows.kind_codes()]
    assert named == ["smtpd.connect", ops.UNPARSED, "haproxy.tcp_session"]


def test_invalid_utf8_is_flagged_and_escaped(scanner: Scanner) -> None:
    lines = [b"connect from \xff[192.0.2.1]", "connect from é[192.0.2.1]".encode(), CONNECT]
    rows = scanner.scan_bytes(b"\n".join(in_envelope(line) for line in lines))
    assert rows.not_utf8.tolist() == [1, 0, 0]
    assert rows.text(rows.catalogue.field_id("client_name")).to_pylist() == [r"\xff", "é", "unknown"]
    assert rows.column("client_name") == [r"\xff", "é", "unknown"]
    rows.text(rows.catalogue.field_id("client_name")).validate(full=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xc3",
        b"\xf0\x9f\x98",
    ],
)
def test_malformed_utf8(data: bytes, scanner: Scanner) -> None:
    assert scanner.scan_bytes(b"x" + data + b"\n" + data + b"x\n").not_utf8.tolist() == [1, 1]


@pytest.mark.parametrize("text", ["é", "€", "\U0001f600", "\ud7ff", "\ue000", "\U0010ffff"])
def test_well_formed_utf8(text: str, scanner: Scanner) -> None:
    assert scanner.scan_bytes((text * 9).encode()).not_utf8.tolist() == [0]


@pytest.mark.parametrize(
    ("tag", "message", "kind"),
    [
        (b"postfix/smtpd", CONNECT, "smtpd.connect"),
        (b"postfix/submission/smtpd", CONNECT, "smtpd.connect"),
        (b"haproxy/postscreen", b"CONNECT from [192.0.2.1]:2 to [192.0.2.3]:4", "postscreen.connect"),
        (b"postfix/smtpd", b"a line of no known kind", "unparsed"),
        (b"postfix/brandnewd", b"a line of no known kind", "unparsed"),
        (b"haproxy", SESSION, "haproxy.tcp_session"),
        (b"haproxy", b"a line of no known kind", "unparsed"),
        (b"lb-eu-1", SESSION, "haproxy.tcp_session"),
        (b"lb-eu-1", b"Proxy ft_smtp started.", "foreign"),
        (b"CRON", b"(root) CMD (true)", "foreign"),
        (b"dovecot/imap", b"a line of no known kind", "foreign"),
    ],
)
def test_the_tag_chooses_the_grammar(scanner: Scanner, tag: bytes, message: bytes, kind: str) -> None:
    assert kinds(scanner, in_envelope(message, tag)) == [kind]


def test_lines_without_an_envelope(scanner: Scanner) -> None:
    """HAProxy writes lines without any (`format raw`); others cannot be told from rubbish."""
    assert kinds(scanner, SESSION, CONNECT, b"", b"Nov 22", b"\0\0\0") == [
        "haproxy.tcp_session",
        *["unparsed"] * 4,
    ]


def test_repeated_messages(scanner: Scanner) -> None:
    rows = scanner.scan_bytes(in_envelope(b"message repeated 3 times: [ " + CONNECT + b"]"))
    assert (rows.kind(0), rows.repeat_count[0], rows.message(0)) == ("smtpd.connect", 3, CONNECT.decode())


def test_an_unfinished_line_is_left_for_later(scanner: Scanner) -> None:
    first = in_envelope(CONNECT) + b"\n"
    data = buffer_of(first + b"Nov 22")
    rows = scanner.scan(data, 0, len(data), final=False)
    assert (rows.count, rows.consumed) == (1, len(first))
    rows = scanner.scan(data, rows.consumed, len(data), final=True)
    assert (rows.count, rows.consumed) == (1, len(data))
    assert scanner.scan(data, len(data), len(data), final=True).count == 0


def test_part_of_a_buffer(scanner: Scanner) -> None:
    """Positions are positions in the buffer, and what lies outside the range is not seen."""
    line = in_envelope(CONNECT)
    for before in range(9):
        data = buffer_of(b"\n" * before + line + b"\nNov 22")
        rows = scanner.scan(data, before, before + len(line) + 1, final=True)
        assert (rows.count, rows.line_start[0], rows.line_end[0]) == (1, before, before + len(line))
        assert rows.kind(0) == "smtpd.connect"


def test_read_only_buffers_are_scanned(catalogue: Catalogue) -> None:
    data = in_envelope(CONNECT)
    rows = Scanner(catalogue).scan(np.frombuffer(data, np.uint8), 0, len(data), final=True)
    assert rows.kind(0) == "smtpd.connect"


def test_many_lines_names_and_values_fit(catalogue: Catalogue) -> None:
    """Arrays grow while a chunk is scanned, and both engines still agree."""
    lines = [
        in_envelope(
            SESSION.replace(b"ft_smtp", b"ft%d" % number).replace(b"41522", b"%d" % (number % 60000)),
            b"haproxy",
        )
        for number in range(9000)
    ]
    lines += [in_envelope(CONNECT, b"tag%d" % number) for number in range(3000)]
    data = b"\n".join(lines)
    kernel, interpreter = Scanner(catalogue), Scanner(catalogue, compiled=False)
    assert outcome(kernel.scan_bytes(data)) == outcome(interpreter.scan_bytes(data))
    rows = kernel.scan_bytes(data)
    assert len(rows.names) == 9000 + 3000 + 5


def test_rows_can_be_kept(catalogue: Catalogue) -> None:
    scanner = Scanner(catalogue)
    kept = scanner.scan_bytes(in_envelope(CONNECT)).copy()
    scanner.scan_bytes(in_envelope(SESSION, b"haproxy"))
    assert kept.values(0) == {"client_name": "unknown", "client_address": "192.0.2.10"}


def test_names_of_two_scanners_can_be_joined(catalogue: Catalogue) -> None:
    first, second = Names(), Names()
    assert [first.intern(name) for name in (b"a", b"b", b"a")] == [0, 1, 0]
    assert [second.intern(name) for name in (b"c", b"b")] == [0, 1]
    assert first.translate(second).tolist() == [2, 1]
    assert first.texts() == ["a", "b", "c"]
    assert (first.code("c"), first.code("d")) == (2, -1)
    scanner = Scanner(catalogue, names=first)
    rows = scanner.scan_bytes(in_envelope(CONNECT, b"b"))
    assert rows.service.tolist() == [1]


STAMPS = [
    b"Nov 22 09:18:57",
    b"Nov 22 09:18:58",
    b"Sep  2 09:18:57.123",
    b"Nov 31 09:18:57",
    b"2026-11-22T09:18:57.123456+01:00",
    b"2026-11-22T09:18:57Z",
    b"<22>Nov 22 09:18:57",
    b"<22>1 2026-11-22T09:18:57Z",
    b"1795339230.123456",
    b"Sun 2026-11-22 09:20:30 UTC",
]
TAGS = [
    b" mx-a postfix/smtpd[42]: ",
    b" mx-a postfix/smtpd[43]: ",
    b" mx-b.a-rather-long-name.example.org postfix-submission/smtpd[1234567]: ",
    b" mx-a postfix/smtpd: ",
    b" postfix/smtpd[42]: ",
    b" mx-a postfix/smtpd[42] ",
    b" stdout F Nov 22 09:18:57 mx-a postfix/smtpd[42]: ",
    b" 192.0.2.1 haproxy[7]: ",
    b" <2.6> mx-a haproxy[7]: ",
    b" mx-a haproxy 7 - - ",
    b" mx-a postfix/smtpd[42]:",
    b"",
]
MESSAGES = [
    CONNECT,
    SESSION,
    b"message repeated 3 times: [ " + CONNECT + b"]",
    b"message of no known kind",
    b"[ID 197553 mail.info] " + CONNECT,
    b"[" + CONNECT,
    b"disconnect from unknown[192.0.2.10] commands=0/0",
    b" " + CONNECT,
    b": " + CONNECT,
    b"c",
    b"",
]


@given(
    lines=st.lists(
        st.tuples(st.sampled_from(STAMPS), st.sampled_from(TAGS), st.sampled_from(MESSAGES)),
        min_size=1,
        max_size=60,
    ),
    cut=st.integers(0, 400),
)
def test_what_the_kernel_remembers_of_envelopes_changes_nothing(
    catalogue: Catalogue, lines: list[tuple[bytes, bytes, bytes]], cut: int
) -> None:
    """Lines of the same processes again and again: the kernel recalls them, the interpreter does not."""
    data = b"\n".join(b"".join(parts) for parts in lines * 2)
    kernel, interpreter = Scanner(catalogue), Scanner(catalogue, compiled=False)
    for chunk in (data[:cut], data[cut:] + b"\n" * 128):
        assert outcome(kernel.scan_bytes(chunk)) == outcome(interpreter.scan_bytes(chunk))


def test_two_threads_scan_at_once(catalogue: Catalogue) -> None:
    data = (in_envelope(CONNECT) + b"\n") * 20_000
    expected = 20_000
    counts: list[int] = []
    scanners = [Scanner(catalogue) for _ in range(2)]
    threads = [
        threading.Thread(
            target=lambda scanner=scanner: counts.append(int((scanner.scan_bytes(data).template >= 0).sum()))
        )
        for scanner in scanners
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [expected, expected]


HOSTILE = [
    b"[",
    b"(",
    b'"',
    b'\\"',
    b" from ",
    b"unknown[",
    b"<",
    b">, ",
    b": ",
    b"1",
    b":",
    b"a.",
    b"\xff",
    b"\0",
    b"/",
    b"Nov 22 09:18:57 ",
    b", relay=",
    b" ehlo=1",
    b"; from=<",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(
    "start",
    [
        b"",
        in_envelope(b""),
        in_envelope(b"connect from "),
        in_envelope(b"warning: "),
        in_envelope(b"4B12345: to=<", b"postfix/smtp"),
        in_envelope(b"4B12345: reject: header ", b"postfix/cleanup"),
        in_envelope(b"", b"haproxy"),
        in_envelope(b"", b"haproxy") + SESSION,
    ],
)
def test_time_grows_with_the_length_of_a_line(catalogue: Catalogue, start: bytes, piece: bytes) -> None:
    """A megabyte of anything is one row, and takes about four times as long as a quarter of it."""
    scanner = Scanner(catalogue)
    seconds = []
    for size in (1 << 18, 1 << 20):
        data = start + piece * (size // len(piece))
        began = time.thread_time()
        assert scanner.scan_bytes(data).count == 1
        seconds.append(time.thread_time() - began)
    # Quadratic work would take sixteen times as long, and far longer than a tenth of a second.
    assert seconds[1] < max(8 * seconds[0], 0.5)


def test_a_long_line_is_the_same_for_the_interpreter(catalogue: Catalogue) -> None:
    for start in (
        b"",
        in_envelope(b"warning: "),
        in_envelope(b"4B12345: reject: header ", b"postfix/cleanup"),
    ):
        for piece in HOSTILE:
            data = start + piece * (20_000 // len(piece))
            assert outcome(Scanner(catalogue).scan_bytes(data)) == outcome(
                Scanner(catalogue, compiled=False).scan_bytes(data)
            )


def test_the_order_of_trial() -> None:
    """The particular before the general, whatever their order in the file; the sample says which is which."""
    general = {
        "kind": "smtpd.general",
        "text": "warning: {reason:text}",
        "samples": [{"line": "warning: odd", "values": {}}],
    }
    special = {
        "kind": "smtpd.special",
        "text": "warning: table {table:text}",
        "samples": [{"line": "warning: table x", "values": {}}],
    }
    for templates in ([general, special], [special, general]):
        catalogue = catalogue_of(templates)
        assert kinds(Scanner(catalogue, compiled=False), in_envelope(b"warning: table x")) == [
            "smtpd.special"
        ]


def test_catch_alls_come_after_what_any_daemon_can_say() -> None:
    own = {"kind": "smtpd.message", "text": "warning: {message_text:text}", "structured": False}
    common = {"kind": "postfix.table", "text": "warning: table {table:text}"}
    catalogue = catalogue_of([own], [common])
    scanner = Scanner(catalogue, compiled=False)
    found = kinds(
        scanner,
        in_envelope(b"warning: table x"),
        in_envelope(b"warning: x"),
        in_envelope(b"warning: table x", b"postfix/new"),
    )
    assert found == ["postfix.table", "smtpd.message", "postfix.table"]


def catalogue_of(own: list[dict[str, object]], common: list[dict[str, object]] | None = None) -> Catalogue:
    sources = [
        {"name": "syslog", "programs": ["envelope"], "template": [{"kind": "e", "text": ENVELOPE}]},
        {"name": "own", "programs": ["smtpd"], "template": own},
        {"name": "common", "programs": ["*"], "template": common or []},
    ]
    return Catalogue(*build([from_mapping(source, str(source["name"])) for source in sources]))


def test_an_empty_catalogue_reads_nothing() -> None:
    catalogue = Catalogue(*build([]))
    for compiled in (False, True):
        rows = Scanner(catalogue, compiled=compiled).scan_bytes(in_envelope(CONNECT) + b"\nx")
        assert rows.template.tolist() == [ops.UNPARSED, ops.UNPARSED]
    assert make_catalogue("x").has_kind("smtpd.").tolist() == [False, True]
