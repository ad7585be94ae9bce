"""Five network namespaces, joined by veth pairs; nothing is added to the machine's own network.

clients 192.0.2.0/24, 198.51.100.0/24, 2001:db8:c::/48
   |
 edge   HAProxy     public 203.0.113.25, 2001:db8:25::25; inside 172.20.5.4
   |
 inside (a bridge, in the namespace of the services: DNS, log host, next hop; 172.20.5.9)
   |--- mx-a 172.20.5.21
   `--- mx-b 172.20.5.22
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping

PUBLIC = "203.0.113.25"
PUBLIC_V6 = "2001:db8:25::25"
BALANCER = "172.20.5.4"
SERVICES = "172.20.5.9"
SERVERS = {"mx-a": "172.20.5.21", "mx-b": "172.20.5.22"}
CLIENT_NETWORKS = ("192.0.2.0/24", "198.51.100.0/24")
CLIENT_NETWORK_V6 = "2001:db8:c::/48"

PARTS = ("clients", "edge", "services", *SERVERS)


#: Every namespace this process has made, so that a test can see that none is left.
CREATED: list[str] = []


def run(*command: str, check: bool = True) -> str:
    """Runs a short command and returns what it printed; its complaint becomes the error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Network:
    """The namespaces of one lab. Names are unique, so several labs can run at once."""

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._prefix = f"logscope-{secrets.token_hex(3)}"
        self._aliases = aliases or {}
        self._parts = [part for part in PARTS if part not in self._aliases]

    def namespace(self, part: str) -> str:
        return f"{self._prefix}-{self._aliases.get(part, part)}"

    def exec(self, part: str, *command: str) -> list[str]:
        """The command line that runs `command` inside the namespace of `part`."""
        return ["ip", "netns", "exec", self.namespace(part), *command]

    def __enter__(self) -> Network:
        try:
            for part in self._parts:
                CREATED.append(self.namespace(part))
                run("ip", "netns", "add", self.namespace(part))
                self.ip(part, "link set lo up")
            self._join_inside()
            self._join_public()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            self._end_processes(part)
            run("ip", "netns", "del", self.namespace(part), check=False)

    def ip(self, part: str, arguments: str) -> None:
        """`ip` with these words inside the namespace of `part`."""
        run("ip", "-n", self.namespace(part), *arguments.split())

    def sysctl(self, part: str, **settings: str) -> None:
        """Set kernel parameters inside the namespace of `part`; two underscores stand for a dot."""
        for name, value in settings.items():
            path = "/proc/sys/" + name.replace("__", "/")
            run(*self.exec(part, "sh", "-c", f"echo '{value}' > {path}"))

    def move_address(self, address: str, part: str, to: str) -> None:
        """Give an inner address to another part."""
        self.ip(part, f"address del {address}/24 dev inside")
        self.ip(to, f"address add {address}/24 dev inside")

    def _join_inside(self) -> None:
        self.ip("services", "link add inside type bridge forward_delay 0")
        self.ip("services", f"address add {SERVICES}/24 dev inside")
        self.ip("services", "link set inside up")
        for part, address in (("edge", BALANCER), *SERVERS.items()):
            if part in self._aliases:
                continue
            port = f"to-{part}"
            self.ip("services", f"link add {port} type veth peer name inside netns {self.namespace(part)}")
            self.ip("services", f"link set {port} master inside up")
            self.ip(part, f"address add {address}/24 dev inside")
            self.ip(part, "link set inside up")

    def _join_public(self) -> None:
        self.ip("edge", f"link add public type veth peer name public netns {self.namespace('clients')}")
        for part in ("edge", "clients"):
            self.sysctl(part, net__ipv6__conf__public__accept_dad="0")
            self.ip(part, "link set public up")
        self.ip("edge", f"address add {PUBLIC}/24 dev public")
        self.ip("edge", f"address add {PUBLIC_V6}/48 dev public")
        # 203.0.113.1 is the gateway of the clients; the networks behind it are local to one namespace
        # as a whole (any address of them can be bound without being added).
        self.ip("clients", "address add 203.0.113.1/24 dev public")
        self.ip("clients", "address add 2001:db8:25::1/48 dev public")
        for network in CLIENT_NETWORKS:
            self.ip("edge", f"route add {network} via 203.0.113.1")
            self.ip("clients", f"route add local {network} dev lo")
        self.ip("edge", f"-6 route add {CLIENT_NETWORK_V6} via 2001:db8:25::1")
        self.ip("clients", f"-6 route add local {CLIENT_NETWORK_V6} dev lo")
        self.sysctl(
            "clients",
            net__ipv4__ip_nonlocal_bind="1",
            net__ipv6__ip_nonlocal_bind="1",
            net__ipv4__tcp_tw_reuse="1",
        )
        self.sysctl("edge", net__core__somaxconn="4096", net__ipv4__tcp_tw_reuse="1")

    def _end_processes(self, part: str) -> None:
        """Ends what still runs in the namespace; only this lab's own processes can be there."""
        for wanted in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            pids = run("ip", "netns", "pids", self.namespace(part), check=False).split()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), wanted)
            time.sleep(0.2)
