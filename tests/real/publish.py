"""From what the daemons logged to the published files of a capture.

The lab runs with more in its logs than a scenario publishes: the balancer's line ends in its own address and
port towards the server, and smtpd logs client ports. Here that surplus is cut off, after it was noted
in the entries, so that `truth.py` can say exactly which lines belong to which connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Scenario

BALANCER_HOST = "edge1"


@dataclass(frozen=True)
class Entry:
    """One log line: when the log host got it (ns), from whom, and its text as the daemon wrote it."""

    arrived_ns: int
    host: str
    tag: str  # haproxy, postfix/smtpd
    pid: int
    text: str  # as logged, surplus included
    sent_at: str = ""  # the sender's own stamp, where the log host keeps it
    line_number: int = 0
    repeats: int = 0

    @property
    def program(self) -> str:
        return self.tag.rsplit("/", 1)[-1]


_RFC3164 = re.compile(
    r"<\d+>(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:edge1 )?"
    r"(?P<tag>[^\s\[:]+)(?:\[(?P<pid>\d+)\])?: ?(?P<text>.*)"
)
_RFC5424 = re.compile(r"<\d+>1 (?P<stamp>\S+) \S+ (?P<tag>\S+) (?P<pid>\d+) - - (?P<text>.*)")
TRUTH_SUFFIX = re.compile(r" truth=(?P<source>\S+?),(?P<server>[^\s,]+)(?:,(?P<number>\d+))?$")
#: smtpd's way to print a client, name[address]:port, which cleanup repeats when it rejects a header.
CLIENT_PORT = re.compile(r"(?<=[\w.-])(\[(?:[0-9A-Fa-f.:]+|unknown)\]):(?:\d{1,5}|unknown)\b")


def read_raw(path: Path) -> list[Entry]:
    """All entries in the order of their arrival."""
    entries = []
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            arrived, host, message = line.rstrip("\n").split(" ", 2)
            match = _RFC3164.fullmatch(message) or _RFC5424.fullmatch(message)
            if match is None:
                raise ValueError(f"not a syslog message: {message!r}")
            sent_at = match["stamp"] if host == BALANCER_HOST else ""
            entries.append(
                Entry(int(arrived), host, match["tag"], int(match["pid"] or 0), match["text"], sent_at)
            )
    return sorted(entries, key=lambda entry: entry.arrived_ns)


def numbered(entries: Iterable[Entry], reduce_repeats: bool) -> list[Entry]:
    """Entries of one file with their line numbers."""
    kept = _reduced(entries) if reduce_repeats else entries
    return [replace(entry, line_number=number) for number, entry in enumerate(kept, start=1)]


def _reduced(entries: Iterable[Entry]) -> Iterator[Entry]:
    """As rsyslog with $RepeatedMsgReduction, which holds back repeats of a host until another message comes.

    A single repeat is written as it is; the stamp is the last repeat's.
    """
    last: dict[str, Entry] = {}
    count: dict[str, int] = {}

    def held_back(host: str) -> Iterator[Entry]:
        if number := count.pop(host, 0):
            yield replace(last[host], repeats=number if number > 1 else 0)

    for entry in entries:
        before = last.get(entry.host)
        last[entry.host] = entry
        if before and (before.tag, before.pid, before.text) == (entry.tag, entry.pid, entry.text):
            count[entry.host] = count.get(entry.host, 0) + 1
            continue
        if before and entry.host in count:
            number = count.pop(entry.host)
            yield replace(before, repeats=number if number > 1 else 0)
        yield entry
    for host in list(count):
        yield from held_back(host)


def published_text(entry: Entry, scenario: Scenario) -> str:
    """The text without what only the truth may know."""
    if entry.host == BALANCER_HOST:
        return TRUTH_SUFFIX.sub("", entry.text)
    if entry.program in ("smtpd", "cleanup") and not scenario.port_logging:
        return CLIENT_PORT.sub(r"\1", entry.text)
    return entry.text


class Publisher:
    """Writes one log in both file formats."""

    def __init__(self, scenario: Scenario, offsets_s: dict[str, float]) -> None:
        self._scenario, self._offsets_s = scenario, offsets_s

    def write(self, entries: Iterable[Entry], traditional: Path, rfc3339: Path) -> None:
        options = {"encoding": "utf-8", "errors": "surrogateescape"}
        with traditional.open("w", **options) as plain, rfc3339.open("w", **options) as precise:  # type: ignore[call-overload]
            for entry in entries:
                stamp, precise_stamp = self._stamps(entry)
                print(stamp, self._rest(entry), file=plain)
                print(precise_stamp, self._rest(entry), file=precise)

    def _stamps(self, entry: Entry) -> tuple[str, str]:
        if entry.sent_at and "T" in entry.sent_at:
            when = datetime.fromisoformat(entry.sent_at)
            return f"{when:%b} {when.day:2d} {when:%H:%M:%S}", entry.sent_at
        offset_us = round(self._offsets_s.get(entry.host, 0.0) * 1e6)
        at_us = entry.arrived_ns // 1000 + offset_us
        when = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
        if entry.sent_at:  # whole seconds is all that RFC 3164 carries; the year is the log host's
            moment = datetime.strptime(f"{when.year} {entry.sent_at} +0000", "%Y %b %d %H:%M:%S %z")
            return entry.sent_at, f"{moment:%Y-%m-%dT%H:%M:%S}+00:00"
        return f"{when:%b} {when.day:2d} {when:%H:%M:%S}", f"{when:%Y-%m-%dT%H:%M:%S.%f}+00:00"

    def _rest(self, entry: Entry) -> str:
        # rsyslog writes no colon after the tag of an RFC 5424 message.
        colon = "" if "T" in entry.sent_at else ":"
        tag = f"{entry.tag}[{entry.pid}]" if entry.pid else entry.tag
        text = published_text(entry, self._scenario)
        if entry.repeats:
            text = f"message repeated {entry.repeats} times: [ {text}]"
        return f"{entry.host} {tag}{colon} {text}"
