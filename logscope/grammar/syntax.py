"""The tree a template is read into.

A template is a sequence of nodes. It is matched the way a parsing expression grammar is: a choice commits
to the first alternative that matches, an optional part that matches is kept, and no field gives back what
it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from logscope.grammar.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are the same in every line."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Field:
    """A part that varies: `{name:type(argument|argument)}`. `column` (from 1) is for messages only."""

    name: str
    type: str
    arguments: tuple[str, ...] = ()
    column: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Ordered alternatives `{(a{|}b)}`; an optional part `{[a]}` is a choice whose last alternative is
    empty.
    """

    alternatives: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """`{name:group(...)}`: a text field that holds all that its inside matches, whose own fields count
    too.
    """

    name: str
    body: Sequence
    column: int = 0


@dataclass(frozen=True, slots=True)
class Macro:
    """A reference `{@name}` to a named piece of template text."""

    name: str
    column: int = 0


Node: TypeAlias = Literal | Field | Choice | Group | Macro
Sequence: TypeAlias = tuple[Node, ...]


def expand(sequence: Sequence, macros: Mapping[str, Sequence], inside: tuple[str, ...] = ()) -> Sequence:
    """Replace macro references by what they stand for, and join literals that have become neighbours.

    Raises:
        TemplateError: a macro is unknown or refers to itself.
    """
    nodes: list[Node] = []
    for node in sequence:
        for part in _expand_node(node, macros, inside):
            if isinstance(part, Literal) and nodes and isinstance(nodes[-1], Literal):
                nodes[-1] = Literal(nodes[-1].text + part.text)
            else:
                nodes.append(part)
    return tuple(nodes)


def _expand_node(node: Node, macros: Mapping[str, Sequence], inside: tuple[str, ...]) -> Sequence:
    if isinstance(node, Choice):
        return (Choice(tuple(expand(part, macros, inside) for part in node.alternatives)),)
    if isinstance(node, Group):
        return (Group(node.name, expand(node.body, macros, inside), node.column),)
    if not isinstance(node, Macro):
        return (node,)
    if node.name in inside:
        raise TemplateError(f"macro {node.name} refers to itself through {' -> '.join(inside)}")
    if node.name not in macros:
        known = ", ".join(sorted(macros)) or "none"
        raise TemplateError(
            f"unknown macro {node.name}; define it under [macros], or name its grammar in `use` "
            f"(visible here: {known})"
        )
    return expand(macros[node.name], macros, (*inside, node.name))


def fields(sequence: Sequence) -> Iterator[Field]:
    """Every field of an expanded template, in the order of the text."""
    for node in sequence:
        if isinstance(node, Field):
            yield node
        elif isinstance(node, Group):
            yield Field(node.name, "group", (), node.column)
            yield from fields(node.body)
        elif isinstance(node, Choice):
            for alternative in node.alternatives:
                yield from fields(alternative)


def repeated_field(sequence: Sequence) -> str | None:
    """A field name that one line could fill twice, or None."""
    _, repeated = _names_on_a_path(sequence)
    return repeated


def _names_on_a_path(sequence: Sequence) -> tuple[set[str], str | None]:
    seen: set[str] = set()
    for node in sequence:
        names: set[str] = set()
        if isinstance(node, Field):
            names = {node.name}
        elif isinstance(node, Group):
            names, repeated = _names_on_a_path(node.body)
            if repeated or node.name in names:
                return seen, repeated or node.name
            names |= {node.name}
        elif isinstance(node, Choice):
            for alternative in node.alternatives:
                more, repeated = _names_on_a_path(alternative)
                if repeated:
                    return seen, repeated
                names |= more
        for name in names & seen:
            return seen, name
        seen |= names
    return seen, None
