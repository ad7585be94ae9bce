"""Parameter expressions, checked against postconf itself where it is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.postfix.expand import ExpandError, expand

VALUES = {
    "mydomain": "example.org",
    "myhostname": "mx.$mydomain",
    "relayhost": "",
    "empty_after_all": "$relayhost",
    "mailbox_size_limit": "10",
}
CASES = [
    ("plain", "plain"),
    ("$mydomain", "example.org"),
    ("a-$(mydomain)-${mydomain}b", "a-example.org-example.orgb"),
    ("$myhostname", "mx.example.org"),
    ("$relayhost.", "."),
    ("$$mydomain", "$mydomain"),
    ("${mydomain?yes}${relayhost?no}", "yes"),
    ("${mydomain:no}${relayhost:yes}", "yes"),
    ("${ mydomain ? {yes} : {no}}${relayhost?{yes}: {no}}", "yesno"),
    ("${mydomain?{yes}}${relayhost:{ no }}|", "yes no |"),
    ("${relayhost?{yes}: no}${relayhost: {no}}", " nono"),
    ("${{ a } == {a}?{same}:{blanks count}}", "blanks count"),
    ("${mydomain?A{b}c:d}", "A{b}c:d"),
    ("${mydomain?at $myhostname}", "at mx.example.org"),
    ("${empty_after_all?full}", "full"),
    ("${{$mydomain} == {example.org} ? {yes} : {no}}", "yes"),
    ("${{$mydomain}!={example.org}?{yes}:{no}}", "no"),
    ("${{$mailbox_size_limit} > {9}?{number}:{text}}", "number"),
    ("${{10a}>{9}?{number}:{text}}", "text"),
    ("${{1} <= {1} ? {yes}}${{2} <= {1} ? {yes}}", "yes"),
    ("a { b } } c", "a { b } } c"),
    ("", ""),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_expressions(value, expected):
    assert expand(value, lambda name: VALUES.get(name, "")) == expected


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("a ${mydomain", 3),
        ("$(mydomain", 1),
        ("$", 1),
        ("b ${a b}", 3),
        ("${mydomain?{x}", 1),
        ("${mydomain?{x}y}", 1),
    ],
)
def test_what_is_not_closed_is_refused_with_its_column(value, column):
    with pytest.raises(ExpandError) as caught:
        expand(value, lambda name: VALUES.get(name, ""))
    assert caught.value.column == column


def test_a_circle_is_found():
    with pytest.raises(ExpandError, match="circle"):
        expand("$a", {"a": "$b", "b": "x$a"}.__getitem__)


@given(st.text(alphabet="$({a?:})= <!2", max_size=24))
def test_any_text_is_expanded_or_refused(value):
    try:
        expand(value, lambda _: "")
    except ExpandError as error:
        assert error.column >= 1  # noqa: PT017  a property of the error, not of the value


@pytest.mark.skipif(not Path("/usr/sbin/postconf").exists(), reason="postconf is not installed")
def test_postconf_says_the_same(tmp_path):
    """Names of restriction classes are parameters of one's own, so one call answers for all cases."""
    cases = {f"case_{number}": case for number, case in enumerate(CASES) if "empty_after" not in case[0]}
    lines = [f"{name} = {text}" for name, text in VALUES.items() if name != "empty_after_all"]
    lines += [
        f"smtpd_restriction_classes = {', '.join(cases)}",
        *(f"{n} = {case[0]}" for n, case in cases.items()),
    ]
    (tmp_path / "main.cf").write_text("\n".join([*lines, ""]))
    (tmp_path / "master.cf").touch()
    command = ["/usr/sbin/postconf", "-c", str(tmp_path), "-x", *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = dict(line.split(" =", 1) for line in done.stdout.splitlines())
    # It prints runs of blanks as one.
    assert {n: text.split() for n, text in said.items()} == {n: case[1].split() for n, case in cases.items()}
