"""How well two hops could be joined at all, where no port decides: `python -m tests.real.oracle CAPTURE`.

The oracle sees the fields that logscope sees (times as written, order of lines, smtpd's counters, the
balancer's bytes), and knows from the truth how they go together: how long a hand-over takes, how far two ends
are apart, in starts, ends and places in the order, and which byte counts go with which commands. With that it
takes the likeliest one-to-one assignment. It was fitted on what it is asked, so its recall is what a join may
hope for and not a promise.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .score import logs

IMPOSSIBLE = 1e6
Seen = Callable[[dict[str, Any]], "Side | None"]
"""One end of a connection, from its record."""
_BALANCER = re.compile(
    r"\[(?P<accepted>[^\]]+)\] \S+ \S+ (?P<queue>-?\d+)/(?P<connect>-?\d+)/"
    r"\+?(?P<total>\d+) \+?(?P<bytes>\d+) "
)
_COMMANDS = re.compile(r"disconnect from \S+ (?P<commands>.*)")


@dataclass(frozen=True)
class Side:
    """One end of a possible link: what is known of it without any port."""

    id: str
    line: int  # of the first sight of it, for order; 0 in another file
    start: float  # when it was handed over, connected or accepted
    end: float | None
    kind: str  # sides of one kind share a distribution
    trait: str = ""  # bytes of the balancer, commands of smtpd
    last_line: int = 0
    place: int = 0  # in the order of starts
    last_place: int = 0  # in the order of ends


def in_order(sides: Sequence[Side]) -> list[Side]:
    """The sides of one group with their places. Lines are in order even where stamps are equal."""
    by_start = sorted(sides, key=lambda side: (side.start, side.line))
    by_end = sorted(sides, key=lambda side: (side.end or 0, side.last_line))
    starts = {side.id: place for place, side in enumerate(by_start)}
    ends = {side.id: place for place, side in enumerate(by_end)}
    return [replace(side, place=starts[side.id], last_place=ends[side.id]) for side in sides]


def tie(left: Side, right: Side, step: float) -> list[tuple[str, str, int]]:
    """How far apart a pair is, in steps that grow with the difference."""
    ends = 0.0 if left.end is None or right.end is None else right.end - left.end
    return [
        (left.kind, "start", _bin(right.start - left.start, step)),
        (left.kind, "end", _bin(ends, step)),
        (left.kind, "place", _bin(right.place - left.place, 1)),
        (left.kind, "last place", _bin(right.last_place - left.last_place, 1)),
    ]


def _bin(difference: float, step: float) -> int:
    scaled = difference / step
    return round(math.copysign(8 * math.log1p(abs(scaled) / 4), scaled))


class Model:
    """Frequencies among true pairs, against those among all pairs of a group."""

    def __init__(self, groups: Sequence[tuple[list[Side], list[Side]]], step: float) -> None:
        self._step = step
        self._times: Counter[Any] = Counter()
        self._all: Counter[Any] = Counter()
        self._traits: Counter[tuple[str, str]] = Counter()
        self._left: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        for lefts, rights in groups:
            true = {side.id: side for side in lefts}
            for right in rights:
                if left := true.get(right.id):
                    self._times.update(tie(left, right, step))
                    self._traits[left.trait, right.trait] += 1
                    self._left[left.trait] += 1
                    self._right[right.trait] += 1
        self._pairs = sum(self._left.values())

    def cost(self, left: Side, right: Side) -> float:
        if left.line and right.line and right.line <= left.line:
            return IMPOSSIBLE
        known = [self._times[key] + 0.05 for key in tie(left, right, self._step)]
        cost = -sum(math.log(count / (self._pairs + 1)) for count in known)
        together = self._traits[left.trait, right.trait] + 0.05
        apart = (self._left[left.trait] + 0.05) * (self._right[right.trait] + 0.05) / (self._pairs + 1)
        return cost - math.log(together / apart)


def assign(costs: np.ndarray) -> list[int]:
    """The column of each row in the cheapest assignment (Kuhn 1955, with Jonker and Volgenant's paths)."""
    rows, columns = costs.shape
    if rows > columns:
        costs = np.hstack([costs, np.full((rows, rows - columns), IMPOSSIBLE * 2)])
        columns = rows
    u, v = np.zeros(rows + 1), np.zeros(columns + 1)
    owner, way = np.zeros(columns + 1, dtype=int), np.zeros(columns + 1, dtype=int)
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        least, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, dtype=bool)
        while True:
            used[column] = True
            reduced = costs[owner[column] - 1] - u[owner[column]] - v[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], way[1:][better] = reduced[better], column
            candidates = np.where(used, np.inf, least)
            candidates[0] = np.inf
            following = int(np.argmin(candidates))
            delta = candidates[following]
            u[owner[used]] += delta
            v[used] -= delta
            least[~used] -= delta
            column = following
            if owner[column] == 0:
                break
        while column:
            owner[column], column = owner[way[column]], way[column]
    result = [0] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            result[owner[column] - 1] = column - 1
    return result


