"""Starts and stops the daemons of a lab, each in its namespaces, under the names a real host would use.

Every Postfix has its own mount and process-id namespaces: its files are bound over /etc/postfix,
/var/spool/postfix and /var/lib/postfix, and its /dev/log is a socket of the lab's log host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import configuration, layouts
from .network import SERVERS, Network, run

if TYPE_CHECKING:
    from .scenarios import Scenario

ROOT = Path(__file__).resolve().parents[2]

#: Runs as the first process of a Postfix host. Commands come through the FIFO `control`.
HOST_SCRIPT = """\
set -eu
lab=$1 name=$2
hostname "$name"
mount --bind "$lab/etc" /etc/postfix
mount --bind "$lab/spool" /var/spool/postfix
mount --bind "$lab/lib" /var/lib/postfix
mount --bind "$lab/hosts" /etc/hosts
mount --bind "$lab/resolv.conf" /etc/resolv.conf
mount -t tmpfs -o mode=755 none /var/mail
mkdir /var/mail/vhosts
chown 5000:5000 /var/mail/vhosts
# A private /dev, for /dev/log alone: the machine's own must not be touched.
mount -t tmpfs -o mode=755 none "$lab/dev"
for node in null zero full random urandom; do
    touch "$lab/dev/$node"
    mount --bind "/dev/$node" "$lab/dev/$node"
done
ln -s /proc/self/fd "$lab/dev/fd"
touch "$lab/dev/log"
mount --bind "$lab/log" "$lab/dev/log"
mount --rbind "$lab/dev" /dev
# Process ids of a machine that has been up for a while, the same on every server.
echo 8940 > /proc/sys/kernel/ns_last_pid || true
postfix start
touch "$lab/ready"
while read -r command < "$lab/control"; do
    if [ "$command" = stop ]; then break; fi
    eval "$command" || true
