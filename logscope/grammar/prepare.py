"""Works out, for every field of a template, where it ends and what it can begin with.

A *bounded* field ends at the earliest place where what must follow can start. What can follow is a set of
stops: the literals that come next on each path through optional parts and choices, joined as far as they
are literal. A stop that reaches the end of the template is anchored: it counts only at the very end of the
line, so that `({reply:text})` reads nested parentheses right. An empty anchored stop is the end of the line
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from logscope.grammar import ops
from logscope.grammar.errors import TemplateError
from logscope.grammar.fields import ANYTHING, AT_END, NULLABLE, TYPES, bounded_flags, field_type
from logscope.grammar.syntax import Choice, Field, Group, Literal, Sequence, fields, repeated_field

_LONGEST_STOP = 32
_MOST_STOPS = 24


@dataclass(frozen=True, slots=True, order=True)
class Stop:
    """Text that ends a bounded field; an anchored one counts only at the end of the line."""

    text: bytes
    anchored: bool


Stops: TypeAlias = frozenset[Stop]

LINE_END: Stops = frozenset({Stop(b"", True)})
_UNKNOWN = Stop(b"", False)


@dataclass(frozen=True, slots=True)
class Text:
    """A literal, ready to compile."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """A field, ready to compile: its number in the catalogue, its instruction, and where it ends."""

    field: int
    name: str
    type: str
    op: int
    arguments: tuple[str, ...] = ()
    flags: int = 0
    stops: tuple[Stop, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """Ordered alternatives, ready to compile."""

    alternatives: tuple[tuple[Part, ...], ...]


Part: TypeAlias = Text | Slot | Branch
Parts: TypeAlias = tuple[Part, ...]


def strip_end(sequence: Sequence) -> Sequence:
    """A template without blanks at its end: lines are stripped before they are matched."""
    if not sequence or not isinstance(sequence[-1], Literal):
        return sequence
    text = sequence[-1].text.rstrip(b" \t\r")
    return (*sequence[:-1], Literal(text)) if text else strip_end(sequence[:-1])


def prepare(sequence: Sequence, numbers: Mapping[str, int]) -> Parts:
    """Make an expanded template ready to compile. `numbers` gives each field name its number.

    Raises:
        TemplateError: a field's type is unknown, a field cannot know where it ends, or one line could
            fill it twice.
    """
    repeated = repeated_field(sequence)
    if repeated:
        raise TemplateError(f"one line could fill {repeated} twice; give the second one another name")
    for field in fields(sequence):
        field_type(field)
    _check_retry(sequence)
    parts, _ = _prepare(strip_end(sequence), LINE_END, numbers)
    return parts


def _check_retry(sequence: Sequence) -> None:
    """What a retried text remembers lies under all choices of the template, so it cannot stand inside one."""
    retried = [field for field in fields(sequence) if "retry" in field.arguments]
    outside = [node for node in sequence if isinstance(node, Field) and "retry" in node.arguments]
    if len(retried) > 1 or len(outside) != len(retried):
        raise TemplateError(
            "text(retry) can stand once in a template, and outside of optional parts, choices and groups",
            column=retried[0].column,
        )


def _prepare(sequence: Sequence, follow: Stops, numbers: Mapping[str, int]) -> tuple[Parts, Stops]:
    """The prepared sequence, and the stops a bounded field in front of it would have."""
    parts: list[Part] = []
    for node in reversed(sequence):
        if isinstance(node, Literal):
            parts.append(Text(node.text))
            follow = frozenset(Stop(node.text + stop.text, stop.anchored) for stop in follow)
        elif isinstance(node, Choice):
            done = [_prepare(alternative, follow, numbers) for alternative in node.alternatives]
            parts.append(Branch(tuple(part for part, _ in done)))
            follow = frozenset[Stop]().union(*(stops for _, stops in done))
        elif isinstance(node, Group):
            body, follow = _prepare(node.body, follow, numbers)
            slot = Slot(numbers[node.name], node.name, "group", ops.OPEN)
            parts += [replace(slot, op=ops.CLOSE), *reversed(body), slot]
        else:
            assert isinstance(node, Field), "macros are expanded before"
            parts.append(_slot(node, follow, numbers))
            follow = _before(node, follow)
        follow = _limited(follow)
    return tuple(reversed(parts)), follow


def _slot(field: Field, follow: Stops, numbers: Mapping[str, int]) -> Slot:
    found = field_type(field)
    slot = Slot(numbers[field.name], field.name, field.type, found.op, field.arguments)
    if found.bounded:
        if _UNKNOWN in follow:
            raise TemplateError(
                f"{field.name} cannot know where it ends: a field follows it; put literal text between them",
                column=field.column,
            )
        flags = bounded_flags(field)
        return replace(slot, flags=flags, stops=tuple(sorted(_shortened(follow, flags))))
    if found.op == ops.IP:
        return replace(slot, flags=_colon(follow))
    return slot


def _shortened(stops: Stops, flags: int) -> Stops:
    """The stops of a field without blanks, each up to its first blank, so that more templates share the
    field.

    The field cannot pass a blank, so what follows the blank is tested in time by the literal itself. Not so
    when another stop begins with a blank: it could be found one byte later.
    """
    if not flags & ops.NO_SPACE or any(stop.text[:1] in (b" ", b"\t") for stop in stops):
        return stops
    return frozenset(
        Stop(stop.text[: stop.text.index(b" ") + 1], False) if b" " in stop.text else stop for stop in stops
    )


def _colon(follow: Stops) -> int:
    """0: no colon can follow an address, 1: one must, 2: one may."""
    colons = {stop.text.startswith(b":") for stop in follow}
    return 0 if True not in colons else 2 if False in colons else 1


def _before(field: Field, follow: Stops) -> Stops:
    """The stops of a bounded field that stands directly before this one."""
    found = field_type(field)
    if found.op == ops.FLAG:
        return follow | {Stop(field.arguments[0].encode(), False)}
    if found.op == ops.ENUM:
        return frozenset(Stop(word.encode(), False) for word in field.arguments)
    return frozenset({_UNKNOWN})


def _limited(stops: Stops) -> Stops:
    """Bound the number and the length of stops; a shortened stop is open."""
    longest = _LONGEST_STOP
    while True:
        stops = frozenset(
            stop if len(stop.text) <= longest else Stop(stop.text[:longest], False) for stop in stops
        )
        if len(stops) <= _MOST_STOPS or longest == 1:
            return stops
        longest //= 2


def first(part: Part) -> int:
    """The bytes a part can begin with, as bits; AT_END when it can match nothing."""
    if isinstance(part, Text):
        return 1 << part.text[0]
    if isinstance(part, Branch):
        bits = 0
        for alternative in part.alternatives:
            bits |= first_of(alternative, AT_END)
        return bits
    found = TYPES[part.type]
    bits = found.first(part.arguments)
    return bits | AT_END if found.op in NULLABLE else bits


def first_of(parts: Parts, follow: int) -> int:
    """The bytes a sequence can begin with when `follow` comes after it."""
    bits = 0
    for part in parts:
        begins = first(part)
        bits |= begins & ~AT_END
        if not begins & AT_END:
            return bits
        if begins == ANYTHING:
            return ANYTHING
    return bits | follow
