"""The same clients through two labs: is the story of each connection the same, line by line?

A story is the sequence of the kinds of lines that belong to a connection, with the values of their fields;
what differs from one run to the next anyway (times, ports, process and queue ids, sizes, counts of other
sessions) is left out. What is known to differ between the relay and the real daemons is listed in
`differences.toml`.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .score import logs, logscope

Line = tuple[str, tuple[tuple[str, Any], ...]]

#: Fields that no two runs have in common.
PASSING = {
    "source", "line_number", "logged_at", "resolution", "host", "service", "program", "pid", "repeat_count",
    "queue_id", "next_queue_id", "client_port", "source_port", "size", "accepted_at", "server", "queue_ms",
    "connect_ms", "duration_ms", "delay_s", "delay_before_queue_s", "delay_in_queue_s", "delay_connect_s",
    "delay_transmit_s", "after_s", "process_connections", "frontend_connections", "backend_connections",
    "server_connections", "kind", "raw", "message_id", "byte_count", "bytes_to_client", "severity",
    "proxy_client_port", "proxy_v2_text", "tls_cipher", "tls_bits", "tls_bits_used",
    "key_exchange", "key_exchange_bits", "key_exchange_curve",
    "server_signature", "server_signature_bits", "server_signature_curve", "server_digest",
    "server_raw_public_key",
}  # fmt: skip

#: Lines of the queue, told by their queue id.
QUEUE = ("cleanup.", "qmgr.", "smtp.", "virtual.", "discard.", "bounce.", "local.", "error.")


@dataclass(frozen=True)
class Known:
    """A difference that is known: where, what the relay does, and why."""

    why: str
    kinds: frozenset[str]
    fields: frozenset[str]
    behaviours: frozenset[str]
    whole: bool

    def covers(self, behaviour: str, kind: str, field: str | None) -> bool:
        """Whether it explains a field that differs, or (without one) a line that is missing or too many."""
        if self.behaviours and behaviour not in self.behaviours:
            return False
        if self.kinds and kind not in self.kinds:
            return False
        return self.whole or (field is not None and field in self.fields)


def known(scenario: str = "") -> list[Known]:
    """The differences that are known everywhere, and in a scenario."""
    text = Path(__file__).with_name("differences.toml").read_text(encoding="utf-8")
    return [
        Known(
            entry["why"],
            frozenset(entry.get("kinds", ())),
            frozenset(entry.get("fields", ())),
            frozenset(entry.get("behaviours", ())),
            entry.get("lines", False),
        )
        for entry in tomllib.loads(text)["difference"]
        if entry.get("scenario", scenario) == scenario
    ]


@dataclass
class Story:
    """What the logs tell of one connection."""

    behaviour: str
    lines: list[Line]


def stories(capture: Path) -> dict[str, Story]:
    """The story of every connection of a capture, by its id."""
    events: dict[tuple[str, int], dict[str, Any]] = {}
    by_queue_id: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for text in logscope("parse", "-q", "-o", "jsonl", *logs(capture, "traditional")).splitlines():
        event = json.loads(text)
        events[Path(event["source"]).stem, event["line_number"]] = event
        if event["kind"].startswith(QUEUE):
            by_queue_id[event["host"], event["queue_id"]].append(_line(event))
    found = {}
    for text in (capture / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(text)
        lines = [
            events["haproxy" if hop == "balancer" else "mail", number]
            for hop, numbers in record["lines"].items()
            for number in numbers
        ]
        story = [_line(event) for event in lines]
        for event in lines:
            if event["kind"] == "smtpd.client":
                story += sorted(by_queue_id[event["host"], event["queue_id"]], key=repr)
        found[record["id"]] = Story(record["behaviour"], story)
    return found


def _line(event: Mapping[str, Any]) -> Line:
    fields = {
        name: _plain(value) for name, value in event.items() if name not in PASSING and value is not None
    }
    return event["kind"], tuple(sorted(fields.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        value = re.sub(r"queued as \w+", "queued as …", value)
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def differences(
    references: Sequence[Mapping[str, Story]], others: Sequence[Mapping[str, Story]], excused: Iterable[Known]
) -> tuple[Counter[str], Counter[str]]:
    """What differs and is not known, and how often each known difference was needed.

    Where a connection has several stories, because it was made in several runs, those are compared that
    have most in common: a busy machine makes a story of either side another one, but not the same one each
    time. The first run of the reference says which connections there are.
    """
    excuses = list(excused)
    found: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for id_, story in references[0].items():
        pairs = [
            _of_one(one[id_], two[id_], excuses)
            for one in references
            for two in others
            if id_ in one and id_ in two
        ]
        if not pairs:
            found[f"{story.behaviour}: {id_} has no story"] += 1
            continue
        differing, known_ones = min(pairs, key=lambda pair: pair[0].total())
        found += differing
        used += known_ones
    return found, used


def _of_one(story: Story, other: Story, excuses: list[Known]) -> tuple[Counter[str], Counter[str]]:
    """The same for two stories of one connection."""
    found: Counter[str] = Counter()
    used: Counter[str] = Counter()

    def note(kind: str, field: str | None, what: str) -> None:
        for excuse in excuses:
            if excuse.covers(story.behaviour, kind, field):
                used[excuse.why] += 1
                return
        found[f"{story.behaviour}: {what}"] += 1

    for one, two in _aligned(story.lines, other.lines):
        if one is None or two is None:
            line = one or two
            assert line is not None
            side = "only there" if two is None else "only here"
            note(line[0], None, f"{line[0]} {side} {dict(line[1])}")
            continue
        here, there = dict(two[1]), dict(one[1])
        for name in sorted(here.keys() | there.keys()):
            if here.get(name) != there.get(name):
                note(one[0], name, f"{one[0]}.{name}: {there.get(name)!r} is {here.get(name)!r}")
    return found, used


def _aligned(one: list[Line], two: list[Line]) -> list[tuple[Line | None, Line | None]]:
    """The lines of two stories side by side: in order, equal kinds together, as many as possible."""
    kinds_one, kinds_two = [line[0] for line in one], [line[0] for line in two]
    best = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) - 1, -1, -1):
        for j in range(len(two) - 1, -1, -1):
            same = kinds_one[i] == kinds_two[j]
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + same if same else 0)
    pairs: list[tuple[Line | None, Line | None]] = []
    i = j = 0
    while i < len(one) or j < len(two):
        if (
            i < len(one)
            and j < len(two)
            and kinds_one[i] == kinds_two[j]
            and best[i][j] == best[i + 1][j + 1] + 1
        ):
            pairs.append((one[i], two[j]))
            i, j = i + 1, j + 1
        elif j == len(two) or (i < len(one) and best[i + 1][j] >= best[i][j + 1]):
            pairs.append((one[i], None))
            i += 1
        else:
            pairs.append((None, two[j]))
            j += 1
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path, help="a capture of the real daemons")
    parser.add_argument("other", type=Path, help="one with the relay in it, of the same clients")
    given = parser.parse_args()
    found, used = differences([stories(given.reference)], [stories(given.other)], known())
    for what, count in found.most_common():
        print(f"{count:>4}  {what}")
    print(f"{sum(found.values())} differences; known ones: {dict(used)}")


if __name__ == "__main__":
    main()
