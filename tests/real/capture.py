"""Runs one scenario with the real daemons: `python -m tests.real.capture SCENARIO OUTDIR`.

A capture has haproxy.log and mail.log (traditional and .rfc3339), the configuration files in force,
truth.jsonl (one line for each client connection) and run.json.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import configuration
from .daemons import Lab, workspace
from .model import Scenario, Service
from .prerequisites import missing
from .publish import BALANCER_HOST, Publisher, numbered, read_raw
from .scenarios import SCENARIOS, scenario
from .truth import Resolver

#: After the last client has left: Postfix's own timeouts, deliveries and the last lines.
SETTLE_S = 4.0


def capture(
    name: str,
    out: Path,
    *,
    seed: int = 1,
    limit_s: float = 900.0,
    offsets_s: dict[str, float] | None = None,
    keep_raw: bool = False,
    make_lab: Callable[[Scenario, Path], Lab] = Lab,
    **sizes: int | None,
) -> dict[str, Any]:
    """Runs a scenario and writes its capture.

    Args:
        name: Of the scenario.
        out: Directory to write; made when it is not there.
        seed: Of the clients' plan. The same seed gives the same plan, not the same timing.
        limit_s: The longest time the clients may take, in seconds.
        offsets_s: What a server's clock is ahead, in seconds, by host.
        keep_raw: Also keep what the log host received, surplus included, as raw.log.
        make_lab: Starts the daemons; by default the real ones, all of them.
        sizes: Fields of the scenario to change: sessions, concurrency, address_pool.

    Returns:
        What run.json holds.

    Raises:
        RuntimeError: A daemon did not start, or the clients did not end in time.
    """
    chosen = {key: value for key, value in sizes.items() if value is not None}
    wanted = scenario(name, **chosen)
    out.mkdir(parents=True, exist_ok=True)
    with workspace() as directory:
        plan = directory / "plan.json"
        plan.write_text(json.dumps({"scenario": name, "seed": seed, "sizes": chosen}))
        with make_lab(wanted, directory) as lab:
            started = time.time()
            clients = lab.python("clients", "clients", str(plan), str(directory / "truth.raw"))
            for insiders in wanted.insiders:
                addresses = ",".join(wanted.address(host) for host in wanted.hosts)
                lab.python("services", "insiders", insiders.kind, addresses, *map(str, insiders.where))
            changed_at = _change(lab, wanted, clients, directory / "truth.raw") if wanted.later else None
            _wait_for(clients, limit_s, directory / "clients.output")
            time.sleep(SETTLE_S)
            lab.stop_daemons()
            time.sleep(0.5)
        run = {
            "scenario": name,
            "what": wanted.what,
            "parameters": {"seed": seed, "seconds": round(time.time() - started, 1), **chosen},
            "daemons": _versions(),
            "topology": configuration.TOPOLOGY,
            "tz": "UTC",
            "clock_offset_s": offsets_s or {},
            "changed_at": changed_at,
        }
        if keep_raw:
            (out / "raw").mkdir(exist_ok=True)
            for file in ("raw.log", "truth.raw"):
                (out / "raw" / file).write_bytes((directory / file).read_bytes())
        return _publish(wanted, run, directory, out)


def redo(out: Path) -> dict[str, Any]:
    """Publishes a capture that was made with `keep_raw` once more, from what was kept."""
    run = json.loads((out / "run.json").read_text())
    sizes = {key: value for key, value in run["parameters"].items() if key not in ("seed", "seconds")}
    wanted = scenario(run["scenario"], **sizes)
    return _publish(wanted, run, out / "raw", out)


def _change(lab: Lab, wanted: Scenario, clients: subprocess.Popen[bytes], said: Path) -> float:
    """Wait until enough sessions are over, and change the site; returns when that was done."""
    least = wanted.change_at * wanted.sessions
    while clients.poll() is None and (not said.exists() or len(said.read_text().splitlines()) < least):
        time.sleep(0.05)
    lab.change()
    return time.time()


def _wait_for(clients: subprocess.Popen[bytes], limit_s: float, output: Path) -> None:
    try:
        code = clients.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the clients were not done after {limit_s:.0f} s") from None
    if code:
        raise RuntimeError(f"the clients failed: {output.read_text()[-2000:]}")


def _publish(wanted: Scenario, run: dict[str, Any], directory: Path, out: Path) -> dict[str, Any]:
    entries = read_raw(directory / "raw.log")
    balancer = numbered((entry for entry in entries if entry.host == BALANCER_HOST), False)
    mail = numbered((entry for entry in entries if entry.host != BALANCER_HOST), wanted.reduce_repeats)
    publisher = Publisher(wanted, run["clock_offset_s"])
    publisher.write(balancer, out / "haproxy.log", out / "haproxy.rfc3339.log")
    publisher.write(mail, out / "mail.log", out / "mail.rfc3339.log")
    last = wanted.after
    (out / "haproxy.cfg").write_text(configuration.haproxy_cfg(last))
    for host in wanted.hosts:
        (out / f"{host}.main.cf").write_text(configuration.main_cf(last, host))
        (out / f"{host}.master.cf").write_text(configuration.master_cf(last, host))
    resolver = Resolver(wanted, balancer, mail, run.get("changed_at"))
    records = [json.loads(line) for line in (directory / "truth.raw").read_text().splitlines()]
    # A port that could not be bound again is no connection.
    records = [record for record in records if "connect_error" not in record]
    with (out / "truth.jsonl").open("w", encoding="utf-8") as truth:
        for record in resolver.resolve(records):
            print(json.dumps({"scenario": run["scenario"], **record}), file=truth)
    run |= {"connections": len(records), "found": dict(resolver.found)}
    run["masking"] = expected_masking(wanted)
    (out / "run.json").write_text(json.dumps(run, indent=1) + "\n")
    return run


def expected_masking(wanted: Scenario) -> list[dict[str, Any]]:
    """What `logscope masking` has to find, for each service on each server."""
    return [
        {
            "frontend": f"ft_{service.name}",
            "backend": f"bk_{service.name}",
            "server": host,
            "address": wanted.address(host),
            "port": service.node_port,
            "daemon": service.daemon,
            "service": f"{service.syslog_name or 'postfix'}/{service.daemon}",
            "expected": _expected(wanted, service, after, host),
            "after": after.masking(host),
        }
        for service, after in zip(wanted.services, wanted.after.services, strict=True)
        for host in wanted.hosts
    ]


def _expected(wanted: Scenario, before: Service, after: Service, host: str) -> str:
    states = {before.masking(host), after.masking(host)}
    return wanted.verdict or (states.pop() if len(states) == 1 else "mixed")


def _versions() -> dict[str, str]:
    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return (done.stdout.splitlines() or [""])[0]

    return {
        "haproxy": first_line("haproxy", "-v").split(" ")[2],
        "postfix": first_line("postconf", "-h", "mail_version"),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.capture", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=sorted(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("outdir", nargs="?", type=Path, metavar="OUTDIR")
    parser.add_argument("--list", action="store_true", help="name the scenarios and leave")
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--concurrency", type=int, help="most sessions at a time")
    parser.add_argument("--addresses", type=int, dest="address_pool", help="how many client addresses")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds the clients may take")
    parser.add_argument(
        "--skew",
        action="append",
        default=[],
        metavar="HOST=SECONDS",
        help="write this server's lines as if its clock were ahead",
    )
    parser.add_argument("--keep-raw", action="store_true", help="keep the unpublished lines in raw/")
    parser.add_argument("--redo", type=Path, metavar="CAPTURE", help="publish a kept capture once more")
    given = parser.parse_args(argv)
    if given.redo:
        print(json.dumps(redo(given.redo)["found"]))
        return 0
    if given.list or not given.scenario or not given.outdir:
        for name, known in SCENARIOS.items():
            print(f"{name:26} {known.what}")
        return 0 if given.list else 2
    if reasons := missing():
        print("cannot run here: " + "; ".join(reasons), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lab is taken down
    offsets_s = {host: float(value) for host, value in (item.split("=") for item in given.skew)}
    run = capture(
        given.scenario,
        given.outdir,
        seed=given.seed,
        limit_s=given.limit,
        offsets_s=offsets_s,
        keep_raw=given.keep_raw,
        sessions=given.sessions,
        concurrency=given.concurrency,
        address_pool=given.address_pool,
    )
    print(json.dumps(run["found"]), "in", run["parameters"]["seconds"], "s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
