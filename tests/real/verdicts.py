"""The masking verdict on captures, and on the same captures with less in their logs:
`python -m tests.real.verdicts CAPTURE…`.

A variant takes something out of the published logs: host names, the names that HAProxy's servers share with
the mail servers, the first part of one log, equal clocks. The verdict of every target has to stay what it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from logscope.detect.masking import DELIVERIES, MAIL, READS, Judge
from logscope.settings import Settings
from logscope.sources import open_inputs
from logscope.sources.reading import read_tables

from .score import logs

Logs = tuple[list[str], list[str]]
Variant = Callable[[Logs], Logs]
SERVER_NAMES = {"mx-a": "srv1", "mx-b": "srv2"}
AHEAD_S = {"mx-a": 2.4, "mx-b": -3.1}


def as_it_is(found: Logs) -> Logs:
    return found


def other_server_names(found: Logs) -> Logs:
    """HAProxy calls its servers otherwise than they call themselves."""
    balancer, mail = found
    pattern = re.compile(r"(bk_\w+/)(mx-[ab])\b")
    return [pattern.sub(lambda m: m[1] + SERVER_NAMES[m[2]], line) for line in balancer], mail


def full_names(found: Logs) -> Logs:
    """Hosts are logged under full names."""
    return _renamed(found, lambda host: f"{host}.example.net")


def without_hosts(found: Logs) -> Logs:
    """No line names its host."""
    return tuple([_HOST.sub(r"\1", line) for line in some] for some in found)  # type: ignore[return-value]


def without_balancer(found: Logs) -> Logs:
    """HAProxy's lines name no host, as they are unless `log-send-hostname` or a relay adds one."""
    balancer, mail = found
    return [_HOST.sub(r"\1", line) for line in balancer], mail


def skewed(found: Logs) -> Logs:
    """The servers' clocks are wrong."""
    balancer, mail = found
    return balancer, sorted((_moved(line) for line in mail), key=_stamp_of)


def without_reverse_names(found: Logs) -> Logs:
    """No client address has a name."""
    balancer, mail = found
    return balancer, [
        re.sub(r"[\w.-]+(\[\d+\.[\d.]+\]|\[[0-9a-f]+:[0-9a-f:]+\])", _unknown, line) for line in mail
    ]


def begun_late(found: Logs) -> Logs:
    """The mail log begins when a third of the balancer's is over."""
    balancer, mail = found
    return balancer, mail[len(mail) // 3 :]


VARIANTS: dict[str, Variant] = {
    "": as_it_is,
    "other server names": other_server_names,
    "full host names": full_names,
    "skewed clocks": skewed,
    "no reverse names": without_reverse_names,
    "begun late": begun_late,
    "no host names": without_hosts,
    "balancer without a name": without_balancer,
}
_HOST = re.compile(r"^(\w{3} [ \d]\d \d\d:\d\d:\d\d |\d{4}-\S+ )\S+ ")


def _renamed(found: Logs, rename: Callable[[str], str]) -> Logs:
    def new(line: str) -> str:
        stamp = _HOST.match(line)
        if stamp is None:
            return line
        host = line[len(stamp[1]) :].split(" ", 1)[0]
        return stamp[1] + rename(host) + line[len(stamp[1]) + len(host) :]

    balancer, mail = found
    return [new(line) for line in balancer], [new(line) for line in mail]


def _unknown(name: re.Match[str]) -> str:
    return f"unknown{name[1]}"


def _moved(line: str) -> str:
    stamp = _HOST.match(line)
    host = line[len(stamp[1]) :].split(" ", 1)[0] if stamp else ""
    if stamp is None or host not in AHEAD_S:
        return line
    ahead = timedelta(seconds=AHEAD_S[host])
    if "T" in stamp[1][:12]:
        moved = datetime.fromisoformat(stamp[1].strip()) + ahead
        return f"{moved:%Y-%m-%dT%H:%M:%S.%f}+00:00 {line[len(stamp[1]) :]}"
    moved = datetime.strptime(f"2026 {stamp[1].strip()} +0000", "%Y %b %d %H:%M:%S %z") + ahead
    return f"{moved:%b} {moved.day:2d} {moved:%H:%M:%S} {line[len(stamp[1]) :]}"


def _stamp_of(line: str) -> str:
    return line[:15] if "T" not in line[:12] else line.split(" ", 1)[0]


def judged(paths: Iterable[str]) -> dict[str, Any]:
    """The document for some logs."""
    judge = Judge()
    takers = {"sessions": judge.add, "deliveries": judge.add_deliveries}
    columns = list(dict.fromkeys((*READS, *MAIL, "events")))
    with open_inputs(list(paths)) as inputs:
        result = read_tables(
            inputs.sources,
            Settings(),
            {"sessions": columns, "deliveries": DELIVERIES},
            lambda table, batch: takers[table](batch),
        )
    return judge.document(result.signals)


def varied(capture: Path, form: str, variant: str) -> dict[str, Any]:
    """The document for a variant of a capture."""
    found: Logs = tuple(  # type: ignore[assignment]
        Path(name).read_text(errors="surrogateescape").splitlines() for name in logs(capture, form)
    )
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / log for log in ("haproxy.log", "mail.log")]
        for path, lines in zip(paths, VARIANTS[variant](found), strict=True):
            path.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")
        return judged(map(str, paths))


