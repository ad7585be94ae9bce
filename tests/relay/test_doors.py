"""A relay that cannot listen on each of its addresses says so at once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from logscope.cli.main import main
from logscope.errors import LogscopeError, OutputError
from logscope.relay import config
from logscope.relay.header import Endpoint
from logscope.relay.rim.disk import RealDisk
from logscope.relay.rim.run import Relay
from logscope.relay.rim.wire import Doors

from .running import free_row, with_ports

TWO_SERVERS = """\
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk"
[[balancer.backend]]
name = "bk"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT1"
[[mta]]
host = "mx-a"
[[mta.listener]]
bind = "127.0.0.1:PORT1"
[[mta]]
host = "mx-b"
[[mta.listener]]
bind = "127.0.0.1:PORT2"
"""


@pytest.fixture
def row() -> int:
    """The first of 22 free ports: where the balancer, `mx-a` (10 further) and `mx-b` (20) would listen."""
    return free_row(22)


def occupied(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def can_listen(port: int) -> bool:
    try:
        occupied(port).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("offset", [0, 1, 10, 11, 20, 21])
def test_a_port_in_use_is_named_at_once(
    offset: int, row: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "relay"
    with occupied(row + offset):
        code = main(["relay", "--masked", "--listen", f"127.0.0.1:{row}", "--for", "1", "-d", str(home)])
    told = capsys.readouterr().err
    assert code == 2
    assert f"logscope: cannot listen on 127.0.0.1:{row + offset}: address already in use\n" in told
    assert "choose another with --listen" in told
    assert not home.exists()
    assert all(can_listen(row + other) for other in (0, 1, 10, 11, 20, 21))


def test_the_process_ends_too(row: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "logscope", "relay", "--listen", f"127.0.0.1:{row}", "-d", "relay"]
    with occupied(row):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"127.0.0.1:{row}: address already in use" in done.stderr


def test_an_address_of_another_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "relay"
    assert main(["relay", "--listen", "192.0.2.1:2525", "--for", "1", "-d", str(home)]) == 2
    told = capsys.readouterr().err
    assert "cannot listen on 192.0.2.1:2525: no address of this host" in told
    assert "`ip address` lists those it has" in told
    assert not home.exists()


def test_a_port_so_high_that_none_are_left_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "--masked", "--listen", "127.0.0.1:65515"]) == 2
    told = capsys.readouterr().err
    assert "--listen 127.0.0.1:65515: no ports are left for the servers" in told
    assert "Choose a port up to 65514" in told


def test_the_same_address_twice_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, ports = with_ports(TWO_SERVERS.replace("PORT2", "PORT1"))
    file = tmp_path / "relay.toml"
    file.write_text(text, "utf-8")
    assert main(["relay", "--config", str(file), "--for", "1"]) == 2
    assert f"127.0.0.1:{ports[1]}: address already in use" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_ports_that_the_system_chooses() -> None:
    anywhere = Endpoint("127.0.0.1", 0)
    doors = Doors([anywhere, anywhere])
    with doors.take(anywhere) as one, doors.take(anywhere) as other:
        assert one.getsockname() != other.getsockname()
    doors.close()


def test_a_log_that_cannot_be_opened_keeps_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text, ports = with_ports('[log]\nmail = "file/mail.log"\n' + TWO_SERVERS)
    with pytest.raises(OutputError, match="file"):
        Relay(config.parse(text, "test", tmp_path))
    assert all(map(can_listen, ports[:3]))


class SecondSpoolFails(RealDisk):
    """A disk whose directory of `mx-b` cannot be read."""

    def names(self, directory: Path) -> list[str]:
        if "mx-b" in directory.parts:
            raise PermissionError(13, "Permission denied", str(directory))
        return super().names(directory)


def test_a_server_that_cannot_start_ends_those_that_run(tmp_path: Path) -> None:
    text, ports = with_ports(TWO_SERVERS)

    async def start() -> None:
        async with asyncio.timeout(20), Relay(config.parse(text, "test", tmp_path), disk=SecondSpoolFails()):
            raise AssertionError("it must not come so far")

    with pytest.raises(LogscopeError, match=r"the spool of mx-b cannot be used: Permission denied$"):
        asyncio.run(start())
    assert all(map(can_listen, ports[:3]))
    log = (tmp_path / "mail.log").read_text("utf-8")
    assert log.count("terminating") == 1
    assert " mx-b " not in log
