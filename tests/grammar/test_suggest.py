"""A draft for an unknown line compiles beside the catalogue and reads the line it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from logscope.grammar.build import build
from logscope.grammar.catalogue import Catalogue, grammar_files, load, read_sources
from logscope.grammar.check import check_template
from logscope.grammar.model import ENVELOPE
from logscope.grammar.source import read_text
from logscope.grammar.suggest import shape, suggest

CATALOGUE = load()
LINES = [
    (template.programs[0], detail.samples[0].line)
    for template, detail in list(zip(CATALOGUE.templates, CATALOGUE.details, strict=True))[::23]
    if ENVELOPE not in template.programs and detail.samples
]


def test_a_draft_of_any_line_compiles_and_reads_it() -> None:
    for program, line in LINES:
        draft = suggest(line, program, CATALOGUE)
        alone = Catalogue(*build([read_text(draft.toml, "draft.toml")]))
        assert [str(problem) for problem in check_template(alone, alone.templates[0])] == []


def test_fields_of_a_draft_have_the_types_of_the_catalogue(tmp_path: Path) -> None:
    """Else the file would be refused beside the installed grammars."""
    line = "NOQUEUE: odd: RCPT from mx.example.net[192.0.2.10]:25: from=<a@example.net> size=12 delay=0.5"
    draft = suggest(line, "smtpd", CATALOGUE)
    assert draft.values["sender"] == "a@example.net"
    assert draft.values["client_port"] == 25
    (tmp_path / "site.toml").write_text(draft.toml)
    assert build(read_sources([*grammar_files(), tmp_path / "site.toml"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zounds 17 from a.example[192.0.2.1]:25", "zounds 8 from b.example[2001:db8::1]:26"),
        ("9A1B2C3D4E: lost <a@example.net>", "4c2kXz1b7Vz9rTn: lost <>"),
        ('/var/spool/x: 1.5 of "this" key=word', '/y: 22.75 of "" key=other'),
        ("550 5.1.1 a@example.net is not b", "450 4.0.0 c@example.org is not b"),
    ],
)
def test_lines_that_differ_in_values_have_one_shape(one: str, other: str) -> None:
    assert shape(one) == shape(other) != shape(one + " more")


def test_braces_and_quotes_of_a_line_stay() -> None:
    draft = suggest('it\'s {odd} "x" \\d', "smtpd", CATALOGUE)
    assert draft.text == 'it\'s {{odd}} "{value:text}" \\d'
    assert read_text(draft.toml, "draft.toml").templates[0].text == draft.text


def test_a_long_line_is_drafted_in_time() -> None:
    for symbol in ("[", "<", '"', ":", "a:", "1.", "/", "=", "A1"):
        assert suggest(symbol * (100_000 // len(symbol)), "smtpd", CATALOGUE).text
