"""From grammar files to one compiled catalogue: parse, check names, order by specificity, assemble.

This is the slow path (it imports pyparsing); its result is kept on disk by `catalogue`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from logscope.errors import GrammarError, Place
from logscope.grammar import language, ops
from logscope.grammar.compile import Assembler
from logscope.grammar.errors import TemplateError
from logscope.grammar.fields import SLOTS, Kind, field_type
from logscope.grammar.interpret import Machine
from logscope.grammar.model import (
    ENVELOPE,
    HAPROXY,
    ONE_ENVELOPE,
    REST,
    SESSION,
    Detail,
    FieldInfo,
    Tables,
    Template,
)
from logscope.grammar.order import arrange
from logscope.grammar.prepare import Parts, prepare
from logscope.grammar.source import GrammarSource, TemplateSource
from logscope.grammar.syntax import Field, Sequence, expand, fields

_MOST_FIELDS = ops.MAX_CAPTURES // 2


@dataclass
class _Draft:
    """A template on its way into the catalogue."""

    grammar: GrammarSource
    source: TemplateSource
    sequence: Sequence
    parts: Parts = ()

    @property
    def place(self) -> str:
        return f"{self.grammar.file}: {self.source.kind}"


def build(grammars: Iterable[GrammarSource]) -> tuple[Tables, list[Detail]]:
    """Compile grammars.

    Raises:
        GrammarError: with the file, the template's kind, and the column where there is one.
    """
    grammars = list(grammars)
    _check_names(grammars)
    drafts = _drafts(grammars)
    registry = _fields(drafts)
    numbers = {info.name: info.id for info in registry}
    for draft in drafts:
        draft.parts = _placed(draft, numbers)
    members = _members(drafts)
    enum_texts: dict[str, int] = {}
    assembler = Assembler(lambda word: enum_texts.setdefault(word, len(enum_texts)))
    programs = {name: assembler.program(_ordered(drafts, ids)) for name, ids in members.items()}
    code, text = assembler.tables()
    tables = Tables(
        templates=[_template(number, draft) for number, draft in enumerate(drafts)],
        fields=registry,
        enum_texts=list(enum_texts),
        programs=programs,
        code=code,
        text=text,
        slot_of=_slots(drafts, registry),
        tags={tag: whose for grammar in grammars for tag, whose in grammar.tags.items()},
    )
    return tables, [
        Detail(draft.sequence, draft.source.samples, draft.source.near_misses) for draft in drafts
    ]


def _check_names(grammars: list[GrammarSource]) -> None:
    seen: dict[str, str] = {}
    for grammar in grammars:
        if grammar.name in seen:
            raise GrammarError(
                f"the name {grammar.name!r} is taken by {seen[grammar.name]}; choose another",
                place=Place(grammar.file),
            )
        seen[grammar.name] = grammar.file
        if grammar.templates and not grammar.programs:
            raise GrammarError("has templates but no programs = [...]", place=Place(grammar.file))


# --- reading the templates -----------------------------------------------------------------------


def _drafts(grammars: list[GrammarSource]) -> list[_Draft]:
    macros = {grammar.name: _macros(grammar) for grammar in grammars}
    drafts = []
    for grammar in grammars:
        visible = _visible(grammar, macros)
        for source in grammar.templates:
            try:
                sequence = expand(language.parse(source.text), visible)
            except TemplateError as error:
                raise error.placed(f"{grammar.file}: {source.kind}") from None
            drafts.append(_Draft(grammar, source, sequence))
    return drafts


def _macros(grammar: GrammarSource) -> dict[str, Sequence]:
    parsed = {}
    for name, text in grammar.macros.items():
        try:
            parsed[name] = language.parse(text)
        except TemplateError as error:
            raise error.placed(f"{grammar.file}: macro {name}") from None
    return parsed


def _visible(grammar: GrammarSource, macros: Mapping[str, Mapping[str, Sequence]]) -> dict[str, Sequence]:
    """Macros of the grammars in `use` (and of those they use), then the grammar's own."""
    visible: dict[str, Sequence] = {}
    for name in grammar.use:
        if name not in macros:
            known = ", ".join(sorted(macros))
            raise GrammarError(f"uses unknown grammar {name!r}; known: {known}", place=Place(grammar.file))
        visible.update(macros[name])
    visible.update(macros[grammar.name])
    return visible


def _placed(draft: _Draft, numbers: Mapping[str, int]) -> Parts:
    try:
        if len(list(fields(draft.sequence))) > _MOST_FIELDS:
            raise TemplateError(f"more than {_MOST_FIELDS} fields")
        return prepare(draft.sequence, numbers)
    except TemplateError as error:
        # The column of a field that came out of a macro is the macro's.
        shown = "{@" not in draft.source.text
        error.text, error.column = (draft.source.text, error.column) if shown else ("", 0)
        raise error.placed(draft.place) from None


