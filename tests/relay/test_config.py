"""The configuration file: what it gives, and what is said when it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from logscope.errors import SettingsError
from logscope.relay import config, toml_table
from logscope.relay.balance.settings import SendProxy
from logscope.relay.header import Endpoint
from logscope.relay.layout import HOSTS, Layout, to_toml
from logscope.relay.screen.settings import Action, DnsList, ScreenTest
from logscope.relay.settings import LogSettings, RelaySettings

HERE = Path("/relay")


def parsed(text: str) -> RelaySettings:
    return config.parse(text, "relay.toml", HERE)


SMALL = """\
[[mta]]
host = "mx-a"
[mta.domains]
"example.com" = ["alice"]
[[mta.listener]]
bind = "127.0.0.1:2525"
"""


def test_a_small_one() -> None:
    [server] = parsed(SMALL).servers
    assert server.site.rules.domains == {"example.com": frozenset({"alice"})}
    assert server.listeners[0].bind == Endpoint("127.0.0.1", 2525)
    assert server.listeners[0].trusted_proxies == ()
    assert not server.site.tls
    assert server.screen.action(ScreenTest.PREGREET) is Action.ENFORCE


def test_log_hosts_as_they_are_written_elsewhere() -> None:
    log = '[log]\nbalancer = "udp://192.0.2.1:514"\nmail = "unix:///run/log"\n'
    assert parsed(log + SMALL).log == LogSettings("udp:192.0.2.1:514", "unix:/run/log")


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(masked=True, servers=len(HOSTS), send_proxy="v2"),
        Layout(send_proxy="none", screen=False, domain="example.net", tls=True),
        Layout(listen=Endpoint("::1", 2525), log_format="%ci:%cp [%t] %ft %b/%s %ts", trusted=("::1",)),
    ],
)
def test_layouts_are_configurations(layout: Layout) -> None:
    found = parsed(to_toml(layout))
    assert [server.host for server in found.servers] == list(HOSTS[: layout.servers])
    [balancer] = found.balancers
    assert [entry.name for entry in balancer.frontends] == list(layout.frontends)
    ports = [entry.bind.port for server in found.servers for entry in server.listeners]
    ports += [bind.port for entry in balancer.frontends for bind in entry.bind]
    assert len(set(ports)) == len(ports)
    for server in balancer.backends[0].servers:
        assert server.send_proxy is SendProxy(layout.send_proxy)
    for entry in found.servers:
        assert bool(entry.listeners[0].trusted_proxies) is (layout.send_proxy != "none")
    for server in balancer.backends[-1].servers:
        assert (server.send_proxy is SendProxy.NONE) is (layout.masked or layout.send_proxy == "none")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (0.5, 0.5), ("500ms", 0.5), ("5s", 5.0), ("1m", 60.0), ("2h", 7200.0), ("5d", 432_000.0)],
)
def test_durations(value: object, seconds: float) -> None:
    assert toml_table.seconds(value) == seconds


def test_dns_sites_are_written_as_in_postfix() -> None:
    text = SMALL.replace(
        "[[mta.listener]]",
        '[mta.screen]\ndnsbl_sites = ["zen.dnsbl.example=127.0.0.2;127.0.0.3*3", "wl.example*-2"]\n'
        "[[mta.listener]]",
    )
    assert parsed(text).servers[0].screen.dns_lists == (
        DnsList("zen.dnsbl.example", 3, frozenset({"127.0.0.2", "127.0.0.3"})),
        DnsList("wl.example", -2),
    )


WRONG = [
    ('host = "mx-a"', 'host = "mx a"', 2, "host: 'mx a' is no name"),
    ('host = "mx-a"', "host = 7", 2, "host: 7 is not text"),
    ('host = "mx-a"', 'host = "mx-a"\nhostnam = "x"', 3, "unknown setting 'hostnam'"),
    ('bind = "127.0.0.1:2525"', 'bind = "localhost:25"', 6, "no address with a port"),
    ('bind = "127.0.0.1:2525"', 'bind = "127.0.0.1:99999"', 6, "no port"),
    ('bind = "127.0.0.1:2525"', "", 5, "bind is missing"),
    ('bind = "127.0.0.1:2525"', 'bind = "127.0.0.1:25"\nproxy_from = ["x"]', 7, "proxy_from"),
    ('bind = "127.0.0.1:2525"', 'bind = "127.0.0.1:25"\nscreen = "yes"', 7, "neither true nor false"),
    ('bind = "127.0.0.1:2525"', 'bind = "127.0.0.1:25"\nproxy_timeout = "soon"', 7, "no duration"),
    ('["alice"]', '{ deliver = "mbox" }', 4, "unknown transport 'mbox'"),
    ('"example.com" = ["alice"]', '"exa mple" = ["alice"]', 4, "no domain"),
    ('host = "mx-a"', 'host = "mx-a"\nusers = "users"', 3, "under TLS"),
    ('host = "mx-a"', 'host = "mx-a', 2, "Illegal character"),
    ("[[mta]]\nhost", "[[mta]]\nscreen = 1\nhost", 2, "no table"),
    ("[[mta.listener]]\n", "[[mta.listner]]\n", 5, "unknown setting 'listner'"),
    ('host = "mx-a"', 'hots = "mx-a"', 2, "unknown setting 'hots'"),
    ('bind = "127.0.0.1:2525"\n', 'bnid = "127.0.0.1:2525"\n', 6, "unknown setting 'bnid'"),
    ('bind = "127.0.0.1:2525"\n', "bind = [\n\n", 6, "Invalid value"),
    ('bind = "127.0.0.1:2525"\n', "bind =", 6, "Invalid value"),
    ('bind = "127.0.0.1:2525"\n', 'bind = """', 6, "Unterminated string"),
    ('bind = "127.0.0.1:2525"\n', "bind", 6, "Expected '=' after a key"),
    (SMALL, "", None, "nothing to run"),
    (SMALL, "mta = 1\n", 1, "no list of tables"),
    (SMALL, '[log]\nformat = "bds"\n' + SMALL, 2, "unknown value 'bds'"),
    (SMALL, '[log]\nzone = "Mars"\n' + SMALL, 2, "unknown time zone"),
    (SMALL, '[log]\nmail = "udp:nowhere"\n' + SMALL, 2, "no log host; write udp:192.0.2.1:514"),
    (SMALL, '[log]\nmail = "tcp:host:port"\n' + SMALL, 2, "no log host"),
    (SMALL, '[log]\nbalancer = "unix:"\n' + SMALL, 2, "no place for a log"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, line: int | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parsed(SMALL.replace(old, new))
    assert caught.value.place is not None
    assert caught.value.place.file == "relay.toml"
    assert caught.value.place.line == line


def test_the_right_one_of_many_tables_is_named() -> None:
    text = to_toml(replace(Layout(), masked=True))
    lines = text.splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith("send_proxy")][3]
    lines[at] = 'send_proxy = "v3"'
    with pytest.raises(SettingsError, match="unknown value 'v3'") as caught:
        parsed("\n".join(lines))
    assert caught.value.place is not None
    assert caught.value.place.line == at + 1