def wrong(capture: Path, document: Mapping[str, Any]) -> Iterator[str]:
    """What the document says of the capture's targets that is not so."""
    run = json.loads((capture / "run.json").read_text())
    ours = {own: host for host, own in SERVER_NAMES.items()}
    said: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for target in document["targets"]:
        server = ours.get(target["server"], target["server"])
        said.setdefault((target["frontend"], server), []).append(target)
    for item in run["masking"]:
        targets = said.pop((item["frontend"], item["server"]), [])
        verdicts = {target["verdict"] for target in targets}
        allowed = {item["expected"]}
        if item["expected"] == "unknown":  # checks take the servers away, perhaps after a few sessions
            allowed |= {item["after"]}
        if not (verdicts or {"unknown"}) <= allowed or len(verdicts) > 1:
            yield f"{item['frontend']}/{item['server']}: {sorted(verdicts)} where {item['expected']}"
        for target in targets:
            yield from _misdated(run, item, target, capture)
    for key, targets in said.items():
        if {target["verdict"] for target in targets} != {"unknown"}:
            yield f"{key}: nobody expected {[target['verdict'] for target in targets]}"


def _misdated(
    run: Mapping[str, Any], item: Mapping[str, Any], target: Mapping[str, Any], capture: Path
) -> Iterator[str]:
    """A change in the middle has to be dated to within a few sessions."""
    if run.get("changed_at") is None or target["verdict"] != "mixed":
        return
    records = [json.loads(line) for line in (capture / "truth.jsonl").read_text().splitlines()]
    here = [one for one in records if one.get("mta_host") == item["server"]]
    moments = [one["accepted_at"] for one in here if "accepted_at" in one]  # the balancer logged it
    states = target["evidence"]["states"]
    if len(states) < 2 or states[-1]["verdict"] != item["after"]:
        yield f"{item['frontend']}/{item['server']}: it is not said when it became {item['after']}"
        return
    # Balancer and mail servers do not change at the same moment: what held in between is a state, too.
    at = datetime.fromisoformat(states[1]["since"]).timestamp()
    off = sum(min(at, run["changed_at"]) + 0.5 < one < max(at, run["changed_at"]) - 0.5 for one in moments)
    if off > 3:
        yield f"{item['frontend']}/{item['server']}: dated {off} sessions off"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.verdicts", description=__doc__)
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    given = parser.parse_args(argv)
    bad = count = 0
    for capture in given.captures:
        for form in ("traditional", "rfc3339"):
            for variant in given.variant or VARIANTS:
                count += 1
                for text in wrong(capture, varied(capture, form, variant)):
                    bad += 1
                    print(f"{capture.name} ({form}{', ' if variant else ''}{variant}): {text}", flush=True)
    print(f"{count} judged, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