done
postfix stop || true
"""


class Lab:
    """Running daemons of one scenario. Use as a context manager; leaving it ends everything it started."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario, self.directory = scenario, directory
        self.network = Network(layouts.aliases(scenario))
        self.stack = contextlib.ExitStack()
        self.hosts: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Lab:
        try:
            self.stack.enter_context(self.network)
            layouts.arrange(self.scenario, self.network)
            self._start_services()
            for host in self.scenario.hosts:
                self.start_server(host)
            for host in self.scenario.hosts:
                wait_until(
                    f"the mail server {host}",
                    (self.directory / host / "ready").exists,
                    self.hosts[host],
                    self.directory / host / "output",
                )
            self.start_balancer()
            self._start_gateways()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _start_gateways(self) -> None:
        for part, text in layouts.gateways(self.scenario, self.directory).items():
            config, started = self.directory / f"{part}-gateway.cfg", self.directory / f"{part}-gateway.sock"
            config.write_text(f"global\n    stats socket {started}\n{text}")
            process = self.spawn(part, f"{part}-gateway", "haproxy", "-db", "-f", str(config))
            wait_until("a gateway", started.exists, process, self.directory / f"{part}-gateway.output")

    def change(self) -> None:
        """Configure everything as the scenario has it later, and reload it."""
        after = self.scenario.after
        marks = {host: self.directory / host / "reloaded" for host in after.hosts}
        for host, done in marks.items():
            etc = self.directory / host / "etc"
            (etc / "main.cf").write_text(configuration.main_cf(after, host, truth=True))
            (etc / "master.cf").write_text(configuration.master_cf(after, host))
            self.command(host, f"postfix reload && touch {done}")
        for host, done in marks.items():
            output = self.directory / host / "output"
            wait_until(f"{host} after a reload", done.exists, self.hosts[host], output)
        config = self.directory / "haproxy.cfg"
        config.write_text(configuration.haproxy_cfg(after, str(self.directory / "admin.sock"), truth=True))
        old = str(self.balancer.pid)  # `ip netns exec` becomes the command
        self.balancer = self.spawn("edge", "haproxy", "haproxy", "-db", "-f", str(config), "-sf", old)

    def stop_daemons(self) -> None:
        """Ends the balancer, then the servers, in order, so that their last lines are written."""
        end(self.balancer)
        self.stop_servers()

    def stop_servers(self) -> None:
        """Ends the mail servers, in order."""
        for host in self.hosts:
            self.command(host, "stop")
        for process in self.hosts.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)

    def command(self, host: str, command: str) -> None:
        """Has a shell command run inside one Postfix host (such as `postfix reload`)."""
        with contextlib.suppress(OSError):
            control = os.open(self.directory / host / "control", os.O_WRONLY | os.O_NONBLOCK)
            os.write(control, command.encode() + b"\n")
            os.close(control)

    def spawn(self, part: str, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process in the namespace of `part`; it is ended with the lab."""
        with (self.directory / f"{name}.output").open("ab") as output:
            process = subprocess.Popen(
                self.network.exec(part, *command),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.stack.callback(end, process)
        return process

    def python(self, part: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a module of this package, without needing the project to be installed."""
        return self.spawn(part, module, sys.executable, "-m", f"tests.real.{module}", *arguments)

    def _start_services(self) -> None:
        for host in SERVERS:
            (self.directory / host).mkdir()
        self._services = self.python("services", "services", str(self.directory))
        wait_until(
            "the services",
            (self.directory / "services.ready").exists,
            self._services,
            self.directory / "services.output",
        )

    def start_server(self, host: str) -> None:
        home = self.directory / host
        _write_postfix(self.scenario, host, home)
        with (home / "output").open("ab") as output:
            self.hosts[host] = subprocess.Popen(
                self.network.exec(
                    host,
                    "unshare",
                    "--mount",
                    "--uts",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "sh",
                    str(home / "host.sh"),
                    str(home),
                    host,
                ),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.stack.callback(end, self.hosts[host])

    def start_balancer(self) -> None:
        admin = self.directory / "admin.sock"
        config = self.directory / "haproxy.cfg"
        config.write_text(configuration.haproxy_cfg(self.scenario, str(admin), truth=True))
        self.balancer = self.spawn("edge", "haproxy", "haproxy", "-db", "-f", str(config))
        wait_until("HAProxy", admin.exists, self.balancer, self.directory / "haproxy.output")


def _write_postfix(scenario: Scenario, host: str, home: Path) -> None:
    for name in ("spool", "lib", "dev"):
        (home / name).mkdir()
    shutil.chown(home / "lib", "postfix")
    shutil.copytree("/etc/postfix", home / "etc", symlinks=True)
    for name, text in configuration.TABLES.items():
        (home / "etc" / name).write_text(text)
    (home / "etc/main.cf").write_text(configuration.main_cf(scenario, host, truth=True))
    (home / "etc/master.cf").write_text(configuration.master_cf(scenario, host))
    (home / "hosts").write_text(configuration.HOSTS)
    (home / "resolv.conf").write_text(configuration.RESOLV_CONF)
    (home / "host.sh").write_text(HOST_SCRIPT)
    os.mkfifo(home / "control", 0o600)
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
        "-subj",
        f"/CN={host}.example.com",
        "-keyout",
        str(home / "etc/tls.key"),
        "-out",
        str(home / "etc/tls.crt"),
    )


def wait_until(
    what: str,
    ready: Callable[[], bool],
    process: subprocess.Popen[bytes],
    output: Path,
    limit_s: float = 40.0,
) -> None:
    deadline = time.monotonic() + limit_s
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = output.read_text(errors="replace")[-2000:] if output.exists() else ""
            raise RuntimeError(f"{what} did not start: {said.strip() or 'no output'}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends one child, politely first."""
    for action in (process.terminate, process.kill):
        if process.poll() is not None:
            return
        action()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(8)


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A private directory below /tmp whose parents Postfix's users may enter."""
    directory = Path(f"/tmp/logscope-lab-{os.getpid()}-{time.monotonic_ns() % 1_000_000_000:09d}")
    directory.mkdir(mode=0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
