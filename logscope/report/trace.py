"""A trace for people and machines: the story of each session and message as a timeline, or as a diagram."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from logscope.report.model import Cell, Column, Facts, Item, Note, Report, Section, Table
from logscope.report.text import visible
from logscope.report.wording import moment, plural

if TYPE_CHECKING:
    from logscope.report.tones import Tone
    from logscope.trace import Moment, Story

_NANOSECONDS = 1_000_000_000
_BAD = {"rejected", "bounced", "deferred", "server_error", "no_server", "aborted", "timeout", "expired"}


def trace_report(key: str, stories: Sequence[Story], moments: Sequence[Moment]) -> Report:
    """One section for each story."""
    by_story: dict[int, list[Moment]] = {number: [] for number in range(len(stories))}
    for one in moments:
        by_story[one.story].append(one)
    sections = tuple(_section(number, story, by_story[number]) for number, story in enumerate(stories)) or (
        Section("", (Note(f"Nothing in these logs is about {key}.", "warn"),)),
    )
    rows = [row for number in by_story for row in _rows(by_story[number])]
    document = {
        "key": key,
        "stories": [_document(story, list(_rows(by_story[number]))) for number, story in enumerate(stories)],
    }
    return Report("trace", f"Trace of {key}", sections, document, _table(rows))


def _section(number: int, story: Story, moments: Sequence[Moment]) -> Section:
    items: list[Item] = [Facts(tuple(_facts(story)))]
    columns = (
        Column("offset", right=True, keep=10),
        Column("+", right=True, keep=6),
        Column("where", keep=8),
        Column("line", keep=3),
        Column("what", grow=True, keep=9),
    )
    rows = tuple(
        (
            Cell(_seconds(row["offset_s"], one)),
            Cell(_seconds(row["since_last_s"], one), "quiet"),
            Cell(one.place, "strong"),
            Cell(f"{one.source.rpartition('/')[2]}:{one.line_number}", "quiet"),
            Cell(one.text, _tone(one)),
        )
        for one, row in zip(moments, _rows(moments), strict=True)
    )
    items.append(Table(columns, rows, empty="None of its lines is in these files."))
    return Section(f"{number + 1}. {moment(story.began_at)} UTC", tuple(items))


def _facts(story: Story) -> Iterable[tuple[str, Cell]]:
    for session in story.sessions:
        client = session["client_address"] or "client unknown"
        port = f":{session['client_port']}" if session["client_port"] is not None else ""
        to = " → ".join(filter(None, (session["balancer"], session["server"], session["mta_host"])))
        text = f"{client}{port} → {to}: {session['outcome']}"
        yield "session", Cell(text, "bad" if session["outcome"] in _BAD else "good")
        for reject in session["rejects"] or ():
            what = f"{reject['stage']} {reject['code']} {reject['dsn'] or ''} {reject['text'] or ''}"
            yield "reject", Cell(" ".join(what.split()), "warn")
    for message in story.messages:
        text = f"{message['mta_host'] or ''} {message['queue_id']} from <{message['sender'] or ''}>"
        text += f": {message['final_status']}"
        if message["next_queue_id"]:
            text += f", next as {message['next_queue_id']}"
        yield "message", Cell(text, "bad" if message["final_status"] in _BAD else "plain")
    for delivery in story.deliveries:
        by = f" by {delivery['relay_host']}" if delivery["relay_host"] not in (None, "none") else ""
        text = f"<{delivery['recipient'] or ''}> {delivery['status']}{by}: {delivery['reply'] or ''}"
        yield "delivery", Cell(text, "bad" if delivery["status"] in _BAD else "plain")


def _tone(one: Moment) -> Tone:
    return "warn" if "reject" in one.kind or one.kind.endswith(("hangup", "lost_connection")) else "plain"


def _seconds(value: float, one: Moment) -> str:
    """Whole seconds where the stamp has no more; the decimal points stand below each other."""
    return f"{value:.0f}.   " if one.coarse else f"{value:.3f}"


def _rows(moments: Iterable[Moment]) -> Iterable[dict[str, Any]]:
    moments = list(moments)
    first = min((one.at for one in moments), default=0)
    if any(one.coarse for one in moments):
        first -= first % _NANOSECONDS
    last = first
    for one in moments:
        yield {
            "story": one.story + 1,
            "at": one.at,
            "offset_s": (one.at - first) / _NANOSECONDS,
            "since_last_s": max(0, one.at - last) / _NANOSECONDS,
            "hop": one.hop,
            "host": one.host,
            "service": one.service,
            "program": one.program,
            "kind": one.kind,
            "text": one.text,
            "source": one.source,
            "line_number": one.line_number,
        }
        last = max(last, one.at)


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    texts = ("hop", "host", "service", "program", "kind", "text", "source")
    schema = pa.schema(
        [
            ("story", pa.int64()),
            ("at", pa.timestamp("ns", tz="UTC")),
            ("offset_s", pa.float64()),
            ("since_last_s", pa.float64()),
            *((name, pa.string()) for name in texts),
            ("line_number", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(list(rows), schema=schema)


_TIMES = ("accepted_at", "mta_connected_at", "ended_at", "queued_at", "removed_at", "logged_at", "at")


def _document(story: Story, timeline: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sessions": [_plain(row, without=("events",)) for row in story.sessions],
        "messages": [_plain(row) for row in story.messages],
        "deliveries": [_plain(row) for row in story.deliveries],
        "timeline": [_plain(row) for row in timeline],
    }


def _plain(row: dict[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    return {
        name: _iso(value) if name in _TIMES and value is not None else value
        for name, value in row.items()
        if name not in without
    }


def _iso(nanoseconds: int) -> str:
    rest = nanoseconds % _NANOSECONDS // 1_000_000
    return f"{moment(nanoseconds).replace(' ', 'T')}.{rest:03d}+00:00"


# --- as a sequence diagram ----------------------------------------------------------------------------------

_MEANING = str.maketrans({character: f"#{ord(character)};" for character in '#;<>"{}[]()|&:%`\\'})
"""Characters that mean something to Mermaid, as its entity codes."""


def mermaid(stories: Sequence[Story], moments: Sequence[Moment]) -> str:
    """The stories as a sequence diagram in Mermaid's language."""
    places = dict.fromkeys(one.place for one in moments)
    names = {place: f"p{number}" for number, place in enumerate(places)}
    lines = ["sequenceDiagram", "  participant client"]
    lines += [f"  participant {name} as {_label(place)}" for place, name in names.items()]
    for number, story in enumerate(stories):
        own = [one for one in moments if one.story == number]
        before = "client"
        if len(stories) > 1:
            over = ",".join(dict.fromkeys(("client", *list(names.values())[-1:])))  # a note spans two at most
            lines.append(f"  Note over {over}: {_label(f'{number + 1}. {moment(story.began_at)} UTC')}")
        for one, row in zip(own, _rows(own), strict=True):
            here = names[one.place]
            said = _label(f"{row['offset_s']:.3f} s {one.text}"[:160])
            lines.append(
                f"  {before}->>{here}: {said}" if before != here else f"  Note right of {here}: {said}"
            )
            before = here
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return visible(text).translate(_MEANING)


def summary(stories: Sequence[Story]) -> str:
    """How much was found, for a note."""
    counts = (
        plural(sum(len(one.sessions) for one in stories), "session"),
        plural(sum(len(one.messages) for one in stories), "message"),
        plural(sum(len(one.deliveries) for one in stories), "delivery", "deliveries"),
    )
    return ", ".join(counts)
