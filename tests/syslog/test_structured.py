"""Structured data of RFC 5424: as a column, and with the fields that a configuration gives them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import logscope
from logscope.events import events
from logscope.grammar import catalogue
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.explain import explain
from logscope.haproxy import config as haproxy
from logscope.pipeline import Options
from logscope.site import Site
from logscope.site.learn import combined
from logscope.sources.source import Source
from logscope.syslog.structured import elements

PLAIN = catalogue.load()
HEAD = "<134>1 2026-11-22T08:41:56.123+00:00 edge1 haproxy 3026 - "
SESSION = "192.0.2.10:41522 [22/Nov/2026:08:41:56.123] ft_smtp bk_mx/mx1 1/0/8312 1954 -- 7/5/3/2/0 0/0"
CONFIGURATION = r"""
global
    log-tag edge
defaults
    mode tcp
    log-format-sd '[smtp@32473 client="%ci" port="%cp" own=%{+Q}[var(txn.score)]][out@32473 bytes="%B"]'
frontend with_message
    bind :25
    option tcplog
frontend alone
    bind :26
    log-format -
    log-format-sd "%{+Q,+E}o [smtp@32473 ci=%ci cp=\"%cp\" t=\"%t\" fe=%f be=%b srv=%s tt=\"%Tt\" ts=%ts]"
