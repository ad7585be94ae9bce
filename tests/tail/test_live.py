"""Live and from files, the same lines give the same sessions."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logscope import pipeline
from logscope.grammar import catalogue
from logscope.live import Live, streams
from logscope.pipeline import Options, feed
from logscope.schema import SESSIONS
from logscope.sources.source import Source
from logscope.store import snapshot
from tests.tail.arriving import SECOND, Arriving, arrivals, play, rows_of

SAMPLES = Path(__file__).parents[2] / "samples"
COLUMNS = [column.name for column in SESSIONS]
GRAMMARS = catalogue.load()
OPTIONS = Options(machine_code=False, year=2026)
GRACE = SECOND

Rows = list[dict[str, object]]


def in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: str(row["session_id"]))


def capture(name: str) -> dict[str, bytes]:
    return {file: (SAMPLES / name / file).read_bytes() for file in ("haproxy.log", "mail.log")}


def from_files(files: dict[str, bytes]) -> Rows:
    batches: list[pa.RecordBatch] = []
    sources = [Source(name, io.BytesIO(data)) for name, data in files.items()]
    pipeline.run(
        sources, GRAMMARS, OPTIONS, {"sessions": COLUMNS}, lambda _table, batch: batches.append(batch)
    )
    return in_order([row for batch in batches for row in batch.to_pylist()])


@pytest.fixture
def set_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are read at a time."""
    return lambda room: monkeypatch.setattr(feed, "SMALL_CHUNK", room)


FROM_FILES = {name: from_files(capture(name)) for name in ("proxy-v1", "masked", "partial-mask")}


