"""haproxy.cfg: words, sections, and what follows from them for the logs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.errors import LogscopeError
from logscope.haproxy.config import Config, ConfigError, Endpoint, SendProxy, read, read_texts
from logscope.haproxy.stock_formats import HTTPLOG, TCPLOG
from logscope.haproxy.words import split_line

SMTP = r"""
global
    setenv INSIDE 10.0.0.5   # our side
    maxconn 2000

defaults mail
    mode tcp
    option tcplog
    option dontlognull
    default-server check inter 2s

defaults strict from mail
    no option dontlognull
    option logasap

frontend ft_smtp
    bind 203.0.113.25:25,:::25 name mx v4v6
    bind 203.0.113.26:10000-10010 accept-proxy ssl crt /etc/x.pem
    bind unix@/run/smtp.sock
    log-format "%ci:%cp [%t] %ft %b/%s \"%[src]\" %bi:%bp"
    error-log-format "%ci:%cp %[fc_err]"
    use_backend bk_vip if { src 192.0.2.1 }
    use_backend bk_%[src] if TRUE
    default_backend bk_mx

backend bk_mx from mail
    source "${INSIDE}"
    default-server send-proxy-v2 check-send-proxy
    server mx1 10.0.0.11:10024
    server mx2 [2001:db8::12]:10024 no-send-proxy-v2 no-check-send-proxy port 25 addr 10.0.0.12
    server mx3 mx3.example.org:+1000 backup disabled no-check source 10.0.0.6:1025 usesrc clientip

backend bk_vip from strict
    server-template vip 1-3 vip.example.org:25 send-proxy

listen stats
    mode http
    option httplog
    bind *:8080
    stats enable
    new-directive of the future
