"""SMTP commands taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.smtp.words import Address, address, words, xtext


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("EHLO mail.example", ["EHLO", "mail.example"]),
        ("MAIL FROM:<a@b.example>", ["MAIL", "FROM:", "<a@b.example>"]),
        ("mail from: <a@b.example> SIZE=10", ["mail", "from:", "<a@b.example>", "SIZE=10"]),
        ('RCPT TO:<"a > b"@c.example> NOTIFY=NEVER', ["RCPT", "TO:", '<"a > b"@c.example>', "NOTIFY=NEVER"]),
        ("RCPT TO:a@b.example", ["RCPT", "TO:", "a@b.example"]),
        ("MAIL FROM:<>", ["MAIL", "FROM:", "<>"]),
        ("   ", []),
    ],
)
def test_words(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("<alice@example.com>", Address("alice", "example.com")),
        ("alice@example.com", Address("alice", "example.com")),
        ("<>", Address("", "")),
        ("<postmaster>", Address("postmaster", "")),
        ('<"a b"@example.com>', Address("a b", "example.com")),
        ('<"<"@example.com>', Address("<", "example.com")),
        ("<@relay<x.example:alice@example.com>", None),
        (r'<"a\"b"@example.com>', Address('a"b', "example.com")),
        ("<@relay.example:alice@example.com>", Address("alice", "example.com")),
        ("<alice@[192.0.2.1]>", Address("alice", "[192.0.2.1]")),
        ("<ülf@exämple.example>", Address("ülf", "exämple.example")),
        ("<a b@example.com>", None),
        ("<alice@>", None),
        ("<alice@exa mple.com>", None),
        ("<alice@example..com>", None),
        ("<a@b@c.example>", None),
        ("<<alice@example.com>>", None),
        ("<alice@-example.com>", None),
    ],
)
def test_addresses(path: str, expected: Address | None) -> None:
    assert address(path) == expected


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=40))
def test_a_local_part_is_quoted_when_it_must_be(local: str) -> None:
    external = Address(local, "example.com").external
    assert address(f"<{external}>") in (Address(local, "example.com"), None)
    if local.isascii() and local.isprintable():
        assert address(f"<{external}>") == Address(local, "example.com")


@given(st.text(max_size=200))
def test_no_line_does_harm(line: str) -> None:
    for word in words(line):
        address(word)


def test_xtext() -> None:
    assert xtext("a+3Db+2Bc") == "a=b+c"
    assert xtext("a=b") is None
    assert xtext("a+3") is None