BALANCER = """\
[[balancer]]
[[balancer.frontend]]
name = "ft"
bind = "127.0.0.1:2525"
backend = "bk"
[[balancer.backend]]
name = "bk"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:2535"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "near"),
    [
        ("bind", "bnid", 4, "bind"),
        ("address", "adress", 10, "address"),
        ('"bk"\n[[', '"bk"\nmax_conn = 1\n[[', 6, "maxconn"),
        ("balancer.backend.", "balancer.backend.the_", 8, None),
        ("[[balancer.backend]]", "[[balancer.backnd]]", 6, "backend"),
        ("balancer.frontend", "balancer.fronted", 2, "frontend"),
        ("[[balancer]]\n", "[[balancer]]\nfrontends = []\n", 2, "frontend"),
        ("[[balancer]]", "drian = 5\n[[balancer]]", 1, "drain"),
        ("[[balancer]]", "[lgo]\n[[balancer]]", 1, "log"),
    ],
)
def test_a_misspelt_name_is_shown_with_the_near_one(old: str, new: str, line: int, near: str | None) -> None:
    text = BALANCER.replace(old, new, 1)
    if "backnd" in new:
        text = text.replace("balancer.backend.", "balancer.backnd.")
    with pytest.raises(SettingsError, match="unknown setting") as caught:
        parsed(text)
    assert caught.value.place is not None
    assert caught.value.place.line == line
    assert caught.value.hint is not None
    assert near is None or caught.value.hint == f"Did you mean {near!r}?"


@pytest.mark.parametrize("key", ["name", "bind", "backend", "address"])
def test_what_is_missing_is_said(key: str) -> None:
    text = "".join(line for line in BALANCER.splitlines(keepends=True) if not line.startswith(key))
    with pytest.raises(SettingsError, match=f"{key} is missing"):
        parsed(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"

    def told() -> str:
        with pytest.raises(SettingsError) as caught:
            config.read(file)
        return caught.value.explain().removeprefix(f"{file}: ")

    assert told() == "cannot be read: No such file or directory\n  `logscope relay init DIR` writes one."
    file.write_bytes(b"[log]\nmail = '\xe9.log'\n")
    assert told() == "cannot be read: line 2 is no UTF-8 text (byte 0xe9)"
    file.unlink()
    file.mkdir()
    assert told() == "cannot be read: Is a directory"
