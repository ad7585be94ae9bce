"""The files of a simulation: their order, their truth, their turns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.errors import OutputError, UsageError
from logscope.grammar import catalogue
from logscope.simulate import Fault, Options, Simulation
from logscope.simulate.journal import Journal, Renderer, Run, Style, merged, sorted_order
from logscope.simulate.output import write_logs

from .reading import read, write

DAY = Options(200, duration_s=86400.0, seed=3)
FINE = Style("rfc3339")


def text_of(files: list[Path]) -> bytes:
    return b"".join(path.read_bytes() for path in files)


FAULTS = tuple(
    Fault(kind, 3600.0 * number, 3600.0)
    for number, kind in enumerate(("header_missing", "header_unexpected", "masked", "flapping"))
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "style"),
    [
        (replace(DAY, faults=FAULTS), Style()),
        (replace(DAY, header="v2", screen=False, faults=FAULTS[:2]), Style("rfc5424", lose=(("mx-b", 0.3),))),
    ],
)
def test_machine_code_writes_the_same(tmp_path: Path, site: Options, style: Style) -> None:
    write(site, style, tmp_path / "plain")
    write(site, style, tmp_path / "fast", machine_code=True)
    for path in (tmp_path / "plain").iterdir():
        assert path.read_bytes() == (tmp_path / "fast" / path.name).read_bytes()


def test_the_same_seed_writes_the_same_and_another_does_not(tmp_path: Path) -> None:
    first = text_of(write(DAY, Style(), tmp_path / "1", threads=1))
    assert first == text_of(write(DAY, Style(), tmp_path / "2"))
    assert first != text_of(write(replace(DAY, seed=4), Style(), tmp_path / "3"))


def test_lines_are_in_the_order_in_which_they_were_logged(tmp_path: Path) -> None:
    for path in write(DAY, FINE, tmp_path):
        stamps = re.findall(rb"^\S+", path.read_bytes(), re.MULTILINE)
        assert len(stamps) >= DAY.sessions
        if path.name == "mail.log":
            assert stamps == sorted(stamps)


def test_files_do_not_depend_on_the_size_of_blocks() -> None:
    simulation = Simulation(DAY, machine_code=False)
    renderer = Renderer(simulation, FINE, catalogue.load())
    found = []
    for size in (50, 1000):
        journal = Journal(simulation, FINE)
        parts: list[list[bytes]] = [[] for _ in journal.files]
        for block in simulation.blocks(size):
            pieces = journal.add(renderer.render(block), int(block.sessions[0, -1]))
            for part, piece in zip(parts, pieces, strict=True):
                part.append(bytes(piece.data))
        for part, piece in zip(parts, journal.take(), strict=True):
            part.append(bytes(piece.data))
        found.append([b"".join(part) for part in parts])
    # How many recipients a message has depends on the messages before it in the block.
    screens = [[line for line in texts[0].splitlines() if b"/postscreen[" in line] for texts in found]
    assert len(screens[0]) > 200
    assert screens[0] == screens[1]
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("style", [Style(), Style(per_host=True, lose=(("mx-a", 0.2),))])
def test_the_truth_names_the_lines_of_each_session(tmp_path: Path, style: Style) -> None:
    write(replace(DAY, smtpd_ports=True), style, tmp_path)
    lines = {path.name: path.read_text().splitlines() for path in tmp_path.glob("*.log")}
    rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [row["session"] for row in rows] == list(range(DAY.sessions))
    missing = 0
    for row in rows:
        client = f"[{row['client_address']}]:{row['client_port']}"
        mail, balancer = "mail.log", "haproxy.log"
        if style.per_host:
            mail, balancer = f"{row['server']}.mail.log", f"{row['balancer']}.haproxy.log"
        line = lines[balancer][row["balancer_line"] - 1]
        assert f" {row['client_address']}:{row['client_port']} [" in line
        for column, words in (
            ("postscreen_line", f"CONNECT from {client} to"),
            ("smtpd_line", "connect from "),
        ):
            if row[column] is None:
                missing += 1
            else:
                found = lines[mail][row[column] - 1]
                assert words in found
                assert client in found
    lost = replace(style, lose=()) != style
    assert missing > (20 if lost else 0)


def test_lost_lines_are_of_one_host(tmp_path: Path) -> None:
    whole = text_of(write(DAY, Style(), tmp_path / "1")).splitlines()
    some = text_of(write(DAY, Style(lose=(("mx-b", 0.5),)), tmp_path / "2")).splitlines()
    lost = set(whole) - set(some)
    assert set(some) < set(whole)
    assert {line.split()[3] for line in lost} == {b"mx-b"}
    assert 0.35 < len(lost) / sum(b" mx-b " in line for line in whole) < 0.65


def test_rotated_files_are_one_log(tmp_path: Path) -> None:
    three_days = replace(DAY, duration_s=3 * 86400.0, smtpd_ports=True)
    whole = write(three_days, FINE, tmp_path / "1")
    parts = write(three_days, FINE, tmp_path / "2", rotate_s=86400.0)
    names = [path.name for path in parts]
    assert "mail.log-20261124" in names
    assert "haproxy.log-20261125" in names
    for path in whole:
        series = [part for part in parts if part.name.startswith(path.name)]
        assert text_of(series) == path.read_bytes()
    for part in parts:
        if part.name == "mail.log-20261124":
            assert part.read_bytes().splitlines()[-1] < b"2026-11-24"
    assert read(whole)["messages"] == read(parts)["messages"]


def test_zones_and_skew_move_stamps(tmp_path: Path) -> None:
    """In summer time and out of it, and where a clock is ahead."""
    site = replace(DAY, smtpd_ports=True)
    servers = (replace(site.servers[0], skew_s=20.0), *site.servers[1:])
    ahead = write(replace(site, servers=servers), Style("rfc3339"), tmp_path / "1")
    found = read(ahead)
    skewed = [
        row for row in found["sessions"] if row["mta_host"] == "mx-a" and row["accepted_at"] is not None
    ]
    assert len(skewed) > 30
    for row in skewed:
        assert 19.9 < (row["mta_connected_at"] - row["accepted_at"]).total_seconds() < 21
    berlin = write(site, Style(zone="Europe/Berlin"), tmp_path / "2")
    assert next(iter(text_of(berlin[:1]).splitlines())).startswith(b"Nov 23 01:")


def test_labels_stand_beside_the_logs(tmp_path: Path) -> None:
    write(replace(DAY, faults=(Fault("surge", 7200.0, 600.0),)), Style(), tmp_path)
    (label,) = json.loads((tmp_path / "labels.json").read_text())
    assert (label["kind"], label["start"]) == ("surge", "2026-11-23T02:00:00.000+00:00")


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "mail.log").mkdir()
    with pytest.raises(OutputError, match=r"mail\.log: cannot be written: Is a directory"):
        write(DAY, Style(), tmp_path)
    with pytest.raises(UsageError, match="every minute at most"):
        write_logs(Simulation(DAY), Style(), catalogue.load(), tmp_path / "2", rotate_s=5.0)


@pytest.mark.parametrize(
    ("style", "complaint"),
    [
        ({"stamps": "iso"}, "unknown stamps 'iso'"),
        ({"zone": "Nowhere"}, "unknown zone 'Nowhere'"),
        ({"lose": (("mx-a", 1.5),)}, "no share of the lines of mx-a"),
    ],
)
def test_a_style_that_makes_no_sense_is_explained(style: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Style(**style)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no host 'mx-z'"):
        Renderer(Simulation(DAY), Style(lose=(("mx-z", 0.1),)), catalogue.load())


def test_lines_of_one_moment_keep_their_order() -> None:
    times = np.array([5, 1, 5, 1, 3], np.int64) * 1000
    assert sorted_order(times).tolist() == [1, 3, 4, 0, 2]
    far_apart = np.array([1 << 62, 0, 1 << 62], np.int64)
    assert sorted_order(far_apart).tolist() == [1, 0, 2]
    assert sorted_order(np.empty(0, np.int64)).tolist() == []


def run_of(*entries: tuple[int, bytes]) -> Run:
    texts = [text for _, text in entries]
    return Run(
        b"".join(texts),
        np.cumsum([len(text) for text in texts], dtype=np.int64),
        np.array([time for time, _ in entries], np.int64),
        np.arange(len(entries)),
    )


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_two_runs_become_one(one: list[int], two: list[int]) -> None:
    old = [(time, b"old%d," % n) for n, time in enumerate(sorted(one))]
    new = [(time, b"new%d;" % n) for n, time in enumerate(sorted(two))]
    found, expected = (
        merged(run_of(*old), run_of(*new)),
        run_of(*sorted(old + new, key=lambda entry: entry[0])),
    )
    assert bytes(found.data) == expected.data
    assert found.ends.tolist() == expected.ends.tolist()
    assert found.times.tolist() == expected.times.tolist()
    first, rest = found.split(len(found) // 2)
    assert bytes(first.data) + bytes(rest.data) == expected.data
    assert len(first) + len(rest) == len(expected)
    assert rest.ends.tolist() == [end - len(first.data) for end in expected.ends[len(first) :]]
