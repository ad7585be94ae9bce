"""Scores the joins against the truth that `generate.py --truth` writes.

    python benchmarks/score.py DIRECTORY

Runs `logscope sessions` on the `haproxy.log` and `mail.log` of a directory, compares with its `truth.jsonl`,
and prints for each hop how many sessions really had it and how many were given exactly their own lines of it;
then the same for the sessions of each confidence: right are those in which every hop is right and none is
missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

LOGSCOPE = Path(sys.executable).with_name("logscope")
HOPS = ("postscreen_line", "smtpd_line")
Session = dict[str, Any]


def joined(directory: Path) -> dict[int, Session]:
    """Every session that has a line of the balancer, by that line's number."""
    logs = [str(directory / "haproxy.log"), str(directory / "mail.log")]
    command = [str(LOGSCOPE), "sessions", "--quiet", "-o", "jsonl", *logs]
    found = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            session = json.loads(line)
            session["lines"] = {
                event["line_number"] for event in session["events"] if event["source"] == logs[1]
            }
            for event in session["events"]:
                if event["source"] == logs[0]:
                    found[event["line_number"]] = session
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return found


def score(directory: Path) -> dict[str, Counter[str]]:
    """Counts for each hop and for each confidence."""
    with (directory / "truth.jsonl").open(encoding="ascii") as file:
        truths = [json.loads(line) for line in file]
    owner = {truth[hop]: number for number, truth in enumerate(truths) for hop in HOPS if truth[hop]}
    sessions = joined(directory)
    counts: dict[str, Counter[str]] = {}
    for number, truth in enumerate(truths):
        session = sessions.get(truth["balancer_line"])
        right = session is not None
        lines = session["lines"] if session else set()
        stolen = any(owner.get(line, number) != number for line in lines)
        for hop in HOPS:
            if truth[hop]:
                has = truth[hop] in lines and not stolen
                right = right and has
                counts.setdefault(hop, Counter()).update(there=1, right=has)
        if truth["queue_ids"]:
            has = session is not None and set(session["queue_ids"]) == set(truth["queue_ids"])
            right = right and has
            counts.setdefault("queue_ids", Counter()).update(there=1, right=has)
        confidence = session["join_confidence"] if session else "missing"
        counts.setdefault(f"called {confidence}", Counter()).update(there=1, right=right and not stolen)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the joins against the truth.")
    parser.add_argument("directory", type=Path)
    for what, count in sorted(score(parser.parse_args().directory).items()):
        share = count["right"] / count["there"]
        print(f"{what:<20} {count['there']:>10,} {count['right']:>10,} right {share:9.4%}")


if __name__ == "__main__":
    main()
