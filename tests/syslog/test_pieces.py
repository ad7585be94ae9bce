"""Lines that a container's engine wrote in pieces."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logscope import events
from logscope.grammar import catalogue
from logscope.live import Live
from logscope.pipeline import Options, feed
from logscope.sources.source import Source
from logscope.syslog.pieces import APART, DOCKERS_LENGTH, joined
from tests.tail.arriving import SECOND, Arriving

GRAMMARS = catalogue.load()
OPTIONS = Options(machine_code=False, year=2026)
STAMP = "2026-11-22T09:20:30.123456789Z"
MOST = 1 << 20
QUEUED = "Nov 22 10:20:30 mx-a postfix/qmgr[9]: {}: removed"


def marked(text: str, mark: str = "F", stream: str = "stdout") -> str:
    """A line of a Kubernetes file."""
    return f"{STAMP} {stream} {mark} {text}\n"


def docked(text: str, stream: str = "stdout", **more: str) -> str:
    """A line of a Docker file."""
    return json.dumps({"log": text, "stream": stream, "time": STAMP} | more) + "\n"


def docked_in_pieces(text: str, **more: str) -> list[str]:
    """A line as Docker cuts it, its line feed included."""
    text += "\n"
    return [docked(text[at : at + DOCKERS_LENGTH], **more) for at in range(0, len(text), DOCKERS_LENGTH)]


def marked_in_pieces(text: str, sizes: Sequence[int], stream: str = "stdout") -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        if at + size >= len(text):
            break
        pieces.append(marked(text[at : at + size], "P", stream))
        at += size
    return [*pieces, marked(text[at:], "F", stream)]


def read(data: str, **options: str) -> list[dict[str, object]]:
    """The rows of the events table that have kind, line and reason."""
    source = Source("mx-a.log", io.BytesIO(data.encode()))
    told = Options(machine_code=False, year=2026, **options)  # type: ignore[arg-type]
    batches = events.events([source], GRAMMARS, told)
    return [row for batch in batches for row in batch.dense().to_pylist()]


def removed(rows: Sequence[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["line_number"], row["queue_id"]) for row in rows if row["kind"] == "qmgr.removed"]


def ids(count: int) -> list[str]:
    return [f"4BcDeF{number:05}" for number in range(count)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.sampled_from(["", "container"]))
def test_marked_pieces_are_one_line(sizes: list[int], envelope: str) -> None:
    """In the place of the first; the lines around keep their numbers."""
    first, cut, last = ids(3)
    pieces = marked_in_pieces(QUEUED.format(cut), sizes)
    lines = [marked(QUEUED.format(first)), *pieces, marked(QUEUED.format(last))]
    rows = read("".join(lines), envelope=envelope)
    assert removed(rows) == [(1, first), (2, cut), (2 + len(pieces), last)]
    assert len(rows) == len(lines)
    assert [row["kind"] for row in rows].count("foreign") == len(pieces) - 1


def test_dockers_pieces_are_one_line() -> None:
    first, last = ids(2)
    long = f"Nov 22 10:20:30 mx-a postfix/qmgr[9]: nonsense {'x' * 40_000}"
    lines = [docked(QUEUED.format(first) + "\n"), *docked_in_pieces(long), docked(QUEUED.format(last) + "\n")]
    rows = read("".join(lines))
    assert len(lines) == 5
    assert removed(rows) == [(1, first), (5, last)]
    assert str(rows[1]["raw"]).endswith("x" * 40_000)
    assert [row["kind"] for row in rows[2:4]] == ["foreign", "foreign"]


def test_a_line_of_a_shipper_needs_no_line_feed() -> None:
    """Only what is as long as Docker's pieces, or marked, is one."""
    first, second, third = ids(3)
    rows = read("".join(docked(QUEUED.format(one)) for one in (first, second, third)))
    assert removed(rows) == [(1, first), (2, second), (3, third)]
    text = QUEUED.format(first)
    rows = read(docked(text[:30], logtag="P") + docked(text[30:], logtag="F"))
    assert removed(rows) == [(1, first)]


