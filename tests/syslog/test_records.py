"""Records in JSON and in the journal's export format, and the lines they become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope import read_events
from logscope.grammar import catalogue
from logscope.grammar.scan import Scanner
from logscope.grammar.times import iso
from logscope.syslog.envelopes import FOREIGN_MONTH, NAMES, NOT_RECOGNISED, why_unread
from logscope.syslog.records import decoded, decoded_line

STAMP = "2026-11-22T09:20:30.123456789Z"
MESSAGE = "4BcDeF12345: removed"
SESSION = "192.0.2.10:41522 [22/Nov/2026:08:41:56.123] ft_smtp bk_mx/mx1 1/0/8312 1954 -- 7/5/3/2/0 0/0"
LINE = f"Nov 22 10:20:30 mx-a postfix/qmgr[9]: {MESSAGE}"


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(catalogue.load(), compiled=False)


JOURNAL = {
    "__CURSOR": "s=1;i=2",
    "__REALTIME_TIMESTAMP": "1795339230123456",
    "_HOSTNAME": "mx-a",
    "SYSLOG_IDENTIFIER": "postfix/qmgr",
    "_PID": "9",
    "MESSAGE": MESSAGE,
}


@pytest.mark.parametrize(
    ("record", "stamp", "host", "service", "pid"),
    [
        (JOURNAL, "2026-11-22T09:20:30.123456", "mx-a", "postfix/qmgr", 9),
        (
            JOURNAL | {"MESSAGE": list(MESSAGE.encode())},
            "2026-11-22T09:20:30.123456",
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        (
            JOURNAL | {"_SOURCE_REALTIME_TIMESTAMP": "1795339230000000", "SYSLOG_PID": "8"},
            "2026-11-22T09:20:30",
            "mx-a",
            "postfix/qmgr",
            8,
        ),
        # Docker: the engine's time has year and zone, the line's own has not
        ({"log": LINE + "\n", "stream": "stdout", "time": STAMP}, STAMP[:-1], "mx-a", "postfix/qmgr", 9),
        (
            {"log": f"<22>{LINE}\n", "stream": "stderr", "time": STAMP, "attrs": {}},
            STAMP[:-1],
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        (
            {"log": f"postfix/qmgr[9]: {MESSAGE}\n", "stream": "stdout", "time": STAMP},
            STAMP[:-1],
            None,
            "postfix/qmgr",
            9,
        ),
        # shippers: the line's own time, with the year of the record's
        ({"message": LINE, "timestamp": STAMP}, "2026-11-22T10:20:30", "mx-a", "postfix/qmgr", 9),
        (
            {"message": LINE.replace("Nov 22", "Dec 31"), "timestamp": "2027-01-01T00:00:03Z"},
            "2026-12-31T10:20:30",
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        ({"message": LINE}, "2000-11-22T10:20:30", "mx-a", "postfix/qmgr", 9),
        (
            {
                "appname": "postfix/qmgr",
                "hostname": "mx-a",
                "procid": 9,
                "timestamp": STAMP,
                "message": MESSAGE,
            },
            STAMP[:-1],
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        (
            {
                "@timestamp": "2026-11-22T09:20:30.5Z",
                "message": MESSAGE,
                "host": {"name": "mx-a"},
                "process": {"name": "postfix/qmgr", "pid": 9},
            },
            "2026-11-22T09:20:30.500",
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        (
            {"date": 1795339230.5, "msg": MESSAGE, "host": "mx-a", "syslogtag": "postfix/qmgr[9]:"},
            "2026-11-22T09:20:30.500",
            "mx-a",
            "postfix/qmgr",
            9,
        ),
        (
            {
                "labels": {"host": "mx-a", "app": "postfix/qmgr"},
                "line": MESSAGE,
                "timestamp": "1795339230000000000",
            },
            "2026-11-22T09:20:30",
            "mx-a",
            "postfix/qmgr",
            None,
        ),
        # an object in the text of an object
        (
            {
                "log": json.dumps({"message": MESSAGE, "appname": "postfix/qmgr"}),
                "stream": "stdout",
                "time": STAMP,
            },
            STAMP[:-1],
            None,
            "postfix/qmgr",
            None,
        ),
    ],
)
def test_a_record_is_the_line_it_stands_for(scanner, record, stamp, host, service, pid):
    rows = scanner.scan_bytes(decoded_line(json.dumps(record).encode()) + b"\n")
    assert rows.kind(0) == "qmgr.removed"
    assert iso(int(rows.stamp[0])) == stamp
    assert (rows.names.text(rows.host[0]) if rows.host[0] >= 0 else None) == host
    assert rows.names.text(rows.service[0]) == service
    assert (int(rows.pid[0]) if rows.pid[0] > 0 else None) == pid


def test_haproxy_without_envelope_in_a_container(scanner):
    record = {"log": f"{SESSION}\n", "stream": "stdout", "time": STAMP}
    assert scanner.scan_bytes(decoded_line(json.dumps(record).encode())).kind(0) == "haproxy.tcp_session"


def exported(**fields: bytes) -> bytes:
    """A record as `journalctl -o export` writes it."""
    parts = []
    for name, value in fields.items():
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts) + b"\n"


def record_of(message: bytes) -> bytes:
    return exported(
        __CURSOR=b"s=1",
        __REALTIME_TIMESTAMP=b"1795339230123456",
        SYSLOG_IDENTIFIER=b"postfix/qmgr",
        MESSAGE=message,
        _BLOB=b"any\n\nthing\n",
    )


def test_the_journals_export_format_is_one_line_a_record(scanner):
    data = record_of(MESSAGE.encode()) + LINE.encode() + b"\n" + record_of(b"9B1: two\nlines")
    lines, used = decoded(data, 1 << 20)
    assert used == len(data)
    rows = scanner.scan_bytes(lines)
    assert [rows.kind(row) for row in range(rows.count)] == ["qmgr.removed", "qmgr.removed", "unparsed"]
    assert rows.message(2) == "9B1: two lines"


def test_a_record_waits_for_its_end():
    whole = record_of(MESSAGE.encode())
    for cut in range(1, len(whole)):
        lines, used = decoded(whole[:cut], 1 << 20, final=False)
        assert (lines, used) in ((b"", 0), decoded(whole[:used], 1 << 20)), cut
    assert decoded(whole, 1 << 20, final=False)[1] == len(whole)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"{}",
        b'{"message": 7}',
        b'{"MESSAGE": [1, 999]}',
        b'["message"]',
        b'{"message": "x"',
        b"{" + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"message":' + b"9" * 100_000 + b"}",
        b"\xff{",
    ],
    ids=lambda line: line[:20].decode("latin-1"),
)
def test_what_is_no_record_stays_as_it_is(line):
    assert decoded(line + b"\n", 1 << 20) == (line + b"\n", len(line) + 1)


def test_nobody_forges_a_line_with_a_line_break(scanner):
    record = JOURNAL | {"MESSAGE": f"{MESSAGE}\n{LINE}\r\n\0"}
    rows = scanner.scan_bytes(decoded_line(json.dumps(record).encode()) + b"\n")
    assert rows.count == 1


def test_a_message_is_taken_as_it_stands_when_asked_for():
    lines, _ = decoded(json.dumps({"message": LINE}).encode(), 1 << 20, inner=False)
    assert lines == f"<14>1 - - - - - - {LINE}\n".encode()


def test_what_has_no_room_is_left_for_later():
    data = b'{"message":"a"}\n' * 10
    first, used = decoded(data, 45)
    assert first.count(b"\n") == 2
    assert used == 32


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"__CURSOR=a", b"MESSAGE", b"{}", b'{"msg":"a\\nb"}', b"A=b"]),
        )
    )
)
def test_no_input_is_lost_and_nothing_escapes(parts):
    """Cut anywhere and with little room, all of it is read; without the export format, line by line."""
    data = b"\n".join(parts)
    taken, lines = 0, 0
    while taken < len(data):
        text, used = decoded(data[taken:], 64)
        assert used > 0
        taken += used
        lines += text.count(b"\n")
    if b"__CURSOR=" not in data:
        assert lines == len(data.split(b"\n")) - (data.endswith(b"\n") or not data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inside: (
            st.lists(inside)
            | st.dictionaries(st.sampled_from(["message", "host", "time", "log", "x"]), inside)
        ),
        max_leaves=8,
    )
)
def test_any_object_is_one_line(value):
    line = json.dumps({"message": value, "host": value, "time": value, "procid": value}).encode()
    assert b"\n" not in decoded_line(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Mär 22 09:20:30 mx-a postfix/qmgr[9]: x", FOREIGN_MONTH),
        ("<22>déc. 22 09:20:30 mx-a postfix/qmgr[9]: x", FOREIGN_MONTH),
        ("22. Okt 09:20:30 mx-a postfix/qmgr[9]: x", FOREIGN_MONTH),
        ("11月 22 09:20:30 mx-a postfix/qmgr[9]: x", FOREIGN_MONTH),
        ("Nov 22 09:20:30 mx-a", NOT_RECOGNISED),
        ("something else 09:20:30", NOT_RECOGNISED),
        ("", NOT_RECOGNISED),
    ],
)
def test_months_in_another_language_are_refused_in_words(line, reason):
    assert why_unread(line.encode()) == reason


def test_every_envelope_that_can_be_named_is_in_the_grammar():
    text = next(path for path in catalogue.grammar_files() if path.name == "syslog.toml").read_text("utf-8")
    assert all(f'"envelope.{name}' in text for name in set(NAMES) - {"raw", "json"})


@pytest.mark.parametrize("envelope", ["", "json", "raw", "bsd"])
def test_an_envelope_can_be_named(tmp_path: Path, envelope: str) -> None:
    (tmp_path / "mail.log").write_text(f"{LINE}\n{json.dumps({'message': LINE})}\n{SESSION}\n")
    options = {"envelope": envelope} if envelope else {}
    kinds = list(read_events(tmp_path / "mail.log", year=2026, tz=["UTC"], **options).kind)
    assert (
        kinds
        == {
            "": ["qmgr.removed", "qmgr.removed", "haproxy.tcp_session"],
            "json": ["qmgr.removed", "unparsed", "haproxy.tcp_session"],
            "raw": ["unparsed", "unparsed", "haproxy.tcp_session"],
            "bsd": ["qmgr.removed", "unparsed", "haproxy.tcp_session"],
        }[envelope]
    )
