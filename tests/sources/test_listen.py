"""Syslog from real sockets: datagrams, streams in both framings, TLS; who may send; what is lost counts."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logscope.errors import ListenError, UsageError
from logscope.grammar import catalogue
from logscope.grammar.scan import Scanner
from logscope.sources.buffers import new_buffer
from logscope.sources.listen import (
    Access,
    Listening,
    Received,
    listen,
    parse_endpoint,
    parse_networks,
    refuse_places,
)
from logscope.sources.receiver import Senders

MESSAGE = b"<22>Nov 22 08:41:56 mx-a postfix/smtpd[9]: connect from unknown[192.0.2.10]"
DEADLINE_S = 20.0
LOCAL = socket.gethostname().partition(".")[0].encode()


class Ears:
    """Endpoints that are listened to, for the length of a test."""

    def __init__(self, *places: str, access: Access | None = None) -> None:
        endpoints = [endpoint for place in places for endpoint in parse_endpoint(place)]
        self.listening: Listening = listen(endpoints, access or Access())

    def port(self, number: int = 0) -> int:
        return int(self.listening.inputs[number].name.rpartition(":")[2])

    def hear(self, count: int, number: int = 0) -> list[bytes]:
        """So many lines of an endpoint, or fewer if the time is over."""
        source, data, buffer = self.listening.inputs[number], b"", new_buffer()
        until = time.monotonic() + DEADLINE_S
        while data.count(b"\n") < count and time.monotonic() < until:
            if got := source.read_into(buffer, 0):
                data += buffer[:got].tobytes()
            else:
                time.sleep(0.01)
        return data.splitlines()

    def the_rest(self, number: int = 0) -> list[bytes]:
        """What an endpoint has when nothing more is wanted."""
        self.listening.stop()
        source, data, buffer = self.listening.inputs[number], b"", new_buffer()
        until = time.monotonic() + DEADLINE_S
        while source.follows and time.monotonic() < until:
            if got := source.read_into(buffer, 0):
                data += buffer[:got].tobytes()
        return data.splitlines()

    def counts(self, number: int = 0) -> Received:
        self.listening.look()
        return self.listening.inputs[number]


@pytest.fixture
def ears() -> Iterator[Callable[..., Ears]]:
    opened: list[Ears] = []

    def open_some(*places: str, access: Access | None = None) -> Ears:
        opened.append(Ears(*places, access=access))
        return opened[-1]

    yield open_some
    for one in opened:
        one.listening.close()
        for source in one.listening.inputs:
            source.close()


def send_datagrams(port: int, *messages: bytes, host: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, (host, port))


def test_datagrams(ears: Callable[..., Ears]) -> None:
    """The largest there can be, too; none makes two lines; a host is added where there is none."""
    heard = ears("udp://127.0.0.1:0")
    largest = MESSAGE + b" " + b"x" * (65507 - len(MESSAGE) - 1)
    hostless = b"<134>Nov 22 08:41:56 haproxy[9]: started"
    send_datagrams(heard.port(), MESSAGE, b"a\nb", hostless, b"", largest)
    assert heard.hear(4) == [MESSAGE, b"a#012b", hostless[:21] + LOCAL + b" haproxy[9]: started", largest]


def test_streams(ears: Callable[..., Ears]) -> None:
    """Octet counting and line feeds, from two senders, cut anywhere; what is left at the end counts."""
    heard = ears("tcp://127.0.0.1:0")
    with (
        socket.create_connection(("127.0.0.1", heard.port())) as one,
        socket.create_connection(("127.0.0.1", heard.port())) as other,
    ):
        one.sendall(b"%d %s" % (len(MESSAGE), MESSAGE[:20]))
        other.sendall(MESSAGE + b"\nha")
        assert heard.hear(1) == [MESSAGE]
        one.sendall(MESSAGE[20:])
        assert heard.hear(1) == [MESSAGE]
        other.sendall(b"lf")
    assert heard.hear(1) == [b"half"]


def test_a_peer_that_never_ends_its_line(ears: Callable[..., Ears]) -> None:
    heard = ears("tcp://127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", heard.port())) as endless:
        for _ in range(64):
            endless.sendall(b"x" * (1 << 16))
        send_later = MESSAGE + b"\n"
        endless.sendall(b"\n" + send_later)
        lines = heard.hear(2)
    assert lines == [b"x" * (1 << 16), MESSAGE]
    heard.the_rest()
    assert heard.counts().counts.cut == 1


def test_datagrams_of_a_socket_file(ears: Callable[..., Ears], tmp_path: Path) -> None:
    path = tmp_path / "log"
    heard = ears(f"unix://{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for _ in range(1000):
            sender.sendto(MESSAGE, str(path))
    assert heard.hear(1000) == [MESSAGE] * 1000
    heard.listening.close()
    assert not path.exists()


def test_a_large_datagram_of_a_socket_file(ears: Callable[..., Ears], tmp_path: Path) -> None:
    """Larger than UDP can have: what is beyond the length of a message is cut off, and counted."""
    path = tmp_path / "log"
    heard = ears(f"unix://{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for length in (1 << 16, (1 << 16) + 1, 100_000):
            sender.sendto(b"x" * length, str(path))
        sender.sendto(MESSAGE, str(path))
    assert heard.hear(4) == [b"x" * (1 << 16)] * 3 + [MESSAGE]
    heard.the_rest()
    assert heard.counts().counts.cut == 2


def test_a_socket_file_left_behind_is_taken_over(ears: Callable[..., Ears], tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(path))
    ears(f"unix://{path}")
    (tmp_path / "file").touch()
    with pytest.raises(ListenError, match="address already in use"):
        ears(f"unix://{tmp_path / 'file'}")


def test_what_has_come_before_the_end_is_passed_on(ears: Callable[..., Ears]) -> None:
    heard = ears("udp://127.0.0.1:0")
    assert send_datagrams(heard.port(), MESSAGE) is None
    heard.hear(1)  # it runs
    for _ in range(20):
        send_datagrams(heard.port(), *[MESSAGE] * 100)
    lines = heard.the_rest()
    counts = heard.counts().counts
    assert len(lines) + counts.lost == 2000
    assert counts.messages == len(lines) + 1


def test_a_connection_just_made_is_heard_at_the_end(ears: Callable[..., Ears]) -> None:
    heard = ears("tcp://127.0.0.1:0")
    senders = [socket.create_connection(("127.0.0.1", heard.port())) for _ in range(20)]
    for sender in senders:
        sender.sendall(MESSAGE + b"\n")
    lines = heard.the_rest()
    for sender in senders:
        sender.close()
    assert lines == [MESSAGE] * 20


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=log.example"
    command += " -addext subjectAltName=DNS:log.example"
    subprocess.run(
        [*command.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    with path.open("ab") as both:
        both.write(Path(f"{path}.crt").read_bytes())
    return path


def test_tls(ears: Callable[..., Ears], certificate: Path) -> None:
    heard = ears("tls://127.0.0.1:0", access=Access(certificate=str(certificate)))
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", heard.port())) as plain,
        context.wrap_socket(plain, server_hostname="log.example") as sender,
    ):
        sender.sendall(b"%d %s" % (len(MESSAGE), MESSAGE) * 500)
        assert heard.hear(500) == [MESSAGE] * 500


def test_tls_wants_tls_and_the_right_certificate(ears: Callable[..., Ears], certificate: Path) -> None:
    access = Access(certificate=str(certificate), authority=str(certificate))
    heard = ears("tls://127.0.0.1:0", access=access)
    for context in (None, ssl.create_default_context(cafile=str(certificate))):
        assert was_shut_out(heard.port(), context)
    assert heard.the_rest() == []
    assert heard.counts().counts.failed == 2


def was_shut_out(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a sender, with TLS or without, gets nothing but the end of its connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sender:
        try:
            if context is not None:
                sender = context.wrap_socket(sender, server_hostname="log.example")
            sender.sendall(MESSAGE + b"\n")
            while sender.recv(100):  # an alert
                pass
        except (ssl.SSLError, ConnectionError):
            pass
        finally:
            sender.close()
    return True


# --- who may send -------------------------------------------------------------------------------------------


def test_only_networks_that_are_allowed() -> None:
    senders = Senders(["192.0.2.0/24", "2001:db8::/32"], "here")
    assert senders.name_of("192.0.2.7") == b"192.0.2.7"
    assert senders.name_of("::ffff:192.0.2.7") == b"192.0.2.7"
    assert senders.name_of("2001:db8::25") == b"2001:db8::25"
    assert senders.name_of("198.51.100.1") is None
    assert senders.name_of("127.0.0.1") is None
    assert Senders(["127.0.0.0/8"], "here").name_of("127.0.0.1") == b"here"


def test_others_are_refused_and_counted(ears: Callable[..., Ears]) -> None:
    heard = ears("udp://127.0.0.1:0", "tcp://127.0.0.1:0", access=Access(allow=("192.0.2.0/24",)))
    send_datagrams(heard.port(), MESSAGE)
    with socket.create_connection(("127.0.0.1", heard.port(1))) as refused:
        refused.settimeout(DEADLINE_S)
        assert refused.recv(1) == b""
    assert heard.the_rest() == []
    assert [heard.counts(number).counts.refused for number in (0, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("5514", ["udp://127.0.0.1:5514", "tcp://127.0.0.1:5514"]),
        ("[::1]:5514", ["udp://[::1]:5514", "tcp://[::1]:5514"]),
        ("tls://192.0.2.5:6514", ["tls://192.0.2.5:6514"]),
        ("unix:///run/log", ["unix:///run/log"]),
        ("udp:192.0.2.5:514", ["udp://192.0.2.5:514"]),
        ("unix:/run/log", ["unix:///run/log"]),
    ],
)
def test_places(text: str, endpoints: list[str]) -> None:
    assert [str(one) for one in parse_endpoint(text)] == endpoints


@pytest.mark.parametrize(
    "text", ["", "udp://x:1", "upd://127.0.0.1:1", "udp://127.0.0.1:99999", "unix://log", "1.2.3.4"]
)
def test_wrong_places(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_endpoint(text)
    assert error.value.hint


@pytest.mark.parametrize("name", ["udp://127.0.0.1:5514", "udp:127.0.0.1:5514"])
def test_places_that_stand_where_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_places(["-", "mail.log", "journal:", "udp:"])
    with pytest.raises(UsageError) as error:
        refuse_places(["mail.log", name])
    assert error.value.hint == "Write --listen udp://127.0.0.1:5514."
    (tmp_path / "udp:1").touch()
    refuse_places(["udp:1"])


def test_networks() -> None:
    assert parse_networks(["192.0.2.7/24", "2001:db8::1"]) == ("192.0.2.0/24", "2001:db8::1/128")
    assert "0.0.0.0/0" in parse_networks(["any"])
    with pytest.raises(UsageError, match="no address and no network"):
        parse_networks(["mx-a"])


@pytest.mark.parametrize(
    ("place", "access", "complaint"),
    [
        ("udp://0.0.0.0:0", Access(), "say who may send"),
        ("tls://127.0.0.1:0", Access(), "needs a certificate"),
        ("tls://127.0.0.1:0", Access(certificate="/nonexistent"), "cannot be used"),
    ],
)
def test_unsafe_places(place: str, access: Access, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        listen(parse_endpoint(place), access)


# --- real senders -------------------------------------------------------------------------------------------


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connected(port: int) -> socket.socket:
    """A connection to a daemon that is starting."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def kinds(lines: list[bytes]) -> tuple[list[str], set[str]]:
    """The kinds of some lines, and the hosts in them."""
    rows = Scanner(catalogue.load(), compiled=False).scan_bytes(b"\n".join(lines))
    hosts = {rows.names.text(code) if code >= 0 else "" for code in rows.host.tolist()}
    return [rows.kind(row) for row in range(rows.count)], hosts


