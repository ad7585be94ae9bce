"""The configuration file: what it gives, and what is said when it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from logscope.errors import SettingsError
from logscope.relay import config
from logscope.relay.balance.settings import SendProxy
from logscope.relay.header import Endpoint
from logscope.relay.layout import HOSTS, Layout, to_toml
from logscope.relay.screen.settings import Action, DnsList, ScreenTest
from logscope.relay.settings import RelaySettings

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
    assert config.seconds(value) == seconds


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
    ('["alice"]', '{ deliver = "mbox" }', None, "unknown transport 'mbox'"),
    ('"example.com" = ["alice"]', '"exa mple" = ["alice"]', 4, "no domain"),
    ('host = "mx-a"', 'host = "mx-a"\nusers = "users"', 3, "under TLS"),
    ('host = "mx-a"', 'host = "mx-a', 2, "Illegal character"),
    ("[[mta]]\nhost", "[[mta]]\nscreen = 1\nhost", 2, "no table"),
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


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        config.read(Path("/nonexistent/relay.toml"))