@pytest.mark.parametrize("name", FROM_FILES)
@settings(max_examples=3, deadline=None)
@given(
    delays=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    pauses=st.lists(st.integers(1, 3 * SECOND), min_size=1, max_size=20),
    cut=st.integers(0, 200),
    first=st.booleans(),
)
def test_live_as_from_files(name: str, delays: list[float], pauses: list[int], cut: int, first: bool) -> None:
    """However the lines of the inputs arrive within the grace, cut anywhere, looked at at any time."""
    files = capture(name)
    coming = [
        (at, number, data)
        for number, content in enumerate(files.values())
        for at, data in arrivals(content, delays[number * len(delays) // 2 :] or delays, GRACE, cut)
    ]
    coming.sort(key=lambda one: (one[0], one[1] if first else -one[1]))
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    inputs = [Arriving(file) for file in files]
    live.add(inputs, coming[0][0], 0)
    assert in_order(rows_of(play(live, inputs, coming, pauses), COLUMNS)) == FROM_FILES[name]
    assert live.tally.late == 0
    quality = live.quality
    assert quality["lines_read"] == quality["parsed"] + quality["foreign"] + quality["unparsed"]
    assert quality["sessions"] == sum(quality[joined] for joined in pipeline.JOIN_CLASSES)


@pytest.mark.parametrize("kept", [False, True])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pauses=st.lists(st.integers(1, 90 * SECOND), min_size=1, max_size=5), room=st.integers(9000, 20_000))
def test_what_is_scanned_ahead_is_not_lost(
    kept: bool, pauses: list[int], room: int, set_room: Callable[[int], None]
) -> None:
    """Neither where the inputs end, nor where the stage is kept and another process goes on."""
    set_room(room)
    files = capture("proxy-v1")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live._scanner = ThreadPoolExecutor(1)
    inputs = [Arriving(file) for file in files]
    live.add(inputs, 0, 0)
    for one, content in zip(inputs, files.values(), strict=True):
        one.data = content
    rows, now, ahead = [], 0, 0
    while any(one.data for one in inputs):
        now += pauses[now % len(pauses)]
        rows += rows_of(live.pump(now), COLUMNS)
        ahead += any(stream.scanning is not None for stream in live._streams)
        if kept:
            live.settle(now)
            live = snapshot.thawed(snapshot.frozen(live), GRAMMARS)
            assert not live.go_on(inputs, now)
            live._scanner = ThreadPoolExecutor(1)
    rows += rows_of(live.finish(now), COLUMNS)
    assert ahead
    assert in_order(rows) == FROM_FILES["proxy-v1"]


@pytest.mark.parametrize("pause", [SECOND // 100, 30 * SECOND])
def test_a_line_from_the_far_future_disturbs_no_session(pause: int) -> None:
    """Whether it comes alone or among others."""
    fake = b"2100-01-01T00:00:00Z mx-z postfix/smtpd[77]: lost connection after EHLO from x[192.0.2.77]\n"
    coming: list[tuple[int, int, bytes]] = []
    for number, content in enumerate(capture("proxy-v1").values()):
        arriving = list(arrivals(content, [0.0], GRACE, 0))
        middle = len(arriving) // 2
        arriving.insert(middle, (arriving[middle - 1][0] + SECOND // 20, fake))
        coming += [(at, number, data) for at, data in arriving]
    coming.sort(key=lambda one: one[0])
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    inputs = [Arriving(file) for file in capture("proxy-v1")]
    live.add(inputs, coming[0][0], 0)
    rows = in_order(rows_of(play(live, inputs, coming, [pause]), COLUMNS))
    others = [row for row in rows if row["mta_host"] != "mx-z"]
    assert len(others) == len(FROM_FILES["proxy-v1"])
    assert {row["join_confidence"] for row in others} == {"exact"}
    assert live.doubted == 2


def test_what_a_balancers_session_teaches_counts_once() -> None:
    """Where no mail server's log is followed, a balancer's sessions are looked at again and again. Two whose
    lengths say, by mistake, that the inner balancer is the outer one do not make that exact.
    """
    text = ""
    for number, inner_longer_ms in enumerate([127, 127, 0, 0]):
        for host, lasted_ms in (("edge", 3000), ("inner", 3000 + inner_longer_ms)):
            text += (
                f"Nov 22 09:00:{10 * number + 4:02d} {host} haproxy[900]: 192.0.2.{number + 1}:40000 "
                f"[22/Nov/2026:09:00:{10 * number:02d}.000] smtp be_smtp/mx 0/0/{lasted_ms} 420 -- "
                "1/1/0/0/0 0/0\n"
            )
    coming = [(at, 0, data) for at, data in arrivals(text.encode(), [0.0], GRACE, 0)]
    stage, inputs = Live(GRAMMARS, OPTIONS, grace=GRACE), [Arriving("haproxy.log")]
    stage.add(inputs, coming[0][0], 0)
    rows = rows_of(play(stage, inputs, coming, [SECOND]), COLUMNS)
    assert sorted(row["balancers"] for row in rows) == [["inner", "edge"]] * 4
    assert {row["join_confidence"] for row in rows} == {"probable"}


def test_sessions_come_while_lines_arrive() -> None:
    """A session is handed out once it is decided, not at the end."""
    files = capture("proxy-v1")
    coming = sorted(
        (at, number, data)
        for number, content in enumerate(files.values())
        for at, data in arrivals(content, [0.0], GRACE, 0)
    )
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    inputs = [Arriving(file) for file in files]
    live.add(inputs, coming[0][0], 0)
    early = sum(batch.count for batch in play(live, inputs, coming, [SECOND // 10]) if inputs[0].follows)
    assert early >= 80


def test_a_silent_input_holds_others_for_the_grace_only() -> None:
    line = (
        b"Nov 22 10:00:01 edge1 haproxy[9]: 192.0.2.10:41522 [22/Nov/2026:10:00:01.000] "
        b"ft_smtp bk_mx/<NOSRV> -1/-1/2 0 SC 1/1/0/0/0 0/0\n"
    )
    talks, silent = Arriving("haproxy.log"), Arriving("mail.log")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add([talks, silent], 0, 0)
    talks.data = line
    assert not list(live.pump(0))
    assert live.sources()[0].waiting == 1
    list(live.pump(GRACE - 1))
    assert live.sources()[0].waiting == 1
    list(live.pump(GRACE))
    assert live.sources()[0].waiting == 0


def test_a_line_later_than_the_grace_is_taken_and_counted() -> None:
    """Its session is put together all the same."""
    files = capture("proxy-v1")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    balancer, mail = Arriving("haproxy.log"), Arriving("mail.log")
    live.add([balancer, mail], 0, 0)
    mail.data = files["mail.log"]
    batches = live.pump(0)
    rows = rows_of(batches, COLUMNS)
    rows += rows_of(live.pump(2 * GRACE), COLUMNS)
    balancer.data = files["haproxy.log"]
    rows += rows_of(live.pump(3 * GRACE), COLUMNS)
    rows += rows_of(live.pump(5 * GRACE), COLUMNS)
    rows += rows_of(live.finish(6 * GRACE), COLUMNS)
    assert live.tally.late > 100
    assert len(rows) == len(FROM_FILES["proxy-v1"])
    assert {row["join_confidence"] for row in rows} <= {"exact", "probable"}


def test_what_there_is_no_room_to_read_holds_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input of which too much waits already may have an earlier line than others, grace or not."""
    monkeypatch.setattr(streams, "AHEAD", 3)
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    busy, hasty, silent = inputs = [Arriving(name) for name in ("mx-a.log", "mx-b.log", "mx-c.log")]

    def connects(host: str, seconds: range) -> bytes:
        lines = [
            f"Nov 22 09:20:{second:02} {host} postfix/smtpd[{second}]: connect from unknown[192.0.2.1]\n"
            for second in seconds
        ]
        return "".join(lines).encode()

    live.add(inputs, 0, 0)
    busy.data, hasty.data = connects("mx-a", range(1, 10)), connects("mx-b", range(40, 41))
    silent.data = connects("mx-c", range(1))
    rows_of(live.pump(0), COLUMNS)
    busy.data = connects("mx-a", range(10, 30))
    for now in range(2 * GRACE, 6 * GRACE, GRACE):
        rows_of(live.pump(now), COLUMNS)
    assert live.tally.late == 0


def test_names_beyond_those_that_are_told_apart_are_counted() -> None:
    """Also when their input has ended."""
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.most_names = 4
    flood = Arriving("mail.log")
    live.add([flood], 0, 0)
    lines = [f"Nov 22 10:00:01 host-{number} postfix/qmgr[9]: 4QX0: removed\n" for number in range(9)]
    flood.data = "".join(lines).encode()
    flood.follows = False
    list(live.finish(0))
    assert list(live.crowded()) == [("mail.log", 7)]
    assert live.quality["lines_read"] == 9