"""

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "proxy-v1"
TCPLOG = re.compile(
    r"Nov (?P<day>\d\d) (?P<clock>[\d:]+) (?P<host>\S+) haproxy\[(?P<pid>\d+)\]: (?P<ci>\S+):(?P<cp>\d+) "
    r"\[(?P<t>[^]]+)\] (?P<fe>\S+) (?P<be>\S+)/(?P<srv>\S+) (?P<times>\S+) (?P<bytes>\d+) (?P<ts>..) .*"
)
AS_DATA = (
    '<134>1 2026-11-{day}T{clock}+00:00 {host} lb {pid} - [smtp@1 ci="{ci}" cp="{cp}" t="{t}" fe="{fe}" '
    'be="{be}" srv="{srv}" times="{times}" bytes="{bytes}" ts={ts}] -\n'
)
ALONE = (
    "global\n log-tag lb\nfrontend ft_smtp\n mode tcp\n bind :25\n log-format -\n log-format-sd '[smtp@1 "
    'ci="%ci" cp="%cp" t="%t" fe="%ft" be="%b" srv="%s" times="%Tw/%Tc/%Tt" bytes="%B" ts=%ts]'
    "'\n"
)


def rows(text: str, grammars: Catalogue = PLAIN, *, machine_code: bool = False) -> list[dict[str, Any]]:
    source = Source("log", io.BytesIO(text.encode()))
    found = events([source], grammars, Options(machine_code=machine_code))
    return [row for batch in found for row in batch.dense().to_pylist()]


def configured() -> Site:
    return combined([("", [], haproxy.read_texts([("haproxy.cfg", CONFIGURATION)]))], [])


def test_each_parameter_is_read() -> None:
    data = r'[origin software="haproxy" note="a\] \"b\\"][meta sequenceId="7"][empty]'
    (row,) = rows(f"{HEAD}{data} {SESSION}\n")
    assert row["kind"] == "haproxy.tcp_session"
    assert row["structured_data"] == [
        {"id": "origin", "name": "software", "value": "haproxy"},
        {"id": "origin", "name": "note", "value": 'a] "b\\'},
        {"id": "meta", "name": "sequenceId", "value": "7"},
        {"id": "empty", "name": None, "value": None},
    ]


@pytest.mark.parametrize(
    ("before", "mark"),
    [("", "\ufeff"), ("2026-11-22T08:41:57.1Z stdout F ", ""), ("2026-11-22T08:41:57.1Z ", "")],
)
@pytest.mark.parametrize("machine_code", [False, True])
def test_they_stand_in_lines_of_containers_and_before_marked_messages(
    before: str, mark: str, machine_code: bool
) -> None:
    line = f'{before}{HEAD}[meta sequenceId="7"] {mark}{SESSION}\n'
    for row in rows(line + line, machine_code=machine_code):
        assert row["kind"] == "haproxy.tcp_session"
        assert row["host"] == "edge1"
        assert row["structured_data"] == [{"id": "meta", "name": "sequenceId", "value": "7"}]


@pytest.mark.parametrize(
    "line",
    [
        f"{HEAD}- {SESSION}",
        f"Nov 22 08:41:56 edge1 haproxy[3026] {SESSION}",
        "Nov 22 08:41:56 edge1 haproxy[3026]: [NOTICE] (3026) : New worker #1 (3028) forked",
        '1 [a b="c"] d',
        "",
    ],
)
def test_other_lines_have_none(line: str) -> None:
    assert all(not row.get("structured_data") for row in rows(line + "\n"))


@pytest.mark.parametrize("machine_code", [False, True])
def test_fields_that_a_configuration_names_are_read_with_those_of_the_message(machine_code: bool) -> None:
    grammars = catalogue.load(configured().grammars)
    data = '[smtp@32473 client="198.51.100.7" port="999" own="] 3"][out@32473 bytes="77"]'
    text = "".join(f"{HEAD.replace('haproxy', tag)}{data} {SESSION}\n" for tag in ("haproxy", "edge", "edge"))
    for row in rows(text, grammars, machine_code=machine_code):
        assert row["kind"] == "haproxy.tcp_session"
        assert row["sample_var_txn_score"] == "] 3"
        assert (row["client_address"], row["client_port"], row["bytes_to_client"]) == (
            "198.51.100.7",
            999,
            77,
        )
        assert (row["client_address_2"], row["client_port_2"]) == ("192.0.2.10", 41522)
        assert (row["server"], row["termination_state"]) == ("mx1", "--")
        assert len(row["structured_data"]) == 4


@pytest.mark.parametrize("message", ["", " ", " -"])
@pytest.mark.parametrize("machine_code", [False, True])
def test_a_session_can_be_all_in_structured_data(message: str, machine_code: bool) -> None:
    grammars = catalogue.load(configured().grammars)
    data = (
        '[smtp@32473 ci="192.0.2.10" cp="41522" t="22/Nov/2026:08:41:56.123" fe="alone" be="bk_mx" srv="mx1"'
    )
    (row,) = rows(f'{HEAD}{data} tt="8312" ts=--]{message}\n', grammars, machine_code=machine_code)
    assert row["kind"] == "haproxy.tcp_session"
    assert (row["client_address"], row["server"], row["duration_ms"]) == ("192.0.2.10", "mx1", 8312)


@pytest.mark.filterwarnings("ignore:The stamps of")
def test_sessions_logged_in_structured_data_are_joined_as_those_of_messages(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(ALONE)
    with (tmp_path / "haproxy.log").open("w") as log:
        for line in (SAMPLE / "haproxy.log").read_text().splitlines():
            session = TCPLOG.fullmatch(line)
            log.write(AS_DATA.format(**session.groupdict()) if session else line + "\n")
    mail = str(SAMPLE / "mail.log")
    settings = {"haproxy_cfg": str(tmp_path / "haproxy.cfg")}
    of_data = logscope.read_sessions(str(tmp_path / "haproxy.log"), mail, **settings)
    of_messages = logscope.read_sessions(str(SAMPLE / "haproxy.log"), mail)
    for column in (
        "client_address",
        "server",
        "outcome",
        "join_confidence",
        "bytes_to_client",
        "duration_ms",
    ):
        assert of_data[column].tolist() == of_messages[column].tolist()
    assert set(of_data["join_confidence"]) == {"exact"}


def test_lines_of_other_shapes_are_read_as_ever_under_a_configuration() -> None:
    grammars = catalogue.load(configured().grammars)
    unknown = f'{HEAD}[meta sequenceId="7"] {SESSION}\n'
    event = f"{HEAD}- Proxy ft_smtp started.\n"
    assert [row["kind"] for row in rows(unknown + event, grammars)] == [
        "haproxy.tcp_session",
        "haproxy.proxy_state",
    ]


def test_without_a_message_what_is_in_the_data_counts() -> None:
    (row,) = rows(f'{HEAD}[smtp@32473 client="192.0.2.10"]\n')
    assert row["kind"] == "haproxy.structured_data"
    assert row["structured_data"] == [{"id": "smtp@32473", "name": "client", "value": "192.0.2.10"}]


@pytest.mark.parametrize("rest", ["-", "- ", '[meta sequenceId="7"]'])
def test_a_line_that_says_nothing_is_explained(rest: str) -> None:
    line = f"<22>1 2026-11-22T08:41:56Z mx-a postfix/qmgr 9 - {rest}"
    (row,) = rows(line + "\n")
    assert (row["kind"], row["reason"]) == ("unparsed", "it has no message")
    assert row["host"] == "mx-a"
    assert "it has no message" in explain(line, PLAIN).reason


def test_explain_shows_the_fields_of_a_configuration() -> None:
    data = '[smtp@32473 client="198.51.100.7" port="999" own="1"][out@32473 bytes="77"]'
    found = explain(f"{HEAD}{data} {SESSION}", catalogue.load(configured().grammars))
    assert found.values["sample_var_txn_score"] == "1"
    assert found.values["server"] == "mx1"


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    elements(b"[" + data)


_WORDS = st.text(st.sampled_from("abcXYZ019@._-"), min_size=1, max_size=8)
_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=12)


@given(st.lists(st.tuples(_WORDS, st.lists(st.tuples(_WORDS, _VALUES), min_size=1, max_size=3)), max_size=3))
def test_what_is_written_by_the_rfc_is_read_back(given: list[tuple[str, list[tuple[str, str]]]]) -> None:
    written = "".join(
        f"[{name}" + "".join(f' {key}="{_escaped(value)}"' for key, value in pairs) + "]"
        for name, pairs in given
    )
    expected = [{"id": name, "name": key, "value": value} for name, pairs in given for key, value in pairs]
    assert elements(written.encode()) == expected


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