def test_pieces_of_several_origins_do_not_mix() -> None:
    out, err = (
        marked_in_pieces(QUEUED.format(one), [30, 10], s)
        for one, s in zip(ids(2), ("stdout", "stderr"), strict=True)
    )
    mixed = [line for pair in zip(out, err, strict=True) for line in pair]
    assert removed(read("".join(mixed))) == [(1, ids(2)[0]), (2, ids(2)[1])]
    text = "Nov 22 10:20:30 mx-a postfix/qmgr[9]: nonsense "
    pods = [docked_in_pieces(text + name * 20_000, tag=name) for name in "ab"]
    rows = read("".join(line for pair in zip(*pods, strict=True) for line in pair))
    assert [str(row["raw"])[-20_000:] for row in rows[:2]] == ["a" * 20_000, "b" * 20_000]


@pytest.mark.parametrize("behind", [0, 3, APART + 1])
def test_a_piece_without_its_end_is_a_line_of_its_own(behind: int) -> None:
    others = [marked(QUEUED.format(one), stream="stderr") for one in ids(behind)]
    rows = read("".join([marked("postfix/qmgr[9]: half a", "P"), *others]))
    assert [row["kind"] for row in rows] == ["unparsed", *["qmgr.removed"] * behind]
    assert str(rows[0]["raw"]).endswith("half a")


def test_what_comes_too_late_is_no_end() -> None:
    """So that a piece that nobody goes on with holds no other line back for long."""
    start = marked("postfix/qmgr[9]: half a", "P").encode()
    other = marked("postfix/qmgr[9]: x", stream="stderr").encode()
    assert joined(start + APART * other, MOST, final=False) == b""
    assert joined(start + (APART + 1) * other, MOST, final=False) == start + (APART + 1) * other


def test_a_line_that_is_too_long_stays_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing behind it is lost."""
    monkeypatch.setattr(events, "SMALL_CHUNK", 1 << 16)
    monkeypatch.setattr(feed, "SMALL_CHUNK", 1 << 16)
    pieces = marked_in_pieces("postfix/qmgr[9]: " + "x" * 200_000, [9000] * 30)
    rows = read("".join([*pieces, marked(QUEUED.format("4BcDeF00000"))]))
    assert len(rows) == len(pieces) + 1
    assert removed(rows) == [(len(pieces) + 1, "4BcDeF00000")]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]), st.lists(st.integers(0, 90), max_size=4), st.booleans()
        ),
        min_size=1,
        max_size=30,
    ),
    cuts=st.lists(st.integers(40, 900), min_size=1, max_size=8),
    room=st.sampled_from([1500, 4000, 1 << 18]),
)
def test_live_as_from_a_file(
    kinds: list[tuple[str, list[int], bool]],
    cuts: list[int],
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However the bytes arrive, the same lines are understood, each once."""
    lines: list[str] = []
    for (stream, sizes, ends), one in zip(kinds, ids(len(kinds)), strict=True):
        pieces = marked_in_pieces(QUEUED.format(one), sizes, stream)
        lines += pieces if ends else pieces[:-1]
    data = "".join(lines)
    expected = [(row["line_number"], row["kind"], row.get("raw")) for row in read(data)] if data else []
    monkeypatch.setattr(feed, "SMALL_CHUNK", room)
    live = Live(GRAMMARS, OPTIONS, grace=SECOND)
    arriving = Arriving("mx-a.log")
    live.add([arriving], 0, 0)
    rest, turn = data.encode(), 0
    while rest:
        size = cuts[turn % len(cuts)]
        arriving.data, rest, turn = arriving.data + rest[:size], rest[size:], turn + 1
        list(live.pump(turn * SECOND))
    arriving.follows = False
    list(live.finish((turn + 1) * SECOND))
    assert live.quality["lines_read"] == len(expected) == len(lines)
    kinds_of = [kind for _, kind, _ in expected]
    assert live.quality["unparsed"] == kinds_of.count("unparsed")
    assert live.quality["foreign"] == kinds_of.count("foreign")
