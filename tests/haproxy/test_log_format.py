"""log-format strings become templates that read what HAProxy prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.grammar import language, syntax
from logscope.grammar.build import build
from logscope.grammar.catalogue import grammar_directory, read_sources
from logscope.haproxy import log_format as lf
from logscope.haproxy import stock_formats
from logscope.haproxy.aliases import ALIASES, REMOVED, Shape
from logscope.haproxy.format_items import LogFormatError


def fields_of(template: str) -> set[str]:
    return {found.name for found in syntax.fields(language.parse(template))}


def endpoint(side: str) -> str:
    known = f"{{{side}_address:ip}}:{{{side}_port:port}}"
    return f"{{({known}{{|}}unix:{{{side}_listener:uint}}{{|}}-:{{(-{{|}}{{{side}_port:port}})}})}}"


def test_tcplog_has_the_fields_and_names_the_joins_read():
    assert lf.translate(stock_formats.TCPLOG).text == (
        f"{endpoint('client')} [{{accepted_at:time(haproxy)}}] {{frontend:name}}{{frontend_tls:flag(~)}} "
        "{backend:name}/{server:name} {queue_ms:int}/{connect_ms:int}/{total_plus:flag(+)}{duration_ms:int} "
        "{bytes_plus:flag(+)}{bytes_to_client:uint} {termination_state:name} "
        "{process_connections:uint}/{frontend_connections:uint}/{backend_connections:uint}/"
        "{server_connections:uint}/{retries_plus:flag(+)}{retries:uint} "
        "{server_queue:uint}/{backend_queue:uint}"
    )


@pytest.mark.parametrize("name", sorted(stock_formats.ENVIRONMENT))
def test_stock_formats_translate_to_templates_the_language_reads(name):
    translated = lf.translate(stock_formats.ENVIRONMENT[name])
    assert fields_of(translated.text) == set(translated.fields)
    assert translated.kind == (lf.REQUEST if "HTTP" in name else lf.SESSION)


@pytest.mark.parametrize("name", sorted({*ALIASES, *REMOVED} - {"o"}))
@pytest.mark.parametrize("flags", ["", "{+Q}", "{-M}", "{+X}", "{+E}", "{+json}"])
def test_every_alias_translates_under_every_flag(name, flags):
    translated = lf.translate(f"a %{flags}{name} b")
    assert translated.fields
    assert fields_of(translated.text) == set(translated.fields)


def test_all_of_them_can_be_read_with_all_others():
    """A field is of one kind in all formats and grammars, or one odd format would make all others useless."""
    flags = ("", "{+Q}", "{-M}", "{+X}", "{+E}", "{+json}", "{+Q,+X}", "{+json,+X}")
    items = [f"%{flag}{name}" for name in sorted({*ALIASES, *REMOVED} - {"o"}) for flag in flags]
    items += [f"%{flag}[{name}]" for name in ("src", "bc_src_port", "fe_name", "rand(5)") for flag in flags]
    formats = [lf.translate(f"a {item} b") for item in items]
    stock = [one for one in grammar_directory().glob("*.toml") if one.name in ("haproxy.toml", "syslog.toml")]
    build(read_sources(stock, [lf.as_grammar(formats)]))


def test_removed_spellings_are_todays_fields():
    for old, new in REMOVED.items():
        assert lf.translate(f"%{old}").text == lf.translate(f"%{new}").text


@pytest.mark.parametrize(
    ("log_format", "template"),
    [
        # blanks: printed once, none at the start
        ("  a   b ", "a b"),
        ("%{+Q}o  %Tw", "{queue_ms:int}"),
        # what prints nothing does not leave two blanks behind
        ("%Tw %hr %Tc", "{queue_ms:int}{[ {{{request_headers:text}}}]} {connect_ms:int}"),
        ("|%hr %hs|", "|{[{{{request_headers:text}}}]} {[{{{response_headers:text}}}]}|"),
        ("%Tw %hs> %Tc", "{queue_ms:int} {[{{{response_headers:text}}}]}> {connect_ms:int}"),
        ("%Tw %hr %hs> ", "{queue_ms:int}{[ {{{request_headers:text}}}]} {[{{{response_headers:text}}}]}>"),
        ("%Tw %hr", "{queue_ms:int}{[ {{{request_headers:text}}}]}"),
        ("%Tw %{-M}[var(x)] ", "{queue_ms:int}{[ {sample_var_x:text}]}"),
        # hexadecimal addresses have no quotes, expressions are no numbers
        ("%{+X,+Q}si|", '{(""{|}{server_address_hex:word})}|'),
        ("%{+X}[src]|", "{({client_address:ip}{|}unix{|}-)}|"),
        ("%hr %Tc", "{[{{{request_headers:text}}} ]}{connect_ms:int}"),
        ("%hr|%Tc", "{[{{{request_headers:text}}}]}|{connect_ms:int}"),
        # flags: on one item, on all that follow, taken back
        ("%{+Q}s %s", '"{server:nametext}" {server_2:name}'),
        ("%{+Q}o %s %{-Q}b %f", '"{server:nametext}" {backend:name} "{frontend:nametext}"'),
        ("%{+Q}o %t %Tw %ts", "{accepted_at:time(haproxy)} {queue_ms:int} {termination_state:name}"),
        ("%{+Q}ci", '"{({client_address:ip}{|}unix{|})}"'),
        ("%{+X}ci:%{+X}cp", "{(-{|}{client_address_hex:word})}:{({client_port:hex}{|}-)}"),
        # literal text
        ("100%% {x}", "100% {{x}}"),
        ("%ts--", "{termination_state:name}--"),
        # expressions
        ("%[bc_src]:%[bc_src_port]", endpoint("source")),
        ('%[req.hdr(x),regsub("[a-z]","",g)]|', "{sample_req_hdr_x_regsub_a_z_g:text}|"),
        ("%(helo:str)[var(txn.helo)]", "{sample_helo:text}"),
        # parts that belong together
        ("%Ts.%ms", "{accepted_at_utc:time(epoch)}"),
        ("%ci:%sp", "{({client_address:ip}{|}unix{|}-)}:{({server_port:port}{|}-)}"),
        ("%Ta/%Tt", "{active_plus:flag(+)}{active_ms:int}/{total_plus:flag(+)}{duration_ms:int}"),
    ],
)  # fmt: skip
def test_pieces(log_format, template):
    assert lf.translate(log_format).text == template


@pytest.mark.parametrize(
    ("log_format", "column", "problem"),
    [
        ("%ci%cp", 4, "nothing between %ci and %cp"),
        ("%Tw %s%b", 7, "nothing between %s and %b"),
        ("%Tw%Tc", 4, "nothing between %Tw and %Tc"),
        ("%s%hr%b", 6, "nothing between %s and %b"),
        ("%ci.%cp", 4, "'.' could be a part of it"),
        ("%b/%s<%ts", 6, "'<' could be a part of it"),
        ("<%s>%ts", 4, "'>' could be a part of it"),
        ("%ci %{+Q}hrl %{+Q}b", 14, "nothing tells %hrl"),
        ("%ci %{+Q}hs %{+Q}[var(txn.x)]", 13, "nothing tells %hs"),
        ("%[src,lower]%[dst,lower]", 13, "nothing between"),
        ("%Tw %zz", 5, "no alias %zz"),
        ("%ci %{+json}o %cp", 1, "no item has a name"),
        ("%{+cbor}o %(port)cp", 1, "CBOR is not text"),
        ("50% %ci", 3, "a lone '%'"),
        ("%ci %[src", 5, "no end"),
        ("%ci %{+Q}", 5, "flags without an alias"),
        ("", 1, "prints nothing"),
        ("%{+Q}o", 1, "prints nothing"),
    ],
)
def test_what_cannot_be_read_back_is_refused_with_its_column(log_format, column, problem):
    with pytest.raises(LogFormatError) as caught:
        lf.translate(log_format)
    assert problem in caught.value.message
    assert caught.value.column == column
    assert caught.value.hint


def test_the_kind_is_that_of_requests_as_soon_as_a_field_is():
    assert lf.translate("%ci %Tt").kind == "haproxy.tcp_session"
    assert lf.translate("%ci %Tt %r").kind == "haproxy.http_request"
    assert lf.translate("%ci %Tt", kind="haproxy.connection_error").kind == "haproxy.connection_error"


ITEMS = st.one_of(
    st.sampled_from(sorted(set(ALIASES) - {"o"})).map(lambda name: f"%{name}"),
    st.sampled_from(sorted(set(ALIASES) - {"o"})).map(lambda name: f"%{{+Q}}{name}"),
    st.sampled_from(
        ["%[src]", "%[ssl_fc_sni]", "%[req.hdr(host)]", "%%", "{", "}}", "[", "]", "(", ")", "a b", "~", ":"]
    ),
)


@given(st.lists(ITEMS, min_size=1, max_size=12).map(" ".join))
def test_items_between_blanks_translate_unless_captures_are_quoted(log_format):
    translated = translated_or_refused(log_format)
    if isinstance(translated, LogFormatError):
        assert "+Q" in log_format
        assert "which may print nothing" in translated.message
    else:
        assert fields_of(translated.text) == set(translated.fields)


@given(st.text(alphabet="%{}[]+-QXM osctiTr()\"'\\:/", max_size=20))
def test_any_text_translates_or_is_refused_in_words(log_format):
    outcome = translated_or_refused(log_format)
    if isinstance(outcome, LogFormatError):
        assert 1 <= outcome.column <= max(1, len(log_format))
    else:
        assert fields_of(outcome.text) == set(outcome.fields)


def translated_or_refused(log_format: str) -> lf.Translated | LogFormatError:
    try:
        return lf.translate(log_format)
    except LogFormatError as error:
        return error


def test_no_shape_is_forgotten():
    assert {entry.shape for entry in ALIASES.values()} | {Shape.CODE} == set(Shape)


@pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="haproxy is not installed")
def test_haproxy_accepts_what_is_accepted_here(tmp_path):
    import subprocess

    for name, log_format in stock_formats.ENVIRONMENT.items():
        mode = "http" if "HTTP" in name else "tcp"
        written = json.dumps(log_format)
        path = tmp_path / f"{name}.cfg"
        path.write_text(
            f"defaults\n  mode {mode}\n  timeout client 1s\n  timeout server 1s\n  timeout connect 1s\n"
            f"frontend f\n  bind 127.0.0.1:2525\n  log 127.0.0.1:514 local0\n  log-format {written}\n"
        )
        done = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
