"""Tables as they are handed out and written: the same rows in each form, and for any number of threads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.correlate.layout import NULL
from logscope.simulate import Fault, Options, Simulation, Tables, balancers
from logscope.simulate.columns import to_arrow
from logscope.simulate.output import write_tables
from logscope.simulate.tables import ENCODED, TABLES, tables
from logscope.simulate.texts import LENGTH, SPAN
from logscope.wide_copy import SPARE

DAY = Options(200, duration_s=86400.0, seed=3)
FAULTS = (
    Fault("mta_log_loss", 0.0, 6 * 3600.0, size=0.5),
    Fault("balancer_log_loss", 0.0, 12 * 3600.0, size=0.5),
    Fault("masked", 3600.0, server=1),
    Fault("deferrals", 7200.0),
    Fault("heavy_network", 8 * 3600.0, 600.0, 3.0),
    Fault("heavy_network", 9 * 3600.0, 600.0, 3.0),
)
SITE = replace(DAY, faults=FAULTS, balancers=balancers(2), inner=balancers(2, inner=True), smtpd_ports=True)


def read(path: Path) -> pa.Table:
    if path.suffix == ".arrow":
        return pyarrow.ipc.open_file(path).read_all()
    return pq.read_table(path)


@pytest.mark.parametrize("site", [DAY, SITE])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_each_form_has_the_same_rows(tmp_path: Path, site: Options, form: str) -> None:
    simulation = Simulation(site, machine_code=False)
    wanted = tables(simulation, TABLES)
    summary = write_tables(simulation, tmp_path, form)
    for name, table in wanted.items():
        found = read(tmp_path / f"{name}.{form}")
        assert summary.counts[f"{name}.{form}"] == table.num_rows > 0
        assert found.schema.names == table.schema.names
        for column in table.schema.names:
            assert found[column].to_pylist() == table[column].to_pylist(), column


def test_json_lines_have_the_same_rows(tmp_path: Path) -> None:
    simulation = Simulation(DAY, machine_code=False)
    wanted = tables(simulation)["sessions"]
    write_tables(simulation, tmp_path, "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()]
    for column in ("session_id", "client_address", "outcome", "hops", "queue_ids"):
        assert [row[column] for row in lines] == wanted[column].to_pylist()


@pytest.mark.parametrize("form", ["arrow", "parquet", "jsonl"])
def test_files_do_not_depend_on_the_number_of_threads(tmp_path: Path, form: str) -> None:
    for threads in (1, 3):
        write_tables(Simulation(SITE), tmp_path / str(threads), form, threads=threads)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "3" / path.name).read_bytes()


@pytest.mark.slow
def test_machine_code_gives_the_same_tables() -> None:
    plain, fast = (tables(Simulation(SITE, machine_code=code), TABLES) for code in (False, True))
    for name in TABLES:
        assert plain[name].equals(fast[name])


def test_no_word_stands_twice_in_a_dictionary() -> None:
    """Readers that make categories of them would refuse it."""
    simulation = Simulation(SITE, machine_code=False)
    (block,) = simulation.blocks()
    found = Tables(simulation, block, ENCODED)
    seen = 0
    for column in (column for name in TABLES for column in found.table(name).columns):
        if pa.types.is_dictionary(column.type):
            words = column.dictionary.to_pylist()
            assert len(words) == len(set(words))
            seen += 1
    assert seen > 20


def test_one_simulation_after_another_does_not_touch_what_was_handed_out() -> None:
    """Memory is used again, but never while somebody looks at it."""
    simulation = Simulation(replace(SITE, sessions=600), machine_code=False)
    kept: list[tuple[pa.RecordBatch, list[dict[str, Any]]]] = []
    for block in simulation.blocks(100):
        batch = Tables(simulation, block).sessions(["session_id", "accepted_at", "queue_ids", "helo"])
        kept.append((batch, batch.to_pylist()))
    assert len(kept) > 4
    for batch, rows in kept:
        assert batch.to_pylist() == rows


Pieces = st.lists(st.tuples(st.sampled_from([b"", b"a", b"bcd", b"efghij"]), st.integers(0, 3)), max_size=9)


@given(Pieces)
def test_texts_are_found_wherever_they_stand(pieces: list[tuple[bytes, int]]) -> None:
    """Together or apart, with some that are absent, behind other text."""
    data = bytearray(b"words")
    spans = []
    wanted: list[str | None] = []
    for text, before in pieces:
        if before == 3:
            spans.append(NULL)
            wanted.append(None)
            data += b"xx"
            continue
        data += b"-" * before
        spans.append(len(data) << SPAN | len(text) & LENGTH)
        data += text
        wanted.append(text.decode())
    pool = np.frombuffer(bytes(data) + bytes(SPARE), np.uint8)
    found = to_arrow(pool, np.array(spans, np.int64), None, lambda kernel: kernel)
    found.validate(full=True)
    assert found.to_pylist() == wanted