"""


def parse(text: str, **environment: str) -> Config:
    return read_texts([("haproxy.cfg", text)], environment)


@pytest.fixture
def config() -> Config:
    return parse(SMTP)


def proxy(config: Config, name: str):
    return next(entry for entry in config.proxies if entry.name == name)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("server mx1 10.0.0.1:25 # the first", ["server", "mx1", "10.0.0.1:25"]),
        (r"log-format %ci:%cp\ [%t]\ \"x\"\#", ["log-format", '%ci:%cp [%t] "x"#']),
        (r'a "b c"d\x41\t', ["a", "b cdA\t"]),
        (r"a 'b \ $X \"'", ["a", r"b \ $X \""]),
        (r'a "$X ${Y-no one} \$X"', ["a", "1 2 no one $X"]),
        ('a "${X[*]}"', ["a", "1", "2"]),
        (r"a \q$X", ["a", r"\q$X"]),
        ("  # nothing", []),
        ("", []),
        ("a ''", ["a", ""]),
    ],
)
def test_words(line, words):
    assert [word.text for word in split_line(line, {"X": "1 2"}.get)] == words


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ('server "mx1', 8, '" is not closed'),
        ("server 'mx1", 8, "' is not closed"),
        (r"server \xZ1", 8, "hexadecimal"),
        ('server "${X"', 9, "not a variable"),
        ('server "$"', 9, "not a variable"),
    ],
)
def test_what_is_no_word_is_refused_with_its_column(line, column, message):
    with pytest.raises(ConfigError) as caught:
        split_line(line, {}.get, "haproxy.cfg", 7)
    assert str(caught.value).startswith(f"haproxy.cfg:7:{column}: ")
    assert message in caught.value.message
    assert caught.value.hint


@given(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=20))
def test_any_text_survives_single_quotes(text):
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert [word.text for word in split_line(f"a {quoted}", {}.get)] == ["a", text]


def test_listeners(config):
    first, second, third = proxy(config, "ft_smtp").binds
    assert first.endpoints == (Endpoint("203.0.113.25", 25, 25), Endpoint("::", 25, 25))
    assert (first.name, first.accept_proxy, first.tls) == ("mx", False, False)
    assert second.endpoints == (Endpoint("203.0.113.26", 10000, 10010),)
    assert (second.accept_proxy, second.tls) == (True, True)
    assert third.endpoints == (Endpoint("/run/smtp.sock", family="unix"),)
    assert proxy(config, "stats").binds[0].endpoints == (Endpoint("", 8080, 8080),)


def test_servers_with_what_default_server_gives_them(config):
    mx1, mx2, mx3 = proxy(config, "bk_mx").servers
    assert mx1.endpoint == Endpoint("10.0.0.11", 10024, 10024)
    assert (mx1.send_proxy, mx1.check, mx1.check_send_proxy) == (SendProxy.V2, True, True)
    assert mx1.source == Endpoint("10.0.0.5")
    assert not mx1.transparent
    assert mx2.endpoint == Endpoint("2001:db8::12", 10024, 10024)
    assert (mx2.send_proxy, mx2.check, mx2.check_send_proxy) == (SendProxy.NONE, True, False)
    assert mx2.check_endpoint == Endpoint("10.0.0.12", 25, 25)
    assert mx3.endpoint == Endpoint("mx3.example.org", 1000, 1000, offset=True)
    assert (mx3.backup, mx3.disabled, mx3.check) == (True, True, False)
    assert mx3.source == Endpoint("10.0.0.6", 1025, 1025)
    assert mx3.transparent
    assert config.source_addresses == {"10.0.0.5", "10.0.0.6"}


def test_server_templates_are_counted_out(config):
    servers = proxy(config, "bk_vip").servers
    assert [server.name for server in servers] == ["vip1", "vip2", "vip3"]
    assert {server.send_proxy for server in servers} == {SendProxy.V1}


def test_defaults_hold_until_the_next_and_by_name(config):
    assert proxy(config, "bk_mx").options == {"tcplog", "dontlognull"}
    assert proxy(config, "ft_smtp").options == {"tcplog", "logasap"}
    assert proxy(config, "stats").mode == "http"
    assert proxy(config, "ft_smtp").mode == "tcp"


def test_the_last_format_counts_and_becomes_a_template(config):
    assert proxy(config, "ft_smtp").log_format == '%ci:%cp [%t] %ft %b/%s "%[src]" %bi:%bp'
    assert proxy(config, "stats").log_format == HTTPLOG
    assert proxy(config, "bk_mx").log_format == TCPLOG
    kinds = [translated.kind for translated in config.formats]
    assert kinds == ["haproxy.tcp_session", "haproxy.connection_error", "haproxy.http_request"]
    assert [entry["kind"] for entry in config.grammar["template"]] == kinds
    assert not config.format_problems


def test_a_format_that_cannot_be_read_is_a_problem_not_an_error():
    config = parse("frontend f\n  log-format %ci%cp\n")
    assert config.formats == ()
    problem = "nothing between %ci and %cp says where one ends and the other begins"
    assert config.format_problems == (f"haproxy.cfg:1:1: frontend f: log-format, column 4: {problem}",)


def test_frontends_know_the_servers_their_clients_may_meet(config):
    frontend = proxy(config, "ft_smtp")
    assert frontend.backends == ("bk_vip", "bk_mx")
    names = [server.name for _, server in config.servers_of(frontend)]
    assert sorted(names) == ["mx1", "mx2", "mx3", "vip1", "vip2", "vip3"]


def test_unknown_directives_are_kept_with_their_place(config):
    last = config.sections[-1].directives[-1]
    assert (last.keyword, last.arguments) == ("new-directive", ("of", "the", "future"))
    assert str(last.place) == f"haproxy.cfg:{len(SMTP.splitlines())}:5"
    assert [word.column for word in last.words] == [5, 19, 22, 26]


def test_both_branches_of_a_condition_are_read():
    branches = ".if defined(X)\nfrontend f\n bind :25\n.else\n bind :2525\n.endif\n"
    config = parse(branches + "backend b\n server s 192.0.2.1:25\n")
    first, second = proxy(config, "f").directives
    assert first.conditions == ("defined(X)",)
    assert second.conditions == ("!(defined(X))",)
    assert len(proxy(config, "b").servers) == 1


def test_variables_come_from_the_environment_and_from_haproxy():
    config = parse(
        'frontend f\n log-format "${HAPROXY_TCP_LOG_FMT} %bi:%bp"\n bind "${ADDRESS}:25"\n',
        ADDRESS="192.0.2.1",
    )
    assert proxy(config, "f").log_format == f"{TCPLOG} %bi:%bp"
    assert proxy(config, "f").binds[0].endpoints == (Endpoint("192.0.2.1", 25, 25),)
    assert config.notes == ()
    unset = parse('frontend f\n bind "${ADDRESS}:25"\n')
    assert unset.notes == ("haproxy.cfg:2:1: the variable ADDRESS is not set here; HAProxy may know it",)


def test_structured_data_are_read_alone_and_with_the_format_behind_them():
    config = parse(
        "defaults\n mode tcp\n log-format-sd '[a@1 ci=\"%ci\"]'\n"
        "frontend one\n bind :25\n option tcplog\n"
        "frontend two\n bind :26\n log-format %cp\n no log-format-sd\n"
        "frontend three\n bind :27\n log-format-sd %{+Q,+E}o\\ [b@1\\ src=%[src]]\n log-format %[src]\n"
        "log-profile p\n on close format '%cp' sd '[c@1 x=%B]'\n"
    )
    alone = ['[a@1 ci="%ci"]', "%{+Q,+E}o [b@1 src=%[src]]", "[c@1 x=%B]"]
    assert [one.log_format for one in config.formats] == [
        TCPLOG,
        alone[0],
        "%cp",
        "%[src]",
        *alone[1:2],
        "%cp",
        alone[2],
    ]
    assert [one.log_format for one in config.structured_formats] == [
        f"{alone[0]} {TCPLOG}", f"{alone[1]} %[src]", f"{alone[2]} %cp"
    ]  # fmt: skip
    assert not config.format_problems
    flags_begin_anew = config.structured_formats[1].text
    assert flags_begin_anew.startswith('[b@1 src="')
    assert not flags_begin_anew.endswith('"')


def test_log_profiles_have_formats_too():
    config = parse(
        "log-profile steps\n"
        ' on accept format "begin %ci:%cp"\n'
        " on close format '%ci:%cp [%t] %ft %Tt' sd '-'\n"
        ' on error format "%ci:%cp failed %b"\n'
        " on connect drop\n"
        ' on request format "%ci%cp"\n'
    )
    assert [(one.kind, one.log_format) for one in config.formats] == [
        ("haproxy.tcp_session", "%ci:%cp [%t] %ft %Tt"),
        ("haproxy.session_step", "begin %ci:%cp"),
        ("haproxy.connection_error", "%ci:%cp failed %b"),
    ]
    (problem,) = config.format_problems
    assert problem.startswith("haproxy.cfg:6:2: log-profile steps: log-format, column 4: nothing between")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("frontned f\n", "haproxy.cfg:1:1", "before any section"),
        ("frontend\n", "haproxy.cfg:1:1", "has no name"),
        ("frontend f from x\n", "haproxy.cfg:1:1", "no defaults section 'x'"),
        ("defaults a from\n", "haproxy.cfg:1:1", "names no defaults"),
        ("backend b\n  server s\n", "haproxy.cfg:2:3", "no name or no address"),
        ("backend b\n  server s 192.0.2.1:99999\n", "haproxy.cfg:2:12", "has no port"),
        ("backend b\n  server s 192.0.2.1:25 check port x\n", "haproxy.cfg:2:36", "'x' is no port"),
        ("backend b\n  server-template s many 192.0.2.1:25\n", "haproxy.cfg:2:21", "no number of servers"),
        ("frontend f\n .if 1\n", "haproxy.cfg:2:1", ".if without .endif"),
        ("frontend f\n .endif\n", "haproxy.cfg:2:2", ".endif without .if"),
    ],
)
def test_errors_name_the_place_and_a_next_step(text, place, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value.place) == place
    assert message in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_an_error_in_words(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read([tmp_path / "haproxy.cfg"])


@given(st.text(alphabet="abfrontend serv:\"'\\${}#[]*@/-.0159\n\t ", max_size=80))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        parse(f"backend b\n{text}")
    except LogscopeError as error:
        assert error.explain()  # noqa: PT017  the message itself is what is tested


@pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="haproxy is not installed")
@pytest.mark.parametrize(
    "line",
    [
        r".notice a\ b\ \"c\"\#",
        r'.notice "a $X ${X} \$"',
        r".notice 'a $X \ '",
        r'.notice "a"b\x41$X\q # c',
    ],
)
def test_words_are_those_haproxy_sees(line, tmp_path):
    """`.notice` prints its argument."""
    path = tmp_path / "haproxy.cfg"
    path.write_text(f"{line}\n")
    command = ["/usr/sbin/haproxy", "-c", "-f", path]
    done = subprocess.run(command, capture_output=True, text=True, env={"X": "1 2", "PATH": "/usr/bin"})
    first = split_line(line, {"X": "1 2"}.get)[1].text
    assert f"'{first}'" in done.stderr
