"""Scores what logscope makes of a capture: `python -m tests.real.score CAPTURE [SESSIONS.jsonl]`.

Without a file, `logscope sessions` and `logscope masking` are run over the capture's logs. The measure is
the lines: a session is right when the lines it was put together from are those of one client connection.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

HOPS = ("balancer", "screen", "smtpd")
ROOT = Path(__file__).resolve().parents[2]
QUEUED = {"delivered", "partly_delivered", "accepted", "deferred", "bounced"}
BINS = 10

Record = dict[str, Any]


class Truth:
    """The connections of a capture, and whose each line is."""

    def __init__(self, capture: Path) -> None:
        self.run = json.loads((capture / "run.json").read_text())
        lines = (capture / "truth.jsonl").read_text(encoding="utf-8").splitlines()
        self.connections = {record["id"]: record for record in map(json.loads, lines)}
        self._owner: dict[tuple[str, int], tuple[str, str]] = {}
        for id_, record in self.connections.items():
            for hop, numbers in record["lines"].items():
                log = "haproxy" if hop == "balancer" else "mail"
                self._owner |= {(log, number): (hop, id_) for number in numbers}

    def owners(self, events: Iterable[Record]) -> dict[str, set[str]]:
        """Which connections the lines belong to, by hop; lines of nobody in particular are left out."""
        found: dict[str, set[str]] = defaultdict(set)
        for event in events:
            log = Path(event["source"]).name.split(".")[0]
            if owned := self._owner.get((log, event["line_number"])):
                found[owned[0]].add(owned[1])
        return found

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Every pair of neighbouring hops that logged a connection: from, to, id."""
        for id_, record in self.connections.items():
            hops = [hop for hop in HOPS if record["lines"].get(hop)]
            yield from ((one, other, id_) for one, other in pairwise(hops))


@dataclass
class Links:
    """How the joins of one pair of hops did."""

    possible: int = 0  # what a perfect join would link
    found: set[str] = field(default_factory=set)  # connections linked rightly
    right: Counter[str] = field(default_factory=Counter)  # by confidence
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)  # of wrong ones: session ids
    claims: list[tuple[float, bool]] = field(default_factory=list)  # probable: what was said, what was so

    def add(self, session: Record, link: Record, owner: str | None, right: bool) -> None:
        confidence = link.get("confidence") or "unlabelled"
        (self.right if right else self.wrong)[confidence] += 1
        if right and owner:
            self.found.add(owner)
        elif len(self.examples) < 5:
            self.examples.append(f"{session.get('session_id')} ({confidence}, {link.get('method')})")
        if confidence == "probable":
            self.claims.append((link.get("probability") or 0.0, right))

    def precision(self, confidence: str) -> float | None:
        total = self.right[confidence] + self.wrong[confidence]
        return self.right[confidence] / total if total else None

    def summary(self) -> Record:
        said, brier = _mean(p for p, _ in self.claims), _mean((p - right) ** 2 for p, right in self.claims)
        return {
            "possible": self.possible,
            "recall": len(self.found) / self.possible if self.possible else None,
            "right": dict(self.right),
            "wrong": dict(self.wrong),
            "precision_exact": self.precision("exact"),
            "precision_probable": self.precision("probable"),
            "probability_said": said,
            "brier": brier,
            "calibration": calibration(self.claims),
            "wrong_examples": self.examples,
        }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def calibration(claims: list[tuple[float, bool]]) -> list[Record]:
    """What was said against what was so, in tenths."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for said, right in claims:
        bins[min(int(said * BINS), BINS - 1)].append((said, right))
    return [
        {
            "said": round(sum(p for p, _ in members) / len(members), 3),
            "was": round(sum(right for _, right in members) / len(members), 3),
            "count": len(members),
        }
        for _, members in sorted(bins.items())
    ]


class Score:
    """Counts over the sessions of one capture."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.links: dict[str, Links] = defaultdict(Links)
        for one, other, _ in truth.pairs():
            self.links[f"{one}-{other}"].possible += 1
        # By client_known_from: how often right, wrong, absent.
        self.client: dict[str, Counter[str]] = defaultdict(Counter)
        self.sessions_of: Counter[str] = Counter()
        self.client_found: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = defaultdict(list)

    def add(self, session: Record) -> None:
        owners = self.truth.owners(session.get("events") or ())
        self.counts["sessions"] += 1
        if not owners:
            self._of_nobody(session)
            return
        for hop, ids in owners.items():
            self._note("mixed lines of one hop", len(ids) > 1, f"{hop}: {sorted(ids)[:3]}")
        for id_ in set().union(*owners.values()):
            self.sessions_of[id_] += 1
        self._links(session, owners)
        # What the mail server saw is what the client address is given to.
        hop = next(hop for hop in reversed(HOPS) if hop in owners)
        if len(owners[hop]) == 1:
            self._facts(session, self.truth.connections[next(iter(owners[hop]))], owners)

    def _of_nobody(self, session: Record) -> None:
        """A session that is no client connection's: health checks are; they must not look like clients."""
        self.counts["of no connection"] += 1
        self._note(
            "not a probe, but of no connection",
            session.get("outcome") != "probe",
            f"{session.get('session_id')} {session.get('outcome')}",
        )

    def _links(self, session: Record, owners: dict[str, set[str]]) -> None:
        said = {frozenset((link.get("from"), link.get("to"))): link for link in session.get("links") or ()}
        hops = [hop for hop in HOPS if hop in owners]
        for one, other in pairwise(hops):
            link = said.get(frozenset((one, other)), {})
            named = other
            if not link and "smtpd" in owners:
                # A link may name smtpd's session alone, where it is open which visit led to it.
                link = said.get(frozenset(("balancer", "smtpd")), {})
                named = "smtpd" if link else other
            both = owners[one] & owners[named]
            right = len(owners[one]) == len(owners[named]) == len(both) == 1
            self.links[f"{one}-{other}"].add(session, link, next(iter(both), None), right)

    def _facts(self, session: Record, connection: Record, owners: dict[str, set[str]]) -> None:
        id_ = connection["id"]
        self._client(session, connection)
        if "smtpd" in owners:
            said, so = set(session.get("queue_ids") or ()), set(connection.get("logged_queue_ids", ()))
            self.counts["queue ids right"] += said == so
            self._note("queue ids wrong", said != so, f"{id_}: {sorted(said)} is {sorted(so)}")
        if session.get("outcome") == "probe":
            self._note("client called a probe", True, f"{id_} {connection['behaviour']}")
        elif "smtpd" in owners:
            outcome, mail = session.get("outcome"), bool(connection.get("queue_ids"))
            agrees = (outcome in QUEUED) == mail or outcome in ("open", "unknown")
            self._note(
                "outcome disagrees with the client",
                not agrees,
                f"{id_} {connection['behaviour']}: {outcome}, {connection['observed']}",
            )

    def _client(self, session: Record, connection: Record) -> None:
        """The address of a PROXY header is certain; which of its ports it is, only where all links are."""
        source = session.get("client_known_from") or "none"
        address, port = session.get("client_address"), session.get("client_port")
        if source == "proxy_header" and session.get("join_confidence") != "exact":
            port = None
        if address is None:
            self.client[source]["absent"] += 1
        elif address == connection["client_ip"] and port in (None, connection["client_port"]):
            self.client[source]["right"] += 1
            self.client_found.add(connection["id"])
        else:
            self.client[source]["wrong"] += 1
            self._note("wrong client", True, f"{connection['id']}: {address}:{port} ({source})")

    def _note(self, what: str, happened: bool, example: str) -> None:
        if happened:
            self.counts[what] += 1
            if len(self.wrong[what]) < 5:
                self.wrong[what].append(example)

    def summary(self) -> Record:
        logged = [id_ for id_, record in self.truth.connections.items() if record["lines"]]
        return {
            "scenario": self.truth.run["scenario"],
            "connections": len(self.truth.connections),
            "in one session": sum(self.sessions_of[id_] == 1 for id_ in logged) / max(len(logged), 1),
            "in several sessions": sum(self.sessions_of[id_] > 1 for id_ in logged),
            "in no session": sum(self.sessions_of[id_] == 0 for id_ in logged),
            "client recall": len(self.client_found) / max(len(logged), 1),
            "client": {source: dict(counts) for source, counts in self.client.items()},
            "links": {name: links.summary() for name, links in self.links.items()},
            "counts": dict(self.counts),
            "examples": dict(self.wrong),
        }


