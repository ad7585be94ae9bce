"""What stands before a message, through the scanner: times, host, service, pid, repetitions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logscope.grammar import catalogue
from logscope.grammar.scan import Scanner
from logscope.syslog.clock import NULL, YEARLESS, ZONED

SESSION = "192.0.2.10:41522 [22/Nov/2026:08:41:56.123] ft_smtp bk_mx/mx1 1/0/8312 1954 -- 7/5/3/2/0 0/0"
NOVEMBER = "Nov 22 08:41:56"


def at(*parts: int, fraction: int = 0) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9 + fraction  # type: ignore[arg-type, misc]


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    files = [path for path in catalogue.grammar_files() if path.name in ("syslog.toml", "haproxy.toml")]
    return Scanner(catalogue.load(files=files), compiled=False)


@pytest.mark.parametrize(
    ("envelope", "host", "service", "pid", "kind"),
    [
        (f"{NOVEMBER} edge1 haproxy[3026]: ", "edge1", "haproxy", 3026, YEARLESS),
        (f"<134>{NOVEMBER} edge1 haproxy[3026]: ", "edge1", "haproxy", 3026, YEARLESS),
        (f"<134>{NOVEMBER} haproxy[3026]: ", None, "haproxy", 3026, YEARLESS),
        (f"{NOVEMBER} edge1 haproxy: ", "edge1", "haproxy", None, YEARLESS),
        (f"{NOVEMBER} edge1 haproxy[3026] ", "edge1", "haproxy", 3026, YEARLESS),
        (f"{NOVEMBER} 2001:db8::1 haproxy[3026]: ", "2001:db8::1", "haproxy", 3026, YEARLESS),
        (f"{NOVEMBER} edge1 haproxy[3026]: [ID 197553 mail.info] ", "edge1", "haproxy", 3026, YEARLESS),
        ("2026-11-22T08:41:56Z edge1 haproxy[3026]: ", "edge1", "haproxy", 3026, ZONED),
        ("2026-11-22T09:41:56+0100 edge1 haproxy[3026]: ", "edge1", "haproxy", 3026, ZONED),
        ("<134>1 2026-11-22T09:41:56+01:00 edge1 haproxy 3026 - - ", "edge1", "haproxy", 3026, ZONED),
        ('<134>1 2026-11-22T08:41:56Z - haproxy - x [a b="c] d"] ', None, "haproxy", None, ZONED),
        ("<6>2026-11-22T08:41:56+00:00 ", None, None, None, ZONED),
        ("2026-11-22T08:41:56+00:00 ", None, None, None, ZONED),
        ("<6>", None, None, None, None),
        ("", None, None, None, None),
    ],
)
def test_every_envelope_leads_to_the_message(scanner, envelope, host, service, pid, kind):
    rows = scanner.scan_bytes(f"{envelope}{SESSION}\n".encode())
    assert rows.kind(0) == "haproxy.tcp_session"
    assert rows.message(0) == SESSION
    assert (rows.names.text(rows.host[0]) if rows.host[0] >= 0 else None) == host
    assert (rows.names.text(rows.service[0]) if rows.service[0] >= 0 else None) == service
    assert (rows.pid[0] if rows.pid[0] != NULL else None) == pid
    if kind is None:
        assert rows.stamp[0] == NULL
    else:
        assert rows.stamp_kind[0] & (YEARLESS | ZONED) == kind
        assert rows.stamp[0] == at(2000 if kind == YEARLESS else 2026, 11, 22, 8, 41, 56)


@pytest.mark.parametrize(
    "stamp", ["Nov 22 08:41:56 edge1", "2026-11-22T08:41:56Z edge1", "<134>Nov 22 08:41:56"]
)
def test_a_folded_repetition_is_its_message_and_a_count(scanner, stamp):
    line = f"{stamp} haproxy[3026]: message repeated 18 times: [ {SESSION}]\n"
    rows = scanner.scan_bytes(line.encode())
    assert rows.kind(0) == "haproxy.tcp_session"
    assert rows.repeat_count[0] == 18
    assert rows.message(0) == SESSION


@pytest.mark.parametrize(
    ("fraction", "nanoseconds"),
    [
        ("", 0),
        (".5", 500_000_000),
        (".123", 123_000_000),
        (".123456", 123_456_000),
        (".123456789", 123_456_789),
    ],
)
def test_fractions_of_a_second_are_kept(scanner, fraction, nanoseconds):
    rows = scanner.scan_bytes(f"2026-11-22T08:41:56{fraction}Z edge1 haproxy[1]: {SESSION}\n".encode())
    assert rows.stamp[0] == at(2026, 11, 22, 8, 41, 56, fraction=nanoseconds)


def test_a_tag_is_not_taken_for_a_host_nor_a_message_for_a_tag(scanner):
    rows = scanner.scan_bytes(
        b"<134>Nov 22 08:41:56 haproxy[3026]: acme: mail.pem: Starting update of the certificate.\n"
    )
    assert rows.kind(0) == "haproxy.acme"
    assert rows.host[0] == -1
