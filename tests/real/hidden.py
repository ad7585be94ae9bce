"""How well hidden clients are recovered by time alone, beside what an oracle could do with the same lines:
`python -m tests.real.hidden CAPTURE… [--docs FILE]`.

The oracle (`oracle.py`) knows how links of this very capture look, and makes the surest first. Its recall is
taken where its precision is still what is asked here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .oracle import Capture, curve, recall_at
from .score import HOPS, Truth, calibration, logs, logscope

PRECISION = 0.98
FORMS = {"traditional": "seconds", "rfc3339": "microseconds"}
POINTS = (1.0, 0.995, 0.99, 0.98, 0.95, 0.9)
BEGIN, END = "<!-- hidden: begin -->", "<!-- hidden: end -->"


@dataclass(frozen=True)
class Hidden:
    """One capture in one form.

    Attributes:
        at_once: connections that a server had open at a time, on average.
        possible: links that there are; `made` of them were made, `right` are right.
        clients: sessions with the client of what the mail server did last.
        said: the probability that was stated, on average.
        off: by how much stated and true shares differ, on average over tenths.
        curve: of the oracle: precision and recall.
    """

    name: str
    daemon: str
    form: str
    at_once: float
    possible: int
    made: int
    right: int
    clients: int
    said: float
    off: float
    curve: Sequence[tuple[float, float]]

    @property
    def precision(self) -> float:
        return self.right / max(self.made, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.possible, 1)

    @property
    def of_oracle(self) -> float:
        """Recall as a share of the oracle's."""
        return self.recall / max(recall_at(PRECISION, self.curve), 1e-9)


def measured(directory: Path, form: str) -> Hidden:
    """Join a capture and hold it against the oracle."""
    known = Capture(directory, form)
    daemon = json.loads((directory / "run.json").read_text())["masking"][0]["daemon"]
    side = known.visit if daemon == "postscreen" else known.smtpd
    said = logscope("sessions", *logs(directory, form), "-o", "jsonl", "--quiet")
    found = list(recovered(Truth(directory), map(json.loads, said.splitlines())))
    claims = [(one.said, one.right) for one in found]
    possible, made = known.links(known.balancer, side)
    bins = calibration(claims)
    off = sum(one["count"] * abs(one["said"] - one["was"]) for one in bins) / max(1, len(claims))
    probability = sum(one for one, _ in claims) / max(1, len(claims))
    return Hidden(
        directory.name, daemon, form, at_once(known.connections), possible, len(claims),
        sum(one.right for one in found), sum(one.client for one in found), probability, off,
        curve(possible, made),
    )  # fmt: skip


class Recovered(NamedTuple):
    """A session that was given a client by time.

    Attributes:
        said: how likely that was said to be.
        right: whether the link says so of what is that client's.
        client: whether the client is that of what the mail server did with the session last.
    """

    said: float
    right: bool
    client: bool


def recovered(truth: Truth, sessions: Iterable[Mapping[str, Any]]) -> Iterator[Recovered]:
    """The sessions that were given a client by time.

    Where many sessions of the balancer's address begin in one second, postscreen's visit and smtpd's session
    may be put together wrongly: the link then names the one that the balancer's session was found for.
    """
    for session in sessions:
        owners = truth.owners(session["events"])
        if session["client_known_from"] != "timing" or not owners.get("balancer"):
            continue
        own = next(link for link in session["links"] if link["from"] == "balancer")
        last = next((hop for hop in reversed(HOPS) if hop in owners), "balancer")
        right = bool(owners["balancer"] & owners.get(own["to"], set()))
        client = last != "balancer" and bool(owners["balancer"] & owners[last])
        yield Recovered(own["probability"] or 0.0, right, client)


def at_once(connections: Sequence[dict[str, Any]]) -> float:
    """Connections that a server had open at a time, on average."""
    servers = {one.get("mta_host") for one in connections} - {None}
    open_s = sum(one["end"] - one["start"] for one in connections)
    whole_s = max(one["end"] for one in connections) - min(one["start"] for one in connections)
    return float(open_s / whole_s / max(len(servers), 1))


def markdown(found: Iterable[Hidden]) -> Iterator[str]:
    """Two tables: the join, and the oracle's curve."""
    found = sorted(found, key=lambda one: (one.form, one.daemon, one.at_once), reverse=True)
    yield f"From {sum(one.possible for one in found)} masked sessions of real daemons in {len(found)} logs."
    yield ""
    yield (
        "| stamps | daemon | open at once | links | made | right | said | off by | client | found "
        "| of oracle |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for one in found:
        yield (
            f"| {FORMS[one.form]} | {one.daemon} | {one.at_once:.1f} | {one.possible} | {one.made} | "
            f"{one.precision:.3f} | {one.said:.3f} | {one.off:.3f} | {one.clients / max(one.made, 1):.3f} | "
            f"{one.recall:.3f} | {one.of_oracle:.2f} |"
        )
    yield ""
    yield "What the oracle finds with the precision in the heading:"
    yield ""
    yield "| stamps | daemon | open at once | " + " | ".join(f"{point:g}" for point in POINTS) + " |"
    yield "|---|---|--:|" + "--:|" * len(POINTS)
    for one in found:
        recalls = " | ".join(f"{recall_at(point, one.curve):.3f}" for point in POINTS)
        yield f"| {FORMS[one.form]} | {one.daemon} | {one.at_once:.1f} | {recalls} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.hidden", description=__doc__)
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--docs", type=Path, help="put the tables into this document, too")
    parser.add_argument("--form", action="append", choices=list(FORMS), help="only these")
    given = parser.parse_args(argv)
    found = [measured(capture, form) for capture in given.captures for form in given.form or FORMS]
    text = "\n".join(markdown(found))
    print(text)
    if given.docs:
        before, _, rest = given.docs.read_text(encoding="utf-8").partition(BEGIN)
        given.docs.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
