"""`relay init`: the relay as files, and the same for the real daemons."""

from __future__ import annotations

from pathlib import Path

import pytest

from logscope.cli.main import main
from logscope.relay import config
from logscope.relay.balance.settings import SendProxy
from logscope.relay.header import Endpoint
from logscope.relay.layout import HOSTS, Layout, to_toml
from logscope.relay.real import configurations
from logscope.site import Site
from logscope.site.learn import learn

LAYOUTS = {
    "plain": Layout(),
    "masked beside it": Layout(masked=True, servers=3, send_proxy="v2"),
    "all masked, without a screen": Layout(screen=False, send_proxy="none", domain="mail.example"),
    "IPv6": Layout(masked=True, screen=False, listen=Endpoint("::1", 2600), port_logging=True),
}


def real_site(layout: Layout, directory: Path) -> Site:
    """What the configurations of the real daemons say."""
    for name, text in configurations(layout, str(directory)).items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    servers = [f"{host}={directory}/{host}" for host in HOSTS[: layout.servers]]
    return learn([f"edge1={directory}/haproxy.cfg"], servers)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_real_daemons_are_set_up_as_the_relay_is(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    site, relay = real_site(layout, tmp_path), config.parse(to_toml(layout), "layout", tmp_path)
    (balancer,) = relay.balancers
    assert {(one.frontend, one.address, one.port) for one in site.entrances} == {
        (one.name, bind.address, bind.port) for one in balancer.frontends for bind in one.bind
    }
    expected = {}
    for backend in balancer.backends:
        for server in backend.servers:
            (host,) = (one for one in relay.servers if one.host == server.name)
            (listener,) = (one for one in host.listeners if one.bind == server.address)
            sent = server.send_proxy is not SendProxy.NONE
            expected[backend.name, server.name] = (
                server.address,
                sent,
                bool(listener.trusted_proxies),
                "postscreen" if listener.screen else "smtpd",
                host.site.port_logging or listener.screen,
            )
    found = {}
    for route in site.routes:
        (listener,) = route.listeners
        target = route.target
        found[target.backend, target.server] = (
            Endpoint(target.address, target.port or 0),
            target.header != "none",
            listener.expects_header,
            listener.daemon,
            listener.logs_client_port,
        )
    assert found == expected
    assert {route.verdict for route in site.routes} <= {"passed", "masked"}
    assert site.domains == {domain for server in relay.servers for domain in server.transports}


def test_files_are_written_and_none_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "site"
    assert main(["relay", "--masked", "--servers", "1", "init", str(place)]) == 0
    assert f"logscope relay --config {place}/relay.toml" in capsys.readouterr().out
    names = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert {
        "relay.toml",
        "real/haproxy.cfg",
        "real/run.sh",
        "real/mx-a/main.cf",
        "real/mx-a/master.cf",
    } <= names
    assert len(config.read(place / "relay.toml").balancers[0].frontends) == 2
    assert main(["relay", "init", str(place)]) == 2
    assert "has files already" in capsys.readouterr().err
    assert main(["relay", "init", "/dev/null/x"]) == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err
