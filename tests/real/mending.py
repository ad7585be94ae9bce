"""A remedy on real daemons: faults as they are, mail without a pause, the steps one after the other.

`mend` gives back what was judged before and after, and how every attempt to bring mail ended.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from logscope.detect.configured import add_configuration
from logscope.detect.masking import DELIVERIES, MAIL, READS, Judge, overall
from logscope.detect.remedies.chosen import steps_for
from logscope.detect.remedies.plan import Step
from logscope.settings import Settings
from logscope.site import Site
from logscope.site.learn import learn
from logscope.sources import open_inputs
from logscope.sources.reading import read_tables

from . import configuration
from .daemons import Lab, end, wait_until, workspace
from .publish import BALANCER_HOST, Publisher, numbered, read_raw
from .scenarios import scenario

QUICK = {
    "postscreen_greet_wait": "1s",
    "postscreen_upstream_proxy_timeout": "2s",
    "smtpd_upstream_proxy_timeout": "2s",
}
BEFORE, AFTER = 40, 40
"""Attempts that are waited for before the first step, and after the last."""
IN_FLIGHT = 8
"""Attempts after a step among which there may be some that began before it; four clients bring mail."""
LONGEST_S = 40.0
BETWEEN_S, REST_S = 0.5, 3.0
_JUDGING = Lock()
"""pyparsing's parsers cannot be called for the first time by several threads at once."""


class MendingLab(Lab):
    """A lab whose balancer is configured as its files say, and can be reloaded."""

    def start_balancer(self) -> None:
        admin, config = self.directory / "admin.sock", self.directory / "haproxy.cfg"
        config.write_text(configuration.haproxy_cfg(self.scenario, str(admin)))
        self.balancer = self.spawn("edge", "haproxy", "haproxy", "-db", "-f", str(config))
        wait_until("HAProxy", admin.exists, self.balancer, self.directory / "haproxy.output")

    def reload_balancer(self) -> None:
        """As the master does: a new process, which lets the old one end its sessions."""
        config, old = str(self.directory / "haproxy.cfg"), self.balancer
        subprocess.run(["haproxy", "-q", "-c", "-f", config], check=True)
        pids = _own_pids(old)
        self.balancer = self.spawn("edge", "haproxy", "haproxy", "-db", "-f", config, "-sf", *pids)

    def reload_server(self, host: str) -> None:
        """postfix check, postfix reload."""
        done = self.directory / host / "reloaded"
        done.unlink(missing_ok=True)
        self.command(host, f"postfix check && postfix reload && touch {done}")
        wait_until(f"{host} after a reload", done.exists, self.hosts[host], self.directory / host / "output")


def _own_pids(process: subprocess.Popen[bytes]) -> list[str]:
    """`ip netns exec` becomes the command, so its process is HAProxy's."""
    return [str(process.pid)]


@dataclass
class Mended:
    """What came of it.

    Attributes:
        steps: their titles.
        before, after: the documents on the lines before the first step, and since the last.
        attempts: all of them, as `mailer` writes them.
        began: attempts that had ended before the first step.
        done: how many had when each step was done.
    """

    steps: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    attempts: list[dict[str, Any]]
    began: int
    done: list[int]

    @property
    def mended(self) -> list[dict[str, Any]]:
        """The attempts that began after the last step."""
        return self.attempts[self.done[-1] + IN_FLIGHT :]


def mend(name: str, out: Path) -> Mended:
    """Break a site as a scenario says, and mend it.

    Raises:
        RuntimeError: a daemon would not start with the changed files.
    """
    known = scenario(name)
    wanted = replace(known, main={**known.main, **QUICK})
    with workspace() as directory, contextlib.ExitStack() as stack:
        lab = MendingLab(wanted, directory)
        stack.enter_context(lab)
        ports = [str(service.port) for service in wanted.services]
        stop, said = directory / "stop", directory / "attempts"
        mailer = lab.python("clients", "mailer", str(said), str(stop), *ports)
        _wait_for(said, BEFORE)
        with _JUDGING:
            site, texts = _site(directory, wanted.hosts)
            before = _judged(lab, wanted, out / "before", site)
            steps = steps_for(before["targets"], site, texts)
        began, done = _ended(said), []
        for step in steps:
            _apply(lab, step)
            done.append(_ended(said))
            time.sleep(BETWEEN_S)
        _wait_for(said, done[-1] + IN_FLIGHT)
        settled = len(read_raw(lab.directory / "raw.log"))
        _wait_for(said, done[-1] + IN_FLIGHT + AFTER)
        stop.touch()
        mailer.wait(60)
        time.sleep(REST_S)
        with _JUDGING:
            after = _judged(lab, wanted, out / "after", _site(directory, wanted.hosts)[0], settled)
        attempts = [json.loads(line) for line in said.read_text().splitlines()]
        end(lab.balancer)
        lab.stop_servers()
    return Mended([step.title for step in steps], before, after, attempts, began, done)


def _ended(said: Path) -> int:
    """How many attempts have ended."""
    return len(said.read_text().splitlines()) if said.exists() else 0


def _wait_for(said: Path, attempts: int) -> int:
    """Wait until so many have ended, and no longer than `LONGEST_S`; where mail is refused late they are "
    "few."""
    until = time.monotonic() + LONGEST_S
    while _ended(said) < attempts and time.monotonic() < until:
        time.sleep(0.1)
    return _ended(said)


def _site(directory: Path, hosts: Iterable[str]) -> tuple[Site, dict[str, str]]:
    """What the files of the lab say, and the files."""
    etcs = {host: directory / host / "etc" for host in hosts}
    site = learn([f"edge1={directory / 'haproxy.cfg'}"], [f"{host}={etc}" for host, etc in etcs.items()])
    files = [
        directory / "haproxy.cfg",
        *(etc / name for etc in etcs.values() for name in ("main.cf", "master.cf")),
    ]
    return site, {str(file): file.read_text() for file in files}


def _apply(lab: MendingLab, step: Step) -> None:
    """With `patch`, as the user would."""
    for diff in step.diffs.values():
        subprocess.run(["patch", "--quiet", "-p1", "-d", "/"], input=diff, text=True, check=True)
    if step.host is None:
        lab.reload_balancer()
    else:
        lab.reload_server(step.host)


def _judged(lab: Lab, wanted: Any, home: Path, site: Site, skip: int = 0) -> dict[str, Any]:
    """The document on the lines that were logged after so many."""
    home.mkdir(parents=True)
    entries = read_raw(lab.directory / "raw.log")[skip:]
    publisher = Publisher(wanted, {})
    for log, own in (("haproxy", True), ("mail", False)):
        some = numbered((one for one in entries if (one.host == BALANCER_HOST) == own), False)
        publisher.write(some, home / f"{log}.log", home / f"{log}.rfc3339.log")
    judge = Judge(site)
    takers = {"sessions": judge.add, "deliveries": judge.add_deliveries}
    columns = list(dict.fromkeys((*READS, *MAIL, "events")))
    with open_inputs([str(home / "haproxy.rfc3339.log"), str(home / "mail.rfc3339.log")]) as inputs:
        result = read_tables(
            inputs.sources,
            Settings(),
            {"sessions": columns, "deliveries": DELIVERIES},
            lambda table, batch: takers[table](batch),
        )
    document = judge.document(result.signals)
    add_configuration(document["targets"], site)
    return {**document, "verdict": overall(document["targets"])}
