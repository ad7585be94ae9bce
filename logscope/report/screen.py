"""The live screen as lines of text: what a terminal of some width and height shows of a `board.Board`.

Nothing here knows a terminal. Lines are as many as the terminal has and never wider; what has no room is left
out, the least important first. Text of logs is made visible before it gets into a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from logscope.report import stream
from logscope.report.board import SORTS, Board, Row, Source, Tally, ranked
from logscope.report.text import cells, cut, visible
from logscope.report.tones import OUTCOME_TONES, Tone, painted
from logscope.report.wording import number, share, size, span
from logscope.schema import OUTCOMES

_BLOCKS = " ▁▂▃▄▅▆▇█"
_TWO_COLUMNS = 100
_LEFT = 46
_LAG_S = 10
_KEYS = "q quit   space pause   s sort   / filter   ↑↓ ⏎ client   ? help"
_HELP = (
    "q            end; what is open is told in the summary",
    "space        hold the picture; lines are read on",
    "s            sort clients by " + ", ".join(SORTS),
    "/            from now on only sessions of which a condition holds, as --where; empty for all",
    "↑ ↓ or k j   choose a client, then a session",
    "enter        its sessions, then what happened in one",
    "esc          back",
)

Part = tuple[str, Tone]
Line = list[Part]


@dataclass
class Look:
    """What is looked at.

    Attributes:
        page: `all`, `client`, `session` or `help`.
        sort: what clients are sorted by.
        chosen: the row that is marked.
        client: whose sessions are shown.
        session: the one that is shown; `lines`: its lines of the logs.
        paused: the picture is held.
        where: the condition; empty for none.
        prompt: a condition that is being typed; None if none is.
        message: what the last key came to.
    """

    page: str = "all"
    sort: str = "sessions"
    chosen: int = 0
    client: str = ""
    session: Row | None = None
    lines: Sequence[str] = ()
    paused: bool = False
    where: str = ""
    prompt: str | None = None
    message: str = ""


def drawn(
    board: Board, look: Look, width: int, height: int, now: float, today: float, colour: bool
) -> list[str]:
    """The screen, line by line.

    Args:
        now: seconds of the clock that the board was told.
        today: seconds since 1970.
    """
    header, footer = _header(board, look, now, today), _footer(look)
    room = max(height - 2, 0)
    if look.page == "client":
        body = _client_page(board, look, room)
    elif look.page == "session":
        body = _session_page(look)
    elif look.page == "help":
        body = [[(line, "plain")] for line in ("", *_HELP)]
    else:
        body = _overview(board, look, width, room, now)
    lines = [header, *body[:room], *[[] for _ in range(room - len(body))], footer]
    return [fitted(line, width, colour) for line in lines[:height]]


def fitted(line: Line, width: int, colour: bool) -> str:
    """A line in just so many cells."""
    return "".join(painted(text, tone, colour) for text, tone in _padded(line, width))


def _padded(line: Line, width: int) -> Line:
    """The same as parts."""
    parts: Line = []
    room = width
    for text, tone in line:
        text = cut(visible(text), room) if room else ""
        room -= sum(map(cells, text))
        parts.append((text, tone))
    return [*parts, (" " * room, "plain")]


def sparkline(counts: Sequence[int]) -> str:
    """Counts as blocks, the highest one full.

    >>> sparkline([0, 1, 4, 8])
    ' ▁▄█'
    """
    top = max(counts, default=0)
    return "".join(_BLOCKS[-(-8 * count // top) if top else 0] for count in counts)


# --- the frame ----------------------------------------------------------------------------------------------


def _header(board: Board, look: Look, now: float, today: float) -> Line:
    clock = f"{datetime.fromtimestamp(today, UTC):%H:%M:%S} UTC"
    line: Line = [("logscope", "strong"), (f"  {clock}  ", "quiet")]
    line.append((f"{plural_sessions(board)}, {board.pulses['sessions'].rate(now):.1f}/s", "plain"))
    if look.paused:
        line.append(("  held", "warn"))
    if look.where:
        line.append((f"  where {look.where}", "warn"))
    return line


def plural_sessions(board: Board) -> str:
    """How many sessions there were."""
    count = sum(board.outcomes.values())
    return f"{number(count)} session{'' if count == 1 else 's'}"


def _footer(look: Look) -> Line:
    if look.prompt is not None:
        return [("where ", "strong"), (look.prompt, "plain"), ("▏  ", "quiet"), (look.message, "warn")]
    if look.message:
        return [(look.message, "warn")]
    return [(_KEYS if look.page == "all" else "esc back   ↑↓ ⏎ choose   q quit", "quiet")]


def _title(text: str, more: str = "") -> Line:
    return [(text, "strong"), (f"  {more}" if more else "", "quiet")]


# --- the overview -------------------------------------------------------------------------------------------


def _overview(board: Board, look: Look, width: int, height: int, now: float) -> list[Line]:
    if width < _TWO_COLUMNS:
        return _stacked(board, look, width, height, now)
    left = [
        *_rates(board, _LEFT, now), [],
        *_outcomes(board, look, _LEFT, now), [],
        *_joins(board), [],
        *_open(board, _LEFT, now),
        *_sources(board.sources, _LEFT, 6),
    ]  # fmt: skip
    right_width = width - _LEFT - 3
    findings = _findings(board)
    servers = _servers(board, right_width, max(2, height // 4))
    right = [*findings, *([[]] if findings else []), *servers, []]
    right += _clients(board, look, right_width, height - len(right))
    return list(_beside(left, right, right_width, height))


def _stacked(board: Board, look: Look, width: int, height: int, now: float) -> list[Line]:
    """One below the other. Clients get what is left, and the sources only what they leave."""
    lines = [
        *_rates(board, width, now)[1:],
        *_flowing(_outcome_words(board), width),
        *_findings(board)[:3],
        *_open(board, width, now)[:1],
        [],
    ]
    lines += [*_servers(board, width, max(2, height // 5)), []]
    sources = _sources(board.sources, width, 3) if height >= 22 else []
    lines += _clients(board, look, width, max(height - len(lines) - len(sources) - bool(sources), 3))
    if sources:
        lines += [[] for _ in range(height - len(sources) - len(lines))]
    return [*lines, *sources]


def _beside(left: Sequence[Line], right: Sequence[Line], right_width: int, height: int) -> Iterator[Line]:
    for row in range(min(height, max(len(left), len(right)))):
        one = left[row] if row < len(left) else []
        other = right[row] if row < len(right) else []
        yield [*_padded(one, _LEFT), (" │ ", "quiet"), *_padded(other, right_width)]


def _rates(board: Board, width: int, now: float) -> list[Line]:
    bars = max(min(width - 18, 60), 0)
    lines = [_title("A second", f"and each of the last {bars}")]
    tones: dict[str, Tone] = {"refused": "warn", "mails": "good"}
    for name, pulse in board.pulses.items():
        rate = pulse.rate(now)
        said = f"{rate:.1f}" if rate < 99.5 else number(rate)
        line: Line = [(f"{name:<9}", "plain"), (f"{said:>7}  ", "strong")]
        lines.append([*line, (sparkline(pulse.bars(now, bars)), tones.get(name, "plain"))])
    return lines


def _outcome_words(board: Board) -> list[Part]:
    total = sum(board.outcomes.values())
    return [
        (f"{name} {number(board.outcomes[name])} ({share(board.outcomes[name], total)})", OUTCOME_TONES[name])
        for name in _present(board)
    ]


def _outcomes(board: Board, look: Look, width: int, now: float) -> list[Line]:
    total, latest = sum(board.outcomes.values()), board.latest_outcomes(now)
    lines = [_title("Outcomes", "all, share, last minute")]
    for name in _present(board)[:9]:
        count = board.outcomes[name]
        bar = "█" * round((width - 39) * count / total)
        told = f"{name:<17}{number(count):>8}{share(count, total):>6}{number(latest[name]):>6} "
        lines.append([(told, OUTCOME_TONES[name]), (bar, OUTCOME_TONES[name])])
    nothing = "nothing that fits has finished since" if look.where else "nothing has finished yet"
    return lines if total else [*lines, [(nothing, "quiet")]]


def _present(board: Board) -> list[str]:
    return sorted((name for name in OUTCOMES if board.outcomes[name]), key=lambda name: -board.outcomes[name])


def _flowing(parts: Iterable[Part], width: int) -> list[Line]:
    """Words beside each other, in as many lines as they need."""
    lines: list[Line] = [[]]
    used = 0
    for text, tone in parts:
        if used and used + len(text) > width:
            lines.append([])
            used = 0
        lines[-1] += [(text, tone), ("  ", "plain")]
        used += len(text) + 2
    return lines


def _findings(board: Board) -> list[Line]:
    """What somebody should act on."""
    found: list[Line] = []
    for name, tally in board.servers.items():
        if tally.masked:
            part = share(tally.masked, tally.masked + tally.seen)
            found.append([(f"✗ {name}: clients are masked, {part} of sessions", "bad")])
    for (backend, name), state in board.states.items():
        if state.upper() not in ("UP", "NO CHECK"):
            found.append([(f"✗ {backend}/{name} is {state}", "bad")])
    quality = board.quality
    if quality.get("unparsed"):
        found.append([(f"! {number(quality['unparsed'])} lines not understood", "warn")])
    found += [[(f"! {remark}", "warn")] for remark in board.remarks]
    return [_title("To look at"), *found] if found else []


def _open(board: Board, width: int, now: float) -> list[Line]:
    """Sessions that have been open for long, the longest first."""
    if not board.open:
        return []
    so_far = [
        ((row["duration_ms"] or 0) + 1000 * (now - at if row["outcome"] == "open" else 0), row)
        for row, at in board.open.values()
    ]
    longest = sorted(so_far, key=lambda one: -one[0])[:3]
    told = f"longest {span(round(longest[0][0]))}, {stream.client(longest[0][1])}"
    lines = [_title(f"{number(len(so_far))} open for long", told)]
    lines += [
        _columns(stream.client(row), [str(row["outcome"]), span(round(took))], width, "plain")
        for took, row in longest
    ]
    return [*lines, []]


def _joins(board: Board) -> list[Line]:
    quality = board.quality
    names = {
        "joined_exact": "exact",
        "joined_probable": "probable",
        "ambiguous": "ambiguous",
        "balancer_only": "balancer only",
        "mta_only": "mail server only",
    }
    total = sum(quality.get(name, 0) for name in names)
    words = [f"{word} {share(quality[name], total)}" for name, word in names.items() if quality.get(name)]
    return [_title("Joins"), *_flowing([(word, "plain") for word in words], _LEFT)]


def _sources(sources: Sequence[Source], width: int, most: int) -> list[Line]:
    lines = [_title("Sources", "lines/s, behind, waiting")]
    for source in sources[:most]:
        lag = "–" if source.lag_s is None else span(1000 * max(source.lag_s, 0))
        late = source.lag_s is not None and source.lag_s > _LAG_S
        told = f"{source.rate:>7.1f} {lag:>11}{number(source.waiting):>6}"
        name = source.name if "://" in source.name else PurePath(source.name).name
        room = max(width - len(told), 8)
        named = cut(visible(name), room)
        padding = " " * (room - sum(map(cells, named)))
        lines.append([(named + padding, "plain"), (told, "warn" if late else "plain")])
        if source.lost:
            lines.append([(f"  lost {number(source.lost)}", "bad")])
    if len(sources) > most:
        lines.append([(f"and {number(len(sources) - most)} more", "quiet")])
    return lines


def _servers(board: Board, width: int, most: int) -> list[Line]:
    lines: list[Line] = [_columns("Server", ["sessions", "clients", "failed", "refused", "took p50"], width)]
    states = {name: state for (_, name), state in board.states.items()}
    for name, tally in ranked(board.servers, "sessions", most):
        masked = "masked" if tally.masked > tally.seen else "seen" if tally.seen else "–"
        values = [
            number(tally.sessions), masked, share(tally.failed, tally.sessions),
            share(tally.refused, tally.sessions), span(tally.median_ms),
        ]  # fmt: skip
        state = states.get(name, "")
        bad = tally.masked > tally.seen or tally.failed * 10 > tally.sessions
        tone: Tone = "bad" if bad else "plain"
        lines.append(_columns(f"{name} {state}".strip(), values, width, tone))
    return lines


def _clients(board: Board, look: Look, width: int, height: int) -> list[Line]:
    titles = ["sessions", "refused", "mails", "to client", "last"]
    lines: list[Line] = [_columns(f"Client, by {look.sort}", titles, width)]
    for row, (name, tally) in enumerate(ranked(board.clients, look.sort, max(height - 1, 0))):
        marked = row == look.chosen
        line = _columns(
            ("▸ " if marked else "  ") + name, _of_client(tally), width, "strong" if marked else "plain"
        )
        line[-1] = (line[-1][0], OUTCOME_TONES.get(tally.outcome, "plain"))
        lines.append(line)
    return lines


def _of_client(tally: Tally) -> list[str]:
    values = [number(tally.sessions), number(tally.refused), number(tally.mails)]
    return [*values, size(tally.bytes), tally.outcome]


def _columns(name: str, values: Sequence[str], width: int, tone: Tone | None = None) -> Line:
    """A name and values at the right of it, the last ones left out where there is no room."""
    each = 10
    count = max(min(len(values), (width - 17) // each), 0)
    room = max(width - each * count, 0)
    head: Tone = "strong" if tone is None else tone
    rest: Tone = "quiet" if tone is None else tone
    name = cut(visible(name), room - 1)
    padding = " " * (room - sum(map(cells, name)))
    return [(name + padding, head), *((f"{value:>{each}}", rest) for value in values[:count])]


# --- one client, one session --------------------------------------------------------------------------------


def _client_page(board: Board, look: Look, height: int) -> list[Line]:
    rows = board.of_client(look.client)
    lines = [[], _title(look.client, f"{number(len(rows))} of the latest sessions"), []]
    first = max(0, look.chosen - (height - len(lines) - 1))
    for place, row in enumerate(rows[first : first + height - len(lines)], first):
        when = stream.moment_of(row)
        clock = "–" if when is None else f"{when:%m-%d %H:%M:%S}"
        outcome = str(row["outcome"] or "unknown")
        marked = place == look.chosen
        line: Line = [("▸ " if marked else "  ", "strong"), (f"{clock}  ", "quiet")]
        line += [(f"{outcome:<17}", OUTCOME_TONES.get(outcome, "plain")), (stream.reason(row), "plain")]
        lines.append(line)
    return lines


def _session_page(look: Look) -> list[Line]:
    row = look.session
    if row is None:
        return []
    lines: list[Line] = [[], _title(f"{stream.client(row)}, {row['outcome']}", str(row["session_id"])), []]
    lines += [[(f"{name:<12}", "quiet"), (text, "plain")] for name, text in _facts(row) if text]
    evidence: list[Line] = [[(line, "plain")] for line in look.lines]
    return [*lines, [], _title("Lines"), *evidence]


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    """What is known of a session, in order of time as far as it has one."""
    yield "accepted", _at(row["accepted_at"], f"by {row['balancer'] or '–'}, {row['frontend'] or '–'}")
    yield "connected", _at(row["mta_connected_at"], f"at {row['mta_host'] or '–'}, {row['service'] or '–'}")
    yield "way", stream.way(row)
    yield "screen", " ".join([str(row["screen"] or ""), *(row["screen_tests"] or ())])
    yield "greeting", str(row["helo"] or "")
    yield "TLS", " ".join(str(row[name]) for name in ("tls_protocol", "tls_cipher") if row[name])
    yield "user", str(row["sasl_username"] or "")
    for one in row["rejects"] or ():
        yield "refused", " ".join(str(one[name]) for name in ("stage", "code", "dsn", "text") if one[name])
    yield "mail", " ".join(row["queue_ids"] or ())
    yield "ended", _at(row["ended_at"], stream.reason(row))
    for one in row["links"] or ():
        yield "joined", f"{one['from']} and {one['to']} by {one['method']}: {one['confidence']}"


def _at(nanoseconds: int | None, text: str) -> str:
    if nanoseconds is None:
        return ""
    when = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03} UTC, {text}"
