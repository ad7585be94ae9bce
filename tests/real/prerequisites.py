"""What the lab needs from the machine, as a list of reasons why it cannot run here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "haproxy": "haproxy",
    "postfix": "postfix",
    "ip": "iproute2",
    "unshare": "util-linux",
    "openssl": "openssl",
}


def missing() -> list[str]:
    """Reasons why the lab cannot run on this machine; empty when it can."""
    if not sys.platform.startswith("linux"):
        return ["the lab needs Linux network namespaces"]
    reasons = [
        f"{program} is not installed (Debian package {package})"
        for program, package in PROGRAMS.items()
        if not _which(program)
    ]
    if os.geteuid() != 0:
        reasons.append("the lab must run as root (namespaces, port 25, Postfix)")
    reasons += [f"there is no user {user!r}" for user in ("postfix", "haproxy") if not _has_user(user)]
    if not Path("/usr/lib/postfix/sbin/postscreen").exists():
        reasons.append("Postfix daemons are not in /usr/lib/postfix/sbin (Debian's place for them)")
    return reasons or _without_namespaces()


def _without_namespaces() -> list[str]:
    """A container may be root and still be refused; only a trial tells."""
    trial = [
        "unshare",
        "--net",
        "--mount",
        "--uts",
        "--pid",
        "--fork",
        "--mount-proc",
        "ip",
        "link",
        "add",
        "trial0",
        "type",
        "veth",
        "peer",
        "name",
        "trial1",
    ]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=20, check=False)
    return [f"namespaces are refused here: {done.stderr.strip()}"] if done.returncode else []


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