def _fields(drafts: list[_Draft]) -> list[FieldInfo]:
    """Number the fields; a name has one kind of value everywhere."""
    known: dict[str, FieldInfo] = {}
    where: dict[str, str] = {}
    for draft in drafts:
        for field in fields(draft.sequence):
            try:
                kind = field_type(field).kind
            except TemplateError as error:
                error.column = 0
                raise error.placed(draft.place) from None
            info = known.setdefault(field.name, FieldInfo(len(known), field.name, kind, field.type))
            where.setdefault(field.name, draft.place)
            if info.kind != kind:
                raise GrammarError(
                    f"field {field.name} is {field.type} ({kind}) here, but {info.type} ({info.kind}) in "
                    f"{where[field.name]}; use one type or another name",
                    place=Place(draft.place),
                )
    return list(known.values())


def _template(number: int, draft: _Draft) -> Template:
    source = draft.source
    types: dict[str, list[Field]] = defaultdict(list)
    for field in fields(draft.sequence):
        types[field.name].append(field)
    return Template(
        id=number,
        kind=source.kind,
        grammar=draft.grammar.name,
        file=draft.grammar.file,
        programs=draft.grammar.programs,
        text=source.text,
        since=source.since,
        until=source.until,
        severity=source.severity,
        source=source.source,
        structured=source.structured,
        types={name: (found[0].type, found[0].arguments) for name, found in types.items()},
    )


def _slots(
    drafts: list[_Draft], registry: list[FieldInfo]
) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    slot_of = np.full((max(1, len(drafts)), max(1, len(registry))), -1, np.int16)
    numbers = {info.name: info for info in registry}
    for row, draft in enumerate(drafts):
        used = 0
        for name in dict.fromkeys(field.name for field in fields(draft.sequence)):
            info = numbers[name]
            slot_of[row, info.id] = used
            used += SLOTS[Kind(info.kind)]
    return slot_of


# --- programs and the order inside them ----------------------------------------------------------


def _members(drafts: list[_Draft]) -> dict[str, list[int]]:
    """Templates of each program; its catch-alls are a program of their own."""
    members: dict[str, list[int]] = defaultdict(list)
    for number, draft in enumerate(drafts):
        for program in draft.grammar.programs:
            members[program if draft.source.structured else REST.format(program)].append(number)
            if program == ENVELOPE:
                members[ONE_ENVELOPE.format(_family(draft))].append(number)
        if HAPROXY in draft.grammar.programs and _is_session(draft):
            members[SESSION].append(number)
    return {name: members[name] for name in sorted(members)}


def _family(draft: _Draft) -> str:
    """`bsd` for the kinds `envelope.bsd`, `envelope.bsd_repeated` and the like."""
    return draft.source.kind.partition(".")[2].partition("_")[0]


def _is_session(draft: _Draft) -> bool:
    """Whether a line of HAProxy tells of one client: such a line is known by its shape alone, under any
    tag.
    """
    names = {field.name for field in fields(draft.sequence)}
    return "frontend" in names and bool(names & {"client_address", "client_port"})


def _ordered(drafts: list[_Draft], ids: list[int]) -> list[tuple[int, Parts]]:
    """Templates of one program, the particular before the general.

    They keep the order of their files, except that those that begin alike come together and that a literal
    is tried before a field; then a template that matches a sample of another one is the more general of the
    two and is moved behind it.
    """
    ids = arrange({number: drafts[number].parts for number in ids})
    general = _more_general(drafts, ids)
    order: list[int] = []
    placed: set[int] = set()
    for number in ids:
        _place(number, general, order, placed)
    return [(number, drafts[number].parts) for number in order]


def _more_general(drafts: list[_Draft], ids: list[int]) -> Mapping[int, list[int]]:
    """For each template those that must come before it."""
    assembler = Assembler(lambda _word: 0)
    start = assembler.program([(number, drafts[number].parts) for number in ids])
    machine = Machine(*assembler.tables())
    before: dict[int, list[int]] = defaultdict(list)
    for number in ids:
        for sample in drafts[number].source.samples:
            for other in machine.every(sample.line.encode().rstrip(b" \t\r"), start):
                if other != number:
                    before[other].append(number)
    # Two that match each other's samples say nothing about their order.
    return {
        number: [other for other in dict.fromkeys(others) if number not in before.get(other, ())]
        for number, others in before.items()
    }


def _place(number: int, before: Mapping[int, list[int]], order: list[int], placed: set[int]) -> None:
    if number in placed:
        return
    placed.add(number)  # at once, so that a circle (a fault that the self test shows) ends
    for particular in before.get(number, ()):
        _place(particular, before, order, placed)
    order.append(number)
