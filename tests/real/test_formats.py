"""Formats of one's own as a real HAProxy prints them: every alias under every flag is read back.

HAProxy gets its sockets from the test, on loopback, and logs to its standard output. Skipped, with the
reason, where it is not installed.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from logscope.grammar import catalogue
from logscope.grammar.scan import Scanner
from logscope.haproxy.aliases import ALIASES
from logscope.haproxy.config import read_texts
from logscope.haproxy.log_format import as_grammar

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")

NEWER = {"OG": "3.1"}
"""Aliases that came after the oldest release that is tested with (2.6)."""
KNOWN = sorted(set(ALIASES) - set(NEWER) - {"o"})

FORMATS = {
    "plain": "",
    "quoted": "%{+Q}o ",
    "hexadecimal": "%{+X}o ",
    "escaped": "%{+Q,+E}o ",
    "optional": "%{-M}o ",
}
EVERYTHING = " ".join(f"{name}=%{name};" for name in KNOWN)
"""Every alias behind its name; blanks and semicolons end it."""
OTHERS = {
    "endpoints": "%ci:%cp -> %fi:%fp [%t] %b/%s %Tw/%Tc/%Tt %ts {%[src]:%[src_port]|%[fe_name,upper]} 100%%",
    "clf": '%{+Q}o %{-Q}ci - - [%T] %r %ST %B "" "" %cp %ms %ft %b %s %hrl %hsl',
    "captures": "%HM %HU %ST [%hr|%hs] %{+Q}[capture.req.hdr(0)] %U",
}


@contextmanager
def balancer(formats: dict[str, str], directory: Path) -> Iterator[tuple[dict[str, int], Path, str]]:
    """A running HAProxy with a frontend for each format: their ports, its log, and its configuration."""
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in formats}
        lines = [
            "global",
            " nbthread 1",  # lines come in the order of the requests
            " log stdout len 16384 format raw local0",
            "defaults",
            " mode http",
            " log global",
            " timeout client 5s",
            " timeout connect 5s",
            " timeout server 5s",
        ]
        for name, log_format in formats.items():
            quoted = log_format.replace("\\", "\\\\").replace('"', '\\"')
            lines += [
                f"frontend ft-{name}",
                f" bind fd@{sockets[name].fileno()}",
                " capture request header x-first len 40",
                " capture response header server len 40",
                f' log-format "{quoted}"',
                " http-request return status 200 content-type text/plain string ok hdr server one",
            ]
        text = "\n".join(lines) + "\n"
        (directory / "haproxy.cfg").write_text(text)
        log = directory / "haproxy.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")],
                stdout=stream,
                stderr=subprocess.PIPE,
                pass_fds=[one.fileno() for one in sockets.values()],
            )
            try:
                yield {name: one.getsockname()[1] for name, one in sockets.items()}, log, text
            finally:
                process.send_signal(signal.SIGUSR1)  # it ends, and logs, what is under way
                _, said = process.communicate(timeout=60)
                assert process.returncode == 0, said.decode()


def ask(port: int, request: bytes) -> int:
    """Send a request and read what comes; the port it was sent from."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        while connection.recv(4096):
            pass
        own: int = connection.getsockname()[1]
        return own


REQUESTS = (
    b'GET /a?b=c HTTP/1.1\r\nHost: x.example\r\nX-First: one "two"] \\\r\nConnection: close\r\n\r\n',
    b"POST / HTTP/1.0\r\n\r\n",
    b"nonsense\r\n\r\n",
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, dict[str, Any] | None]]]:
    """For each format the ports that asked, in order, and what was read in the line of each."""
    directory = tmp_path_factory.mktemp("formats")
    formats = {name: before + EVERYTHING for name, before in FORMATS.items()} | OTHERS
    asked: dict[str, list[int]] = {}
    with balancer(formats, directory) as (ports, log, configuration):
        for name, port in ports.items():
            asked[name] = [ask(port, request) for request in REQUESTS]
    every = log.read_bytes().splitlines(keepends=True)
    lines = [line for line in every if not line.startswith(b"Proxy ")]  # `Proxy ft stopped`
    assert len(lines) == len(formats) * len(REQUESTS)
    translated = read_texts([("haproxy.cfg", configuration)]).formats
    found: dict[str, list[tuple[int, dict[str, Any] | None]]] = {}
    envelopes = [path for path in catalogue.grammar_files() if path.name == "syslog.toml"]
    for name, one in zip(formats, translated, strict=True):
        scanner = Scanner(catalogue.load([as_grammar([one])], files=envelopes), compiled=False)
        found[name] = []
        for port in asked[name]:
            rows = scanner.scan_bytes(lines.pop(0))
            found[name].append((port, rows.values(0) if rows.template[0] >= 0 else None))
    return found


@pytest.mark.parametrize("name", [*FORMATS, *OTHERS])
def test_what_haproxy_prints_is_read(name: str, printed: dict[str, Any]) -> None:
    for port, values in printed[name]:
        assert values is not None
        assert values.get("client_port", port) == port
        assert values["http_status"] in (200, 400) if "http_status" in values else True


@pytest.mark.parametrize("name", FORMATS)
def test_every_alias_has_its_field(name: str, printed: dict[str, Any]) -> None:
    """Of a request that has everything, all that HAProxy printed is in a field of its own."""
    _, values = printed[name][0]
    assert values["termination_state"]
    assert values["frontend"] == f"ft-{name}"
    assert len(values) >= len(KNOWN) - 8  # no server was asked: its addresses are missing
    assert re.fullmatch(r"[\d-]+T[\d:.]+.*", str(values["accepted_at"]))
