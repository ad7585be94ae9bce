"""Every template of every grammar: its samples, and what must hold for lines nobody wrote down."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logscope.grammar.catalogue import Catalogue, grammar_files, load
from logscope.grammar.check import check
from logscope.grammar.compile import Assembler
from logscope.grammar.errors import RenderError
from logscope.grammar.interpret import Log, Machine
from logscope.grammar.model import ENVELOPE, Template
from logscope.grammar.prepare import Branch, Slot, prepare
from logscope.grammar.reference import Mismatch, Reference
from logscope.grammar.render import render
from logscope.grammar.scan import Scanner
from logscope.grammar.surface import captured

from .. import strategies
from .conftest import in_envelope, outcome

CATALOGUE = load()
FILES = [path.name for path in grammar_files()]
THOROUGH = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@cache
def scanners() -> tuple[Scanner, Scanner]:
    return Scanner(CATALOGUE, compiled=False), Scanner(CATALOGUE)


@cache
def reference(number: int) -> Reference:
    return Reference(CATALOGUE.details[number].sequence)


@cache
def alone(number: int) -> tuple[Machine, int]:
    """A table of one template only, so that no other one can get in its way."""
    assembler = Assembler(CATALOGUE.enum_code)
    ids = {info.name: info.id for info in CATALOGUE.fields}
    start = assembler.program([(number, prepare(CATALOGUE.details[number].sequence, ids))])
    return Machine(*assembler.tables()), start


@cache
def stops(number: int) -> dict[str, set[str]]:
    """The texts that end each bounded field of a template."""
    found: dict[str, set[str]] = defaultdict(set)
    todo = list(
        prepare(CATALOGUE.details[number].sequence, {info.name: info.id for info in CATALOGUE.fields})
    )
    while todo:
        part = todo.pop()
        if isinstance(part, Branch):
            todo += [inner for alternative in part.alternatives for inner in alternative]
        elif isinstance(part, Slot):
            found[part.name] |= {stop.text.decode() for stop in part.stops}
    return found


def read_alone(number: int, line: bytes) -> dict[str, Any] | None:
    machine, start = alone(number)
    line = line.rstrip(b" \t\r")
    log: Log = []
    return captured(CATALOGUE, log, line) if machine.match(line, 0, len(line), start, log) >= 0 else None


def as_line(template: Template, message: bytes) -> bytes:
    program = template.programs[0]
    if program == ENVELOPE:
        return message
    tag = {"haproxy": b"haproxy", "*": b"postfix/smtp"}.get(program, f"postfix/{program}".encode())
    return in_envelope(message, tag)


def test_there_are_grammars() -> None:
    assert len(FILES) > 10
    assert len(CATALOGUE) > 500


@pytest.mark.parametrize("file", FILES)
def test_self_test_of_a_grammar(file: str) -> None:
    """Samples have their values, near misses do not match, both directions and both matchers agree."""
    path = next(path for path in grammar_files() if path.name == file)
    assert [str(problem) for problem in check([path])] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "template", CATALOGUE.templates, ids=lambda template: f"{template.kind}-{template.id}"
)
def test_every_template(template: Template) -> None:
    """parse(render(x)) == x; and on hostile, cut and changed lines all matchers read the same or nothing."""

    # A property of its own for each template: Hypothesis nests its settings deeper with each parameter
    # of one property, and reaches the limit of recursion at some thousand.
    @THOROUGH
    @given(data=st.data())
    def holds(data: st.DataObject) -> None:
        sample = data.draw(st.sampled_from(CATALOGUE.details[template.id].samples)).line.encode()
        values = read_alone(template.id, sample)
        assert values is not None
        check_written_values(template, without_groups(template, values), data)
        check_agreement(template, spoiled_line(template, sample, values, data))

    holds()


def without_groups(template: Template, values: dict[str, Any]) -> dict[str, Any]:
    """The values that stand for themselves: what a group holds follows from the fields inside it."""
    return {name: value for name, value in values.items() if template.types[name][0] != "group"}


def check_written_values(template: Template, values: dict[str, Any], data: st.DataObject) -> None:
    new = data.draw(strategies.values_like(template, values, stops(template.id)))
    try:
        line = render(CATALOGUE.details[template.id].sequence, new)
    except RenderError:
        # There is no such line: an enum has other words in another alternative, or what is a group in one
        # alternative is plain in another.
        assert any(template.types[name][0] in ("enum", "group") for name in template.types)
        return
    found = read_alone(template.id, line)
    assert found is not None, line
    assert without_groups(template, found) == new
    assert reference(template.id).match(line) == found


def spoiled_line(template: Template, sample: bytes, values: dict[str, Any], data: st.DataObject) -> bytes:
    if data.draw(st.booleans()):
        try:
            hostile = data.draw(strategies.hostile_like(template, values))
            return render(CATALOGUE.details[template.id].sequence, hostile)
        except RenderError:
            pass  # a word with blanks in it, say: spoil the sample instead
    return data.draw(strategies.spoiled(sample))


def check_agreement(template: Template, line: bytes) -> None:
    found = reference(template.id).match(line)
    assert read_alone(template.id, line) == (None if isinstance(found, Mismatch) else found)
    interpreter, kernel = (outcome(scanner.scan_bytes(as_line(template, line))) for scanner in scanners())
    assert interpreter == kernel


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_do_not_depend_on_how_the_bytes_arrive(data: st.DataObject) -> None:
    """One scan or many pieces: the same rows, whichever engine."""
    lines = data.draw(st.lists(st.sampled_from(all_lines()).flatmap(sometimes_spoiled), max_size=12))
    text = b"\n".join(lines) + data.draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))
    whole = outcome(scanners()[1].scan_bytes(text))
    for scanner in scanners():
        assert relative(in_pieces(scanner, text, data.draw(strategies.chunkings(len(text))))) == relative(
            whole
        )


@cache
def all_lines() -> list[bytes]:
    return [
        as_line(template, sample.line.encode())
        for template in CATALOGUE.templates
        for sample in CATALOGUE.details[template.id].samples[:2]
    ]


def sometimes_spoiled(line: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(st.just(line), strategies.spoiled(line))


def in_pieces(scanner: Scanner, text: bytes, sizes: list[int]) -> list[tuple[Any, ...]]:
    """Scan as a reader would: what is left of a piece goes before the next one."""
    found: list[tuple[Any, ...]] = []
    left, at = b"", 0
    for size in sizes:
        left += text[at : at + size]
        at += size
        rows = scanner.scan_bytes(left, final=False)
        found += outcome(rows)
        left = left[rows.consumed :]
    return found + outcome(scanner.scan_bytes(left, final=True))


def relative(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows with positions counted from the beginning of each line."""
    return [(row[1] - row[0], *row[2:7], row[7] - row[0], row[8] - row[0], *row[9:]) for row in rows]


def test_all_samples_in_one_scan(catalogue: Catalogue) -> None:
    """The whole corpus at once, by both engines; every sample of an envelope's own and of a daemon's
    finds a template.
    """
    text = b"\n".join(all_lines())
    interpreter, kernel = scanners()
    rows = kernel.scan_bytes(text)
    assert outcome(interpreter.scan_bytes(text)) == outcome(rows)
    daemon = [
        template.programs[0] not in (ENVELOPE, "*")
        for template in catalogue.templates
        for _ in catalogue.details[template.id].samples[:2]
    ]
    unread = [rows.line(row) for row in range(rows.count) if daemon[row] and rows.template[row] < 0]
    assert unread == []