class Capture:
    """The lines of a capture in one of its forms."""

    def __init__(self, directory: Path, form: str) -> None:
        self._balancer, self._mail = (
            Path(name).read_text(errors="replace").splitlines() for name in logs(directory, form)
        )
        truth = (directory / "truth.jsonl").read_text(encoding="utf-8").splitlines()
        self.connections = [json.loads(line) for line in truth]
        self.step = 0.001 if form == "rfc3339" else 1.0

    def mail_time(self, number: int) -> float:
        line = self._mail[number - 1]
        if "T" in line[:12]:
            return datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()
        return datetime.strptime(f"2026 {line[:15]} +0000", "%Y %b %d %H:%M:%S %z").timestamp()

    def _session(self, record: dict[str, Any]) -> re.Match[str] | None:
        numbers = record["lines"].get("balancer")
        return _BALANCER.search(self._balancer[numbers[0] - 1]) if numbers else None

    def balancer(self, record: dict[str, Any]) -> Side | None:
        found = self._session(record)
        if not found:
            return None
        accepted = datetime.strptime(f"{found['accepted']} +0000", "%d/%b/%Y:%H:%M:%S.%f %z").timestamp()
        waited = max(int(found["queue"]), 0) + max(int(found["connect"]), 0)
        ended = accepted + int(found["total"]) / 1000
        return Side(
            record["id"],
            0,
            accepted + waited / 1000,
            ended,
            "accept",
            found["bytes"],
            record["lines"]["balancer"][0],
        )

    def screen(self, record: dict[str, Any]) -> Side | None:
        """A hand-over: at the verdict, or silently at the CONNECT; its end and bytes are the balancer's."""
        numbers = record["lines"].get("screen")
        if not numbers or "DISCONNECT" in self._mail[numbers[-1] - 1]:
            return None
        known = self.balancer(record)
        verdict = " PASS " in self._mail[numbers[-1] - 1] or "LISTED " in self._mail[numbers[-1] - 1]
        return Side(
            record["id"],
            numbers[-1],
            self.mail_time(numbers[-1]),
            known.end if known else None,
            "verdict" if verdict else "silent",
            known.trait if known else "",
            known.last_line if known else 0,
        )

    def visit(self, record: dict[str, Any]) -> Side | None:
        """A postscreen session as seen from the balancer."""
        numbers = record["lines"].get("screen")
        if not numbers:
            return None
        last = (record["lines"].get("smtpd") or numbers)[-1]
        return Side(
            record["id"],
            0,
            self.mail_time(numbers[0]),
            self.mail_time(last),
            "visit",
            self._commands(last),
            last,
        )

    def smtpd(self, record: dict[str, Any]) -> Side | None:
        numbers = record["lines"].get("smtpd")
        if not numbers:
            return None
        first, last = numbers[0], numbers[-1]
        return Side(
            record["id"],
            first,
            self.mail_time(first),
            self.mail_time(last),
            "smtpd",
            self._commands(last),
            last,
        )

    def _commands(self, number: int) -> str:
        found = _COMMANDS.search(self._mail[number - 1])
        return found["commands"] if found else ""

    def _groups(self, one: Seen, other: Seen) -> list[tuple[list[Side], list[Side]]]:
        """What may be joined: within each server and address as Postfix logged it."""
        grouped: dict[Any, tuple[list[Side], list[Side]]] = defaultdict(lambda: ([], []))
        for record in self.connections:
            key = record.get("mta_host"), record.get("service"), record.get("seen_as", "").rpartition(":")[0]
            for sides, side in zip(grouped[key], (one(record), other(record)), strict=True):
                if side:
                    sides.append(side)
        return [(in_order(lefts), in_order(rights)) for lefts, rights in grouped.values() if lefts and rights]

    def links(self, one: Seen, other: Seen) -> tuple[int, list[tuple[float, bool]]]:
        """How many links there are, and of the oracle's how sure each is, from 0 to 1, and if it is right."""
        groups = self._groups(one, other)
        model = Model(groups, self.step)
        possible, made = 0, []
        for lefts, rights in groups:
            costs = np.array([[model.cost(left, right) for right in rights] for left in lefts])
            possible += len({side.id for side in lefts} & {side.id for side in rights})
            sure = certainty(costs)
            made += [
                (float(sure[row, column]), lefts[row].id == rights[column].id)
                for row, column in enumerate(assign(costs))
                if column < len(rights)
            ]
        return possible, made

    def recall(self, one: Seen, other: Seen) -> dict[str, float | None]:
        """How much of what there is the oracle finds."""
        possible, made = self.links(one, other)
        right = sum(found for _, found in made)
        return {"possible": possible, "recall": right / possible if possible else None}


def certainty(costs: np.ndarray) -> np.ndarray:
    """How likely each pair is among all that either side could have, by costs in nats."""
    rows, columns = (np.exp(-(costs - costs.min(axis=axis, keepdims=True))) for axis in (1, 0))
    among = rows / rows.sum(axis=1, keepdims=True), columns / columns.sum(axis=0, keepdims=True)
    return np.asarray(np.sqrt(among[0] * among[1]))


def curve(possible: int, made: Sequence[tuple[float, bool]]) -> list[tuple[float, float]]:
    """Precision and recall when only the surest links are made, one more each time."""
    found, right = [], 0
    for number, (_, is_right) in enumerate(sorted(made, key=lambda one: -one[0]), start=1):
        right += is_right
        found.append((right / number, right / max(possible, 1)))
    return found


def recall_at(precision: float, points: Sequence[tuple[float, float]]) -> float:
    """The most that is found with a precision of at least this."""
    return max((recall for exact, recall in points if exact >= precision), default=0.0)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.oracle", description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--form", choices=("traditional", "rfc3339"), default="traditional")
    given = parser.parse_args(argv)
    known = Capture(given.capture, given.form)
    pairs = {
        "screen-smtpd": (known.screen, known.smtpd),
        "balancer-screen": (known.balancer, known.visit),
        "balancer-smtpd": (known.balancer, known.smtpd),
    }
    print(json.dumps({name: known.recall(*sides) for name, sides in pairs.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
