"""Faults made by hand on real daemons under traffic, and what `logscope anomalies` says of each:

    python -m tests.real.faulted /tmp/faulted
    python -m tests.real.faulted /tmp/faulted --only server_stopped --only guessing

One lab, one fault after the other with quiet time between them. The logs stay in the folder, with
`faults.json` (what was done, and when) and `findings.json`. Exits with 1 where a fault was not found, or was
called by another name. It takes half an hour, so it is run by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logscope.cli.main import main as logscope

from . import services
from .clients import Person, converse
from .daemons import end, workspace
from .mending import MendingLab
from .model import ORDERLY, Scenario, service
from .prerequisites import missing
from .publish import BALANCER_HOST, Publisher, numbered, read_raw

SITE = Scenario(
    "an everyday site", (service(mix=ORDERLY),), server="check port 10024 inter 2s check-send-proxy",
    main={"postscreen_greet_wait": "1s", "postscreen_dnsbl_timeout": "2s"}, sessions=100_000, concurrency=16,
    address_pool=60,
)  # fmt: skip
LISTED = "198.51.100.{}"
FIRST_LISTED, MOST_LISTED = 192, 32
GUESSER = "198.51.100.77"
BEFORE_S, BETWEEN_S = 240.0, 400.0
"""Signs that begin within six minutes of each other are put together, as of one cause."""
SLOW_S = 3


@dataclass(frozen=True)
class Fault:
    """Something that is done to a site, and undone.

    Attributes:
        kinds: of the findings that name it.
        scope: of the finding.
        lasts_s: seconds.
        do, undo: what is done.
    """

    kinds: tuple[str, ...]
    scope: str
    lasts_s: float
    do: Callable[[MendingLab], None]
    undo: Callable[[MendingLab], None]


def _stop_server(lab: MendingLab) -> None:
    lab.command("mx-b", "postfix stop")


def _lists_silent(lab: MendingLab) -> None:
    (lab.directory / services.LISTS_SILENT).touch()


def _lists_back(lab: MendingLab) -> None:
    (lab.directory / services.LISTS_SILENT).unlink()


def _slow(lab: MendingLab) -> None:
    """smtpd of one server waits at each HELO, as where a look-up behind it hangs."""
    _reload(lab, "mx-a", "smtpd_helo_restrictions", f"sleep {SLOW_S}")


def _quick(lab: MendingLab) -> None:
    _reload(lab, "mx-a", "smtpd_helo_restrictions", "permit_mynetworks")


def _reload(lab: MendingLab, host: str, name: str, value: str) -> None:
    """A later setting of main.cf is the one that counts."""
    with (lab.directory / host / "etc/main.cf").open("a") as main_cf:
        main_cf.write(f"{name} = {value}\n")
    lab.reload_server(host)


def _guess(lab: MendingLab) -> None:
    lab.python("clients", "faulted", "--come", "auth_fail", GUESSER, "1", "2", "20")


def _nothing(_lab: MendingLab) -> None:
    """It ends by itself, or stays as it is."""


FAULTS = {
    "guessing": Fault(("auth_guessing",), f"client {GUESSER}", 30, _guess, _nothing),
    "slow_backend": Fault(("session_latency",), "server bk_smtp/mx-a", 120, _slow, _quick),
    "lists_silent": Fault(("dnsbl_down",), "fleet", 60, _lists_silent, _lists_back),
    "server_stopped": Fault(
        ("server_silent", "server_worse"), "server bk_smtp/mx-b", 75, _stop_server, _nothing
    ),
}


def run(out: Path, only: list[str]) -> bool:
    """Do all of it; whether every fault was found and called by its name."""
    out.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    with workspace() as directory, MendingLab(SITE, directory) as lab:
        ordinary = lab.python("clients", "faulted", "--everyday")
        lab.python("clients", "faulted", "--come", "clean", LISTED, str(MOST_LISTED), "1.5", "100000")
        time.sleep(BEFORE_S)
        for name in only:
            fault = FAULTS[name]
            since = time.time()
            fault.do(lab)
            time.sleep(fault.lasts_s)
            fault.undo(lab)
            done.append({"fault": name, "since": since, "until": time.time()})
            print(f"{name}: {fault.lasts_s:g} s", file=sys.stderr)
            time.sleep(BETWEEN_S)
        if ordinary.poll() is not None:
            raise RuntimeError((directory / "faulted.output").read_text(errors="replace")[-2000:])
        end(lab.balancer)
        lab.stop_servers()
        time.sleep(0.5)
        _publish(lab, out)
    (out / "faults.json").write_text(json.dumps(done, indent=1) + "\n")
    return _told(out, done)


def _publish(lab: MendingLab, out: Path) -> None:
    entries = read_raw(lab.directory / "raw.log")
    publisher = Publisher(SITE, {})
    for log, own in (("haproxy", True), ("mail", False)):
        some = numbered((one for one in entries if (one.host == BALANCER_HOST) == own), False)
        publisher.write(some, out / f"{log}.log", out / f"{log}.rfc3339.log")


def _told(out: Path, done: list[dict[str, Any]]) -> bool:
    """What logscope says, beside what was done."""
    logs = [str(out / "haproxy.rfc3339.log"), str(out / "mail.rfc3339.log")]
    answer = out / "findings.json"
    logscope(["anomalies", *logs, "-o", "json", "--to", str(answer), "--quiet"])
    findings = json.loads(answer.read_text())["findings"]
    fine = True
    for one in done:
        fault = FAULTS[one["fault"]]
        own = [f for f in findings if one["since"] - 70 <= _seconds(f["since"]) <= one["until"]]
        named = any(f["kind"] in fault.kinds and f["scope"] == fault.scope for f in own)
        fine &= named
        print(f"{one['fault']}: {'found' if named else 'NOT FOUND'}")
        for finding in own:
            late = _seconds(finding["detected_at"]) - one["since"]
            print(f"    after {late:.0f} s, {finding['kind']}, {finding['scope']}: {finding['explanation']}")
    return fine


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


# --- in the clients' namespace ------------------------------------------------------------------------------


async def come(behaviour: str, address: str, addresses: int, a_second: float, count: int) -> None:
    """Clients that all do the same, from one address or from several in turn."""
    rng = random.Random(7)
    running: set[asyncio.Task[Any]] = set()
    for number in range(count):
        own = address.format(FIRST_LISTED + number % addresses)
        person = _person(number, own, behaviour, rng)
        running = {task for task in running if not task.done()}
        running.add(asyncio.create_task(converse(person)))
        await asyncio.sleep(rng.expovariate(a_second) if addresses > 1 else 1 / a_second)
    await asyncio.gather(*running)


async def everyday() -> None:
    """Some three sessions a second of everybody, for as long as nobody ends them."""
    rng = random.Random(5)
    names, weights = list(ORDERLY), list(ORDERLY.values())
    running: set[asyncio.Task[Any]] = set()
    for number in range(SITE.sessions):
        address = f"192.0.2.{rng.randint(1, SITE.address_pool)}"
        running = {task for task in running if not task.done()}
        if len(running) < 4 * SITE.concurrency:
            behaviour = rng.choices(names, weights)[0]
            running.add(asyncio.create_task(converse(_person(number, address, behaviour, rng))))
        await asyncio.sleep(rng.expovariate(3.0))


def _person(number: int, address: str, behaviour: str, rng: random.Random) -> Person:
    id_ = f"{behaviour[:1]}{number:05d}"
    return Person(
        id_, SITE.services[0], address, behaviour, f"host-{id_}.mail.example", f"news-{id_}@mail.example",
        random.Random(rng.getrandbits(32)),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.real.faulted", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("out", nargs="?", type=Path, help="folder for the logs and what was found")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS))
    parser.add_argument("--again", action="store_true", help="judge what is in the folder already")
    parser.add_argument("--come", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--everyday", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.everyday:
        asyncio.run(everyday())
    elif given.come:
        behaviour, address, addresses, a_second, count = given.come
        asyncio.run(come(behaviour, address, int(addresses), float(a_second), int(count)))
    elif given.out is None:
        parser.error("name a folder")
    elif given.again:
        return 0 if _told(given.out, json.loads((given.out / "faults.json").read_text())) else 1
    elif reasons := missing():
        print("cannot run here: " + "; ".join(reasons), file=sys.stderr)
        return 2
    else:
        return 0 if run(given.out, given.only or list(FAULTS)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