def test_haproxy_logs_here(ears: Callable[..., Ears], tmp_path: Path) -> None:
    """`log 127.0.0.1:PORT local0`, with nothing between."""
    heard = ears("udp://127.0.0.1:0")
    frontend = free_port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(
            f"global\n  log 127.0.0.1:{heard.port()} local0\n"
            "defaults\n  mode tcp\n  log global\n  option tcplog\n"
            "  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
            f"frontend ft_smtp\n  bind 127.0.0.1:{frontend}\n  default_backend bk_mx\n"
            f"backend bk_mx\n  server mx1 127.0.0.1:{server.getsockname()[1]}\n"
        )
        balancer = subprocess.Popen(
            [program("haproxy"), "-f", str(configuration), "-db"], stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(10):
                with connected(frontend) as client:
                    served, _ = server.accept()
                    served.sendall(b"220 mx1.example ESMTP\r\n")
                    served.close()
                    while client.recv(100):
                        pass
            found, hosts = kinds(heard.hear(9))
        finally:
            balancer.terminate()
            balancer.wait(DEADLINE_S)
    assert (
        found.count("haproxy.tcp_session") >= 9
    )  # waiting for it to start may be one that it does not log so
    assert set(found) <= {"haproxy.tcp_session", "haproxy.proxy_state", "haproxy.connect"}
    assert hosts == {LOCAL.decode()}


@pytest.mark.parametrize("framing", ["octet-counted", "traditional"])
def test_rsyslog_forwards_here(ears: Callable[..., Ears], tmp_path: Path, framing: str) -> None:
    """What Postfix says to the log socket of its host, forwarded over TCP."""
    heard = ears("tcp://127.0.0.1:0")
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(
        f'global(workDirectory="{tmp_path}" localHostname="mx-a")\n'
        'module(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{tmp_path}/log" RateLimit.Interval="0")\n'
        f'action(type="omfwd" target="127.0.0.1" port="{heard.port()}" protocol="tcp"'
        f' TCP_Framing="{framing}")\n'
    )
    forwarder = subprocess.Popen(
        [program("rsyslogd"), "-n", "-i", str(tmp_path / "pid"), "-f", str(configuration)],
        stderr=subprocess.DEVNULL,
    )
    mail = (Path(__file__).parents[2] / "samples" / "proxy-v1" / "mail.log").read_bytes().splitlines()[:200]
    try:
        until = time.monotonic() + DEADLINE_S
        while not (tmp_path / "log").exists() and time.monotonic() < until:
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as postfix:
            for line in mail:
                postfix.sendto(b"<22>" + line[:16] + line[21:], str(tmp_path / "log"))  # without the host
        lines = heard.hear(len(mail))
    finally:
        forwarder.terminate()
        forwarder.wait(DEADLINE_S)
    assert [line.partition(b"]: ")[2] for line in lines] == [line.partition(b"]: ")[2] for line in mail]
    found, hosts = kinds(lines)
    assert not {"unparsed", "foreign"} & set(found)
    assert hosts == {"mx-a"}


def test_many_senders_at_once(ears: Callable[..., Ears]) -> None:
    heard = ears("tcp://127.0.0.1:0")

    def send(number: int) -> None:
        with socket.create_connection(("127.0.0.1", heard.port())) as sender:
            sender.sendall(b"".join(b"sender %d line %d\n" % (number, line) for line in range(200)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = heard.hear(4000)
    assert sorted(lines) == sorted(b"sender %d line %d" % (a, b) for a in range(20) for b in range(200))
