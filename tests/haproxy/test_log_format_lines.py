"""Lines that HAProxy 2.6 printed, read through the templates that their formats translate to."""

from __future__ import annotations

import pytest

from logscope.grammar import catalogue
from logscope.grammar.scan import Scanner
from logscope.haproxy import log_format as lf
from logscope.haproxy import stock_formats


def read_values(log_format: str, line: str) -> tuple[str, dict[str, object]] | None:
    envelope = [path for path in catalogue.grammar_files() if path.name == "syslog.toml"]
    loaded = catalogue.load([lf.as_grammar([lf.translate(log_format)])], files=envelope)
    rows = Scanner(loaded, compiled=False).scan_bytes(f"Nov 22 16:47:38 lb haproxy[1]: {line}\n".encode())
    if rows.template[0] < 0:
        return None
    return rows.kind(0), rows.values(0)


CASES = [
    (
        "%{+Q}o %t %ci %cp %ft %b %s %ts %Tt %si %sp",
        '22/Nov/2026:16:47:38.000 "unix" 2 "f1" "b1" "s1" sD 1001 "127.0.0.1" 39425',
        {
            "accepted_at": "2026-11-22T16:47:38",
            "client_port": 2,
            "frontend": "f1",
            "frontend_tls": False,
            "backend": "b1",
            "server": "s1",
            "termination_state": "sD",
            "total_plus": False,
            "duration_ms": 1001,
            "server_address": "127.0.0.1",
            "server_port": 39425,
        },
    ),
    (
        "%{+X}o %ci:%cp_%fi:%fp_%Ts_%rt:%pid",
        "7F000001:ACC0_7F000001:8AC1_6B031CAC_0008:3FE2",
        {
            "client_address_hex": "7F000001",
            "client_port": 0xACC0,
            "frontend_address_hex": "7F000001",
            "frontend_port": 0x8AC1,
            "accepted_epoch": 0x6B031CAC,
            "request_counter": 8,
            "process_id": 0x3FE2,
        },
    ),
    (
        "%Ts.%ms  %H   %ID %[src]:%[src_port] sni=%[ssl_fc_sni] %U/%B %lc %Td %Th",
        "1795366069.022 vm - -:- sni=- 18/0 3 1000 0",
        {
            "accepted_at_utc": "2026-11-22T16:47:49.022",
            "balancer_host": "vm",
            "unique_id": "-",
            "tls_sni": "-",
            "upload_plus": False,
            "bytes_to_server": 18,
            "bytes_plus": False,
            "bytes_to_client": 0,
            "log_counter": 3,
            "transfer_ms": 1000,
            "handshake_ms": 0,
        },
    ),
    (
        "%HM %HP %ST [%hr|%hs] %{+Q}hr %hrl %hsl",
        'GET /a 504 [{x y}|{}] "{x y}" x y -',
        {
            "http_method": "GET",
            "http_path": "/a",
            "http_status": 504,
            "request_headers": "x y",
            "response_headers": "",
            "request_headers_2": "x y",
            "captured_headers": "x y -",
        },
    ),
    (
        "%HM %HP %ST [%hr|%hs] %{+Q}hr %hrl %hsl",
        "<BADREQ> <BADREQ> 400 [|] ",
        {"http_method": "<BADREQ>", "http_path": "<BADREQ>", "http_status": 400},
    ),
    (
        stock_formats.TCPLOG + " %bi:%bp %fi:%fp %si:%sp %U",
        "unix:2 [22/Nov/2026:16:47:35.488] f0 b0/<NOSRV> -1/-1/+0 +54 SC 1/1/0/0/+3 0/0 -:- unix:2 -:- 7",
        {
            "client_listener": 2,
            "accepted_at": "2026-11-22T16:47:35.488",
            "frontend": "f0",
            "frontend_tls": False,
            "backend": "b0",
            "server": "<NOSRV>",
            "queue_ms": -1,
            "connect_ms": -1,
            "total_plus": True,
            "duration_ms": 0,
            "bytes_plus": True,
            "bytes_to_client": 54,
            "termination_state": "SC",
            "process_connections": 1,
            "frontend_connections": 1,
            "backend_connections": 0,
            "server_connections": 0,
            "retries_plus": True,
            "retries": 3,
            "server_queue": 0,
            "backend_queue": 0,
            "frontend_listener": 2,
            "upload_plus": False,
            "bytes_to_server": 7,
        },
    ),
    (
        "%{+Q,+E}o [x@1 a=%b c=%[src] d=%bi] %Tl",
        '[x@1 a="b10" c="" d="127.0.0.1"] 22/Nov/2026:16:48:23 +0100',
        {"backend": "b10", "source_address": "127.0.0.1", "accepted_at_utc": "2026-11-22T15:48:23"},
    ),
    (
        "%{+Q}o a=%bi b=%bp c=%cp",
        'a="" b="" c=41522',
        {"client_port": 41522},
    ),
    (
        "%{-M}o %sslc; %sslv; %b; %sp;",
        "; ; bk; ;",
        {"tls_cipher": "", "tls_protocol": "", "backend": "bk"},
    ),
    ("%Tw{x}%ac%% %-x", "1{x}2% -x", {"queue_ms": 1, "process_connections": 2}),
    (
        (
            "%{+json}o %(client)ci %(port)cp%(at)t left out %(fe)ft %(be)b/%(srv)s %Tw %(took:str)Tt "
            "%(down)B "
            "%(ts)ts %(rc)rc %(helo)[capture.req.hdr(0)] %(tls:bool)[ssl_fc] %(n)[nbsrv] %(from)bi %(fp)bp"
        ),
        (
            '{"client": "2001:db8::7", "port": 50112, "at": "22/Nov/2026:16:47:35.488", "fe": "ft_smtp", '
            '"be": "bk_mx", "srv": "<NOSRV>", "took": "8312", "down": 1954, "ts": "SC", "rc": 3, '
            '"helo": "a \\", \\"tls\\": true", "tls": false, "n": 2, "from": "", "fp": ""}'
        ),
        {
            "client_address": "2001:db8::7",
            "client_port": 50112,
            "accepted_at": "2026-11-22T16:47:35.488",
            "frontend": "ft_smtp",
            "backend": "bk_mx",
            "server": "<NOSRV>",
            "total_plus": False,
            "duration_ms": 8312,
            "bytes_plus": False,
            "bytes_to_client": 1954,
            "termination_state": "SC",
            "retries_plus": False,
            "retries": 3,
            "sample_helo": 'a \\", \\"tls\\": true',
            "sample_tls_is": "false",
            "sample_n": "2",
        },
    ),
    (
        '{"to":%{+json}ft,"hdr":%{+json}[capture.req.hdr(0)],"n":%Tw}',
        '{"to":"ft_smtp","hdr":"x \\"y","n":-1}',
        {"frontend": "ft_smtp", "sample_capture_req_hdr_0": 'x \\"y', "queue_ms": -1},
    ),
    (
        "%{+json,+X}o %(a)ci %(p)cp %(r)r %(h)hr %(l)hrl",
        '{"a": "C0000201", "p": "0019", "r": "GET / HTTP/1.1", "h": "{x|y}", "l": ["x", "y"]}',
        {
            "client_address_hex": "C0000201",
            "client_port": 25,
            "http_method": "GET",
            "http_uri": "/",
            "http_version": "HTTP/1.1",
            "request_headers": "x|y",
            "request_headers_2": '"x", "y"',
        },
    ),
]


@pytest.mark.parametrize(("log_format", "line", "values"), CASES)
def test_a_printed_line_gives_its_values(log_format, line, values):
    kind, found = read_values(log_format, line)
    assert found == values
    assert kind == lf.translate(log_format).kind


def test_a_line_of_another_format_does_not_match():
    assert read_values("%ci:%cp %s", "192.0.2.1:25 mx1 more") is None


def test_formats_are_added_to_the_stock_grammars_once_each():
    content = lf.as_grammar([lf.translate("%ci|%Tw"), lf.translate("%ci|%Tw"), lf.translate("%ci|%Tc")])
    assert [entry["text"] for entry in content["template"]] == [
        "{({client_address:ip}{|}unix{|}-)}|{queue_ms:int}",
        "{({client_address:ip}{|}unix{|}-)}|{connect_ms:int}",
    ]
    files = [path for path in catalogue.grammar_files() if path.name in ("syslog.toml", "haproxy.toml")]
    loaded = catalogue.load([content], files=files)
    assert sum(template.grammar == "haproxy-configured" for template in loaded.templates) == 2
