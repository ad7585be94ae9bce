"""Every field type: what it takes, where it ends, what it is worth, and that all three matchers agree on
it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.errors import RenderError
from logscope.grammar.reference import Mismatch, Reference
from logscope.grammar.render import render
from logscope.grammar.scan import Scanner

from .conftest import in_envelope, make_catalogue

NOTHING = object()
"""The line does not match."""


@cache
def _engines(text: str) -> tuple[Catalogue, Scanner, Scanner, Reference]:
    catalogue = make_catalogue(text)
    template = next(template for template in catalogue.templates if template.kind == "smtpd.t0")
    reference = Reference(catalogue.details[template.id].sequence)
    return catalogue, Scanner(catalogue, compiled=False), Scanner(catalogue), reference


def read(text: str, message: bytes) -> Any:
    """The values that all three matchers agree on, or NOTHING."""
    _, interpreter, kernel, reference = _engines(text)
    results = []
    for scanner in (interpreter, kernel):
        rows = scanner.scan_bytes(in_envelope(message))
        results.append(rows.values(0) if rows.template[0] >= 0 else NOTHING)
    found = reference.match(message)
    results.append(NOTHING if isinstance(found, Mismatch) else found)
    assert results[0] == results[1] == results[2], (text, message, results)
    return results[0]


CASES = [
    ("x={v:int};", b"x=-12;", -12),
    ("x={v:int};", b"x=-;", NOTHING),
    ("x={v:uint};", b"x=999999999999999999;", 999999999999999999),
    ("x={v:uint};", b"x=1000000000000000000;", NOTHING),
    ("x={v:uint};", b"x=00000000000000000001;", NOTHING),
    ("x={v:uint};", b"x=-1;", NOTHING),
    ("x={v:port};", b"x=65535;", 65535),
    ("x={v:port};", b"x=65536;", NOTHING),
    ("x={v:hex};", b"x=00Ff;", 255),
    ("x={v:hex};", b"x=fffffffffffffff;", (1 << 60) - 1),
    ("x={v:hex};", b"x=ffffffffffffffff;", NOTHING),
    ("x={v:code};", b"x=550;", 550),
    ("x={v:code};", b"x=5500;", NOTHING),
    ("x={v:code};", b"x=55;", NOTHING),
    ("x={v:decimal};", b"x=0.45;", 0.45),
    ("x={v:decimal};", b"x=20;", 20.0),
    ("x={v:decimal};", b"x=0.000001;", 0.000001),
    ("x={v:decimal};", b"x=0.0000001;", NOTHING),
    ("x={v:decimal};", b"x=1.2.3;", NOTHING),
    ("x={v:decimal}.", b"x=1.", 1.0),
    ("x={v:decimal}.5", b"x=1.5", NOTHING),
    ("x={v:flag(+)}1", b"x=+1", True),
    ("x={v:flag(+)}1", b"x=1", False),
    ("x={v:enum(a|ab|abc)}", b"x=abc", "abc"),
    ("x={v:enum(a|ab)}c", b"x=abc", "ab"),
    ("x={v:enum(a|b)}", b"x=c", NOTHING),
    ("[{v:ip}]", b"[192.0.2.1]", "192.0.2.1"),
    ("[{v:ip}]", b"[192.0.2.256]", NOTHING),
    ("[{v:ip}]", b"[192.0.02.1]", NOTHING),
    ("[{v:ip}]", b"[192.0.2]", NOTHING),
    ("[{v:ip}]", b"[::]", "::"),
    ("[{v:ip}]", b"[::1]", "::1"),
    ("[{v:ip}]", b"[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
    ("[{v:ip}]", b"[1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8"),
    ("[{v:ip}]", b"[1:2:3:4:5:6:7::]", "1:2:3:4:5:6:7:0"),
    ("[{v:ip}]", b"[::2:3:4:5:6:7:8]", "0:2:3:4:5:6:7:8"),
    ("[{v:ip}]", b"[1:2:3:4::5:6:7:8]", NOTHING),
    ("[{v:ip}]", b"[1::2::3]", NOTHING),
    ("[{v:ip}]", b"[:1]", NOTHING),
    ("[{v:ip}]", b"[1:]", NOTHING),
    ("[{v:ip}]", b"[12345::]", NOTHING),
    ("[{v:ip}]", b"[::ffff:192.0.2.1]", "192.0.2.1"),
    ("[{v:ip}]", b"[64:ff9b::192.0.2.1]", "64:ff9b::c000:201"),
    ("[{v:ip}]", b"[1:2:3:4:5:6:7:192.0.2.1]", NOTHING),
    ("{v:ip}:25", b"2001:db8::1:25", "2001:db8::1"),
    ("{v:ip}:25", b"::ffff:192.0.2.10:25", "192.0.2.10"),
    ("{v:ip}:25", b"192.0.2.10:25", "192.0.2.10"),
    ("{v:ip}{[:25]}", b"192.0.2.10", "192.0.2.10"),
    ("{v:dsn} x", b"5.7.1 x", "5.7.1"),
    ("{v:dsn} x", b"5.7.1234 x", NOTHING),
    ("{v:dsn} x", b"5.7 x", NOTHING),
    ("{v:queue_id}: x", b"4BcDeF12345: x", "4BcDeF12345"),
    ("{v:queue_id}: x", b"ABCDEF: x", "ABCDEF"),
    ("{v:queue_id}: x", b"warning: x", NOTHING),
    ("{v:queue_id}: x", b"NOQUEUE: x", NOTHING),
    ("{v:queue_id}: x", b"4B12: x", NOTHING),
    (
        "from x{v:counters} commands={n:uint}",
        b"from x ehlo=1 rcpt=0/2 commands=3",
        {"ehlo": 1, "rcpt": [0, 2]},
    ),
    ("from x{v:counters} commands={n:uint}", b"from x commands=3", {}),
    ("from x{v:counters}", b"from x ehlo=1/2/3", NOTHING),
    ("{v:word} x", b"a:b x", "a:b"),
    ("{v:word} x", b" x", NOTHING),
    ("{v:host}[1]", b"a.example[1]", "a.example"),
    ("{v:host}]", b"a[b]", NOTHING),
    ("a {v:text}", b"a b c", "b c"),
    ("a {v:text}", b"a ", NOTHING),  # the line is stripped before it is matched
    ("a={v:text}", b"a=", ""),
    ("({v:text})", b"(a (b) c)", "a (b) c"),
    ("({v:text}){[ x]}", b"(a (b) c) x", "a (b) c"),
    ("({v:text}) {n:uint}", b"(a) b) 1", NOTHING),
    ("({v:text(last)}) {n:uint}", b"(a) 1) 1", "a) 1"),
    ("({v:text(retry)}) {n:uint}", b"(a) b) 1", "a) b"),
    ("({v:text(retry)}) {n:uint}", b"(a) b) c", NOTHING),
    ("<{v:text(quoted)}>", b'<"a> b"@x>', '"a> b"@x'),
    ("<{v:text(quoted)}> {n:uint}", b'<"a> b"@x> 1', '"a> b"@x'),
    ("<{v:text(quoted)}> {n:uint}", b'<"a> 1', '"a'),
    ("from=<{v:mail}>, n={n:uint}", b'from=<"a\\">, n=2"@x>, n=1', '"a\\">, n=2"@x'),
    ("from=<{v:mail}>, n={n:uint}", b'from=<"a>, n=1', '"a'),
    ("from=<{v:mail}>, n={n:uint}", b'from=<a"b>, n=1', 'a"b'),
    ("from=<{v:mail}>, n={n:uint}", b"from=<>, n=1", ""),
    ("a={v:text}{[, b={b:word}]}", b"a=x, b=y", "x"),
    ("a={v:text}{[, b={b:word}]}", b"a=x, c=y", "x, c=y"),
    ("({v:group({a:text}queued as {n:queue_id})})", b"(250 queued as 4B123)", "250 queued as 4B123"),
    ("at {v:time(bsd)}.", b"at Nov  2 09:18:57.", "2000-11-02T09:18:57"),
    ("at {v:time(bsd)}.", b"at Nov 2 09:18:57.", "2000-11-02T09:18:57"),
    ("at {v:time(bsd)}.", b"at Nov 02 09:18:57.123.", "2000-11-02T09:18:57.123"),
    ("at {v:time(bsd)}.", b"at Feb 29 2024 09:18:57.", "2024-02-29T09:18:57"),
    ("at {v:time(bsd)}.", b"at Feb 29 2023 09:18:57.", NOTHING),
    ("at {v:time(bsd)}.", b"at Feb 29 09:18:57.", "2000-02-29T09:18:57"),
    ("at {v:time(bsd)}.", b"at Feb 30 09:18:57.", NOTHING),
    ("at {v:time(bsd)}.", b"at Nov 0 09:18:57.", NOTHING),
    ("at {v:time(bsd)}.", b"at Nov 222 09:18:57.", NOTHING),
    ("at {v:time(bsd)}.", b"at Now 22 09:18:57.", NOTHING),
    ("at {v:time(bsd)}.", b"at Nov 22 24:18:57.", NOTHING),
    ("at {v:time(rfc3339)}.", b"at 2026-11-22T09:18:49.324931+01:00.", "2026-11-22T08:18:49.324931"),
    ("at {v:time(rfc3339)}.", b"at 2026-11-22T09:18:49Z.", "2026-11-22T09:18:49"),
    ("at {v:time(rfc3339)}.", b"at 2026-11-22 09:18:49-0130.", "2026-11-22T10:48:49"),
    ("at {v:time(rfc3339)}.", b"at 2026-11-22T09:18:49.", "2026-11-22T09:18:49"),
    ("at {v:time(rfc3339)}.", b"at 2026-11-22T09:18:49.1234567890123Z.", "2026-11-22T09:18:49.123456789"),
    ("at {v:time(rfc3339)}.", b"at 2026-13-22T09:18:49.", NOTHING),
    ("at {v:time(rfc3339)}.", b"at 1826-11-22T09:18:49.", NOTHING),
    ("at {v:time(haproxy)}]", b"at 22/Nov/2026:09:18:54.965]", "2026-11-22T09:18:54.965"),
    ("at {v:time(haproxy)}]", b"at 22/Nov/2026:09:18:54]", NOTHING),
    ("at {v:time(clf)}]", b"at 22/Nov/2026:09:18:54 +0200]", "2026-11-22T07:18:54"),
    ("at {v:time(clf)}]", b"at 22/Nov/2026:09:18:54]", NOTHING),
    ("at {v:time(epoch)}]", b"at 1795339134.965]", "2026-11-22T09:18:54.965"),
    ("at {v:time(epoch)}]", b"at 17953391349]", NOTHING),
]


def _short(value: object) -> str:
    """A name for a case that is the same in every process."""
    return "nothing" if type(value) is object else repr(value)[:60]


@pytest.mark.parametrize(("text", "message", "expected"), CASES, ids=_short)
def test_what_a_type_reads(text: str, message: bytes, expected: Any) -> None:
    found = read(text, message)
    assert (found if found is NOTHING else found["v"]) == expected


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [case for case in CASES if case[2] is not NOTHING],
    ids=_short,
)
def test_what_was_read_can_be_written_and_read_again(text: str, message: bytes, expected: Any) -> None:
    catalogue, *_ = _engines(text)
    template = next(template for template in catalogue.templates if template.kind == "smtpd.t0")
    values = read(text, message)
    assert read(text, render(catalogue.details[template.id].sequence, values)) == values


PIECES = [
    b"1",
    b"23",
    b"255",
    b"-",
    b".",
    b":",
    b"::",
    b"ffff",
    b"[",
    b"]",
    b"(",
    b")",
    b" ",
    b'"',
    b"\\",
    b"=",
    b"/",
    b"a",
    b"F",
    b"Z",
    b">",
    b"ehlo=1",
    b" rcpt=0/1",
    b" commands=2",
    b"Nov ",
    b" 2",
    b"22/Nov/2026:09:18:54",
    b".965",
    b" +0000",
    b"2026-11-22T09:18:54",
    b"Z",
    b"+01:00",
    b"Feb 29 ",
    b"09:18:57",
    b"1795339134",
    b"\xff",
    b"\xc3\xa9",
    b"\0",
    b"5.7.1",
    b"4B12345",
    b";",
    b",",
    b" x",
]
TEMPLATES = [
    *sorted({text for text, _, _ in CASES}),
    "{a:ip}:{b:port}",
    "{a:ip}{[:{b:port}]} {c:word}",
    "{a:host}[{b:ip}]{[:{c:port}]}",
    "<{a:mail}> <{b:mail}>",
    "{a:word}]{b:counters}{[ x]}",
    "({a:text(last)}) {b:word}",
    '"{a:text(quoted)}"{[ {b:word}]}',
    "{a:name(last)}/{b:name}",
    "{(NO{|}{a:queue_id})}: {b:text}",
    "{a:text(retry)} x{b:text}{[;{c:uint}]}",
    "{a:nametext}: {(x{b:uint}{|}{c:group({d:word} {e:text})})}",
    "{a:int}/{b:flag(+)}{c:int}{d:flag( x)}",
]


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=9),
    start=st.sampled_from([b"", b"x=", b"at ", b"[", b"<", b"from=<", b"("]),
)
@pytest.mark.parametrize("text", TEMPLATES)
def test_matchers_agree_on_rubbish(text: str, start: bytes, pieces: list[bytes]) -> None:
    """Whatever the line, interpreter, kernel and reference read the same from it, or nothing."""
    read(text, start + b"".join(pieces))


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789abcdefF:.", max_size=42))
@example("::ffff:1.2.3.4")
@example("1:2:3:4:5:6:1.2.3.4")
@example("::1:2:3:4:5:6:7")
def test_matchers_agree_on_addresses(address: str) -> None:
    read("[{v:ip}]", f"[{address}]".encode())


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses())
def test_every_address_is_read(address: Any) -> None:
    assert read("[{v:ip}]", f"[{address}]".encode())["v"] == str(
        getattr(address, "ipv4_mapped", None) or address
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{v:uint}", -1),
        ("{v:uint}", 10**18),
        ("{v:uint}", True),
        ("{v:port}", 65536),
        ("{v:code}", 5500),
        ("{v:decimal}", -0.5),
        ("{v:decimal}", float("nan")),
        ("{v:enum(a|b)}", "c"),
        ("{v:flag(+)}", "+"),
        ("{v:ip}", "host.example"),
        ("{v:ip}", "fe80::1%eth0"),
        ("{v:word}", "a b"),
        ("{v:word}", ""),
        ("{v:host}", "a[b"),
        ("{v:text}", "a\nb"),
        ("{v:text}", 5),
        ("{v:queue_id}", "NOQUEUE"),
        ("{v:counters}", {"commands": 1}),
        ("{v:counters}", {"a b": 1}),
        ("{v:dsn}", "5.7"),
        ("{v:time(bsd)}", "noon"),
    ],
)
def test_values_that_cannot_be_written(text: str, value: Any) -> None:
    catalogue = make_catalogue(text)
    with pytest.raises(RenderError):
        render(catalogue.details[1].sequence, {"v": value})


def test_a_value_without_a_place_is_refused() -> None:
    catalogue = make_catalogue("a{[ {v:uint}]}")
    with pytest.raises(RenderError, match="no place for w"):
        render(catalogue.details[1].sequence, {"w": 1})
    with pytest.raises(RenderError, match="no value for v"):
        render(make_catalogue("a {v:uint}").details[1].sequence, {})


def test_stamp_kinds() -> None:
    """A row says what its stamp tells: the year, the zone, the resolution."""
    scanner = Scanner(make_catalogue("x"), compiled=False)
    rows = scanner.scan_bytes(
        b"Nov 22 09:18:57 h s: x\nNov 22 09:18:57.123 h s: x\nNov 22 2026 09:18:57.123456 h s: x\nx\n"
    )
    assert rows.stamp_kind.tolist() == [1, 1 | 4, 8, 0]