def score_sessions(capture: Path, sessions: Iterable[Record]) -> Record:
    """Scores sessions, as `logscope sessions -o jsonl` writes them, against the truth of a capture."""
    score = Score(Truth(capture))
    for session in sessions:
        score.add(session)
    return score.summary()


def overall_verdict(targets: Iterable[str]) -> str:
    """What the whole must be called: the targets' common verdict, otherwise mixed."""
    verdicts = set(targets)
    return verdicts.pop() if len(verdicts) == 1 else "mixed"


def score_masking(capture: Path, said: Record) -> Record:
    """Compares the answer of `logscope masking -o json` with the scenario, target by target."""
    expected = {
        (item["backend"], item["server"]): item["expected"]
        for item in json.loads((capture / "run.json").read_text())["masking"]
    }
    found = {
        (target.get("backend"), target.get("server") or target.get("mta_host")): target.get("verdict")
        for target in said.get("targets", ())
    }
    wrong = {
        "/".join(map(str, key)): {"expected": verdict, "said": found.get(key)}
        for key, verdict in expected.items()
        if found.get(key) != verdict
    }
    return {
        "targets": len(expected),
        "right": len(expected) - len(wrong),
        "wrong": wrong,
        "unexpected targets": ["/".join(map(str, key)) for key in found if key not in expected],
        "verdict": said.get("verdict"),
        "expected": overall_verdict(expected.values()),
    }


def logs(capture: Path, form: str) -> list[str]:
    suffix = ".rfc3339.log" if form == "rfc3339" else ".log"
    return [str(capture.resolve() / f"{name}{suffix}") for name in ("haproxy", "mail")]


def logscope(*arguments: str) -> str:
    """Runs the command line of the tree this file is in; a finding is exit status 1 and no failure."""
    call = "import sys; from logscope.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", call, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
    )
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"logscope {arguments[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.score", description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("sessions", type=Path, nargs="?", help="instead of running logscope")
    parser.add_argument("--form", choices=("traditional", "rfc3339"), default="traditional")
    given = parser.parse_args(argv)
    if given.sessions:
        text = given.sessions.read_text(encoding="utf-8")
    else:
        text = logscope("sessions", *logs(given.capture, given.form), "-o", "jsonl")
    result = score_sessions(given.capture, map(json.loads, text.splitlines()))
    if not given.sessions:
        said = json.loads(logscope("masking", *logs(given.capture, given.form), "-o", "json"))
        result["masking"] = score_masking(given.capture, said)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
