"""The self test of grammars: samples, near misses, round trip, and two matchers that must agree.

python -m logscope.grammar check [FILE...]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from logscope.errors import GrammarError
from logscope.grammar.catalogue import Catalogue, grammar_files, load
from logscope.grammar.dispatch import search_order
from logscope.grammar.errors import Problem, RenderError
from logscope.grammar.fields import Kind
from logscope.grammar.interpret import Log
from logscope.grammar.model import Template
from logscope.grammar.reference import Reference
from logscope.grammar.render import render
from logscope.grammar.source import Sample, read_file
from logscope.grammar.surface import captured
from logscope.grammar.times import from_iso


def check(paths: Iterable[Path | str] = ()) -> list[Problem]:
    """Test the grammars in these files (all, when none is given) within the whole catalogue.

    A file stands in for the installed one of the same name.
    """
    chosen = [Path(path) for path in paths]
    names = {path.name for path in chosen}
    files = _with_stand_ins(grammar_files(), chosen)
    problems = []
    try:
        catalogue = load(files=files)
    except GrammarError as error:
        problems.append(
            Problem(str(error.place or ""), "cannot be compiled", error.message, error.hint or "")
        )
        if not chosen or str(error.place or "").startswith(tuple(names)):
            return problems
        # Another file is at fault: test the chosen ones as well as can be without the others.
        try:
            catalogue = load(files=_with_macros(chosen, files))
        except GrammarError as own:
            return [
                *problems,
                Problem(str(own.place or ""), "cannot be compiled", own.message, own.hint or ""),
            ]
    return problems + [
        problem
        for template in catalogue.templates
        if not names or template.file in names
        for problem in check_template(catalogue, template)
    ]


def _with_stand_ins(files: list[Path], chosen: list[Path]) -> list[Path]:
    """The files, in their order (what was compiled before is found again), with the chosen ones in place."""
    stand_ins = {path.name: path for path in chosen}
    return [stand_ins.pop(path.name, path) for path in files] + list(stand_ins.values())


def _with_macros(chosen: list[Path], files: list[Path]) -> list[Path]:
    """The chosen grammars and those whose macros they use."""
    used = {name for path in chosen for name in read_file(path).use}
    return chosen + [path for path in files if path not in chosen and path.stem in used]


def check_template(catalogue: Catalogue, template: Template) -> Iterator[Problem]:
    """All that is wrong with one template."""
    detail = catalogue.details[template.id]
    if not detail.samples:
        yield _problem(template, "has no sample", "add samples = [ { line = '...', values = { ... } } ]")
    for sample in detail.samples:
        yield from _check_sample(catalogue, template, sample)
    for line in detail.near_misses:
        yield from _check_near_miss(catalogue, template, line)


def _problem(template: Template, what: str, detail: str) -> Problem:
    return Problem(template.file, template.kind, what, detail)


def _check_sample(catalogue: Catalogue, template: Template, sample: Sample) -> Iterator[Problem]:
    data = sample.line.encode().rstrip(b" \t\r")
    found: dict[int, Log] = {}
    for program in template.programs:
        winner = _winner(catalogue, program, data, found)
        if winner == template.id:
            continue
        shown = f"{sample.line}\ntemplate: {template.text}"
        if winner < 0:
            yield _problem(
                template, "sample is not matched", f"{shown}\n{_furthest(catalogue, program, data)}"
            )
        else:
            other = catalogue.templates[winner]
            own = "which it does not match itself" if template.id not in found else "which is tried before it"
            yield _problem(
                template,
                "sample is matched by another template",
                f"{shown}\n{own}: {other.kind}: {other.text}",
            )
        break
    if template.id not in found:
        return
    values = captured(catalogue, found[template.id], data)
    difference = list(_differences(catalogue, values, dict(sample.values)))
    if difference:
        yield _problem(template, "sample has other values", "\n".join([sample.line, *difference]))
    yield from _check_directions(catalogue, template, data, values)


def _check_directions(
    catalogue: Catalogue, template: Template, data: bytes, values: dict[str, Any]
) -> Iterator[Problem]:
    """What the reference matcher reads, and what becomes of the values when they are written and read
    again.
    """
    sequence = catalogue.details[template.id].sequence
    reference = Reference(sequence)
    found = reference.match(data)
    if found != values:
        yield _problem(
            template, "the two matchers disagree", f"{data!r}\nscanner: {values}\nreference: {found}"
        )
    try:
        written = render(sequence, values)
    except RenderError as error:
        yield _problem(template, "values cannot be written", f"{error}\nvalues: {values}")
        return
    again = reference.match(written)
    if again != values:
        yield _problem(template, "written line reads otherwise", f"{written!r}\nwas: {values}\nis: {again}")


def _winner(catalogue: Catalogue, program: str, data: bytes, found: dict[int, Log]) -> int:
    """The template that reads the line under this program, or -1; `found` collects all that could."""
    winner = -1
    for start in search_order(catalogue, program):
        log: Log = []
        template = catalogue.machine.match(data, 0, len(data), start, log)
        winner = template if winner < 0 else winner
        for number, captures in catalogue.machine.every(data, start).items():
            found.setdefault(number, captures)
    return winner


def _check_near_miss(catalogue: Catalogue, template: Template, line: str) -> Iterator[Problem]:
    data = line.encode().rstrip(b" \t\r")
    found: dict[int, Log] = {}
    for program in template.programs:
        _winner(catalogue, program, data, found)
    if template.id in found:
        values = captured(catalogue, found[template.id], data)
        yield _problem(
            template, "near miss is matched", f"{line}\ntemplate: {template.text}\nvalues: {values}"
        )


def _differences(catalogue: Catalogue, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for name in {**found, **expected}:
        if name not in expected:
            if found[name] is not False:  # a flag that is not set may be left out
                yield f"{name} = {found[name]!r} is missing in the sample"
        elif name not in found:
            if expected[name] is not False:
                yield f"{name}: expected {expected[name]!r}, found nothing"
        elif not _equal(catalogue, name, found[name], expected[name]):
            yield f"{name}: expected {expected[name]!r}, found {found[name]!r}"


def _equal(catalogue: Catalogue, name: str, found: Any, expected: Any) -> bool:
    number = catalogue.field_id(name)
    if number >= 0 and catalogue.fields[number].kind == Kind.TIME and isinstance(expected, str | datetime):
        try:
            return from_iso(found) == from_iso(expected)
        except ValueError:
            return False
    if isinstance(found, float) and isinstance(expected, int | float):
        return found == float(expected)
    return type(found) is type(expected) and bool(found == expected)


def _furthest(catalogue: Catalogue, program: str, data: bytes) -> str:
    """Where the best attempt gave up."""
    position = max(catalogue.machine.furthest(data, start)[0] for start in search_order(catalogue, program))
    return f"no template of {program} got further than column {position + 1}: {data[position:].decode()!r}"
