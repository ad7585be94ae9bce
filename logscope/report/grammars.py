"""The catalogue of grammars for people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from logscope.report.model import Cell, Column, Facts, Note, Report, Section, Table
from logscope.report.wording import number, plural

if TYPE_CHECKING:
    from logscope.grammar.model import Template
    from logscope.grammar.wordings import Coverage


def grammars_report(templates: Sequence[Template]) -> Report:
    """One row for each grammar."""
    by_name: dict[str, list[Template]] = {}
    for template in templates:
        by_name.setdefault(template.grammar, []).append(template)
    rows: list[dict[str, Any]] = [
        {
            "grammar": name,
            "programs": sorted({program for one in own for program in one.programs}),
            "kinds": len({one.kind for one in own}),
            "templates": len(own),
            "file": own[0].file,
        }
        for name, own in sorted(by_name.items())
    ]
    columns = (
        Column("grammar", keep=10),
        Column("kinds", right=True, keep=8),
        Column("templates", right=True, keep=7),
        Column("programs", grow=True, keep=9),
    )
    cells = tuple(map(_cells, rows))
    note = f"{plural(len(rows), 'grammar')}, {plural(len(templates), 'template')}."
    note += " logscope grammar show NAME has the wording."
    section = Section("", (Table(columns, cells, note=note, empty="No grammars are installed."),))
    return Report(
        "grammars", "Grammars", (section,), {"grammars": rows}, pa.Table.from_pylist(rows) if rows else None
    )


def coverage_report(found: Sequence[Coverage]) -> Report:
    """How many wordings of each daemon and severity have a kind of their own."""
    rows: list[dict[str, Any]] = [
        {
            "daemon": one.daemon,
            "severity": one.severity,
            "wordings": one.count,
            "own_kind": one.count - len(one.rest),
            "rest": [wording.line for wording in one.rest],
        }
        for one in found
    ]
    columns = (
        Column("daemon", keep=10),
        Column("severity", keep=9),
        Column("wordings", right=True, keep=8),
        Column("own kind", right=True, keep=8),
        Column("the first without", grow=True, keep=5),
    )
    total, own = (sum(row[name] for row in rows) for name in ("wordings", "own_kind"))
    note = f"{number(own)} of {plural(total, 'known wording')} have a kind of their own; of the others"
    note += " the severity and the text are kept. -o json has them all."
    section = Section("", (Table(columns, tuple(map(_coverage_cells, rows)), note=note),))
    table = pa.Table.from_pylist(rows) if rows else None
    return Report("coverage", "Coverage", (section,), {"coverage": rows}, table)


def _coverage_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    whole = row["own_kind"] == row["wordings"]
    return (
        Cell(row["daemon"], "strong"),
        Cell(row["severity"]),
        Cell(number(row["wordings"])),
        Cell(number(row["own_kind"]), "good" if whole else "plain"),
        Cell(next(iter(row["rest"]), ""), "quiet"),
    )


def templates_report(name: str, templates: Sequence[Template]) -> Report:
    """What is known of some templates."""
    rows = [_template(template) for template in templates]
    sections = tuple(
        Section(row["kind"], (Facts(tuple((what, Cell(text)) for what, text in _facts(row) if text)),))
        for row in rows
    )
    return Report(f"grammar {name}", name, sections, {"templates": rows}, pa.Table.from_pylist(rows))


def problems_report(problems: Sequence[str]) -> Report:
    """What a self test found."""
    notes = tuple(map(_problem, problems)) or (Note("No problems.", "good"),)
    return Report("check", "Check", (Section("", notes),), {"problems": list(problems)})


def _problem(problem: str) -> Note:
    """The first line says what is wrong, the others show it."""
    first, *more = problem.rstrip().splitlines()
    return Note(first, "bad", tuple(more))


def _template(template: Template) -> dict[str, Any]:
    return {
        "kind": template.kind,
        "grammar": template.grammar,
        "programs": list(template.programs),
        "text": template.text,
        "fields": list(template.fields),
        "severity": template.severity,
        "since": template.since,
        "until": template.until,
        "source": template.source,
        "structured": template.structured,
    }


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    since, until = row["since"], row["until"]
    releases = f"{since} only" if since == until else f"{since} to {until}" if until else f"since {since}"
    return [
        ("text", row["text"]),
        ("fields", ", ".join(row["fields"])),
        ("logged by", ", ".join(row["programs"])),
        ("severity", row["severity"]),
        ("releases", releases if since else ""),
        ("source", row["source"]),
    ]


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        Cell(row["grammar"], "strong"),
        Cell(number(row["kinds"])),
        Cell(number(row["templates"])),
        Cell(", ".join(row["programs"]), "quiet"),
    )
