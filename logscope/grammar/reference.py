"""The reference matcher: a template as pyparsing elements, made straight from its syntax tree.

It shares neither the table nor the machine with the scanner, so the two can be held against each other, and
it says in words at which column a line differs and what the template expects there. Lines are handled as
Latin-1 text, one character a byte.

Three traps of pyparsing are met here: blanks are skipped unless `leave_whitespace` is called on every
element; `Regex` elements do not give back what they took, so each bounded field looks ahead for its stops
itself; and parse actions are closures of one fixed arity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyparsing as pp

from logscope.grammar import ops
from logscope.grammar.fields import FieldType, bounded_flags, field_type
from logscope.grammar.prepare import Parts, Slot, Stop, Text, prepare
from logscope.grammar.syntax import Field, Sequence, fields

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a line does not match: the column (from 1, in bytes) and what was expected there."""

    column: int
    expected: str
    found: str

    def __str__(self) -> str:
        found = f"found {self.found!r}" if self.found else "the line ends"
        return f"column {self.column}: expected {self.expected}, {found}"


class Reference:
    """One template as a pyparsing grammar."""

    def __init__(self, sequence: Sequence) -> None:
        names = dict.fromkeys(field.name for field in fields(sequence))
        parts = prepare(sequence, {name: number for number, name in enumerate(names)})
        self._retried = any(_is_retried(part) for part in parts)
        self._matcher = _Matcher(parts)

    def match(self, line: bytes) -> dict[str, Any] | Mismatch:
        """The values of a line (without its envelope), or why it does not match."""
        text = line.rstrip(b" \t\r").decode("latin-1")
        first_problem: Mismatch | None = None
        skip = 0
        while True:
            result = self._matcher.run(text, skip)
            if not isinstance(result, Mismatch):
                return result
            if first_problem is None or result.column > first_problem.column:
                first_problem = result
            if not self._retried or self._matcher.stop is None:
                return first_problem
            skip = self._matcher.stop + 1


def _is_retried(part: object) -> bool:
    return isinstance(part, Slot) and part.op == ops.BOUNDED and bool(part.flags & ops.RETRIED)


class _Matcher:
    """The elements of a template, and what they remember during one run.

    Attributes:
        skip: the first position where a retried text may end.
        stop: where it ended.
    """

    def __init__(self, parts: Parts) -> None:
        self.skip = 0
        self.stop: int | None = None
        self._furthest = (0, "")
        end = self._noted(pp.StringEnd(), "the end of the line")
        self._element = _bare(self._sequence(parts) + end).parse_with_tabs()

    def run(self, text: str, skip: int) -> dict[str, Any] | Mismatch:
        """Match the whole text."""
        self.skip, self.stop, self._furthest = skip, None, (0, "")
        try:
            tokens = self._element.parse_string(text, parse_all=False)
        except pp.ParseException:
            location, expected = self._furthest
            return Mismatch(location + 1, expected, text[location : location + 20])
        return _values(tokens.as_list(), text)

    def _sequence(self, parts: Parts) -> pp.ParserElement:
        elements = [self._part(part) for part in parts]
        return _bare(pp.And(elements)) if elements else _bare(pp.Empty())

    def _part(self, part: Any) -> pp.ParserElement:
        if isinstance(part, Text):
            text = part.text.decode("latin-1")
            literal = _bare(pp.Literal(text)).suppress()
            return self._noted(literal, repr(text), text)
        if isinstance(part, Slot):
            return self._slot(part)
        return _bare(pp.MatchFirst([self._sequence(alternative) for alternative in part.alternatives]))

    def _slot(self, slot: Slot) -> pp.ParserElement:
        if slot.op in (ops.OPEN, ops.CLOSE):
            return self._mark(slot)
        if slot.op == ops.BOUNDED:
            element: pp.ParserElement = _bounded(slot, self)
        elif slot.op == ops.IP:
            element = _address(slot)
        else:
            element = _self_delimiting(slot)
        arguments = f"({'|'.join(slot.arguments)})" if slot.arguments else ""
        return self._noted(element, f"{slot.name} ({slot.type}{arguments})")

    def _mark(self, slot: Slot) -> pp.ParserElement:
        edge = "open" if slot.op == ops.OPEN else "close"

        def mark(_text: str, location: int, _tokens: pp.ParseResults) -> list[Any]:
            return [(edge, slot.name, location)]

        return _bare(pp.Empty()).add_parse_action(mark)

    def _noted(self, element: pp.ParserElement, expected: str, literal: str = "") -> pp.ParserElement:
        """The element, remembering how far the line got when it fails."""

        def note(text: str, location: int, _element: pp.ParserElement, _error: Exception) -> None:
            reached = location
            while (
                reached - location < len(literal)
                and text[reached : reached + 1] == literal[reached - location]
            ):
                reached += 1
            if reached >= self._furthest[0]:
                self._furthest = (reached, expected)

        return _bare(element).set_fail_action(note)


def _bare(element: pp.ParserElement) -> pp.ParserElement:
    # What is inside has been made bare itself; going into it again would copy it once for each level.
    return element.leave_whitespace(recursive=False)


class _Span(pp.Token):
    """A field whose end a function finds; it yields (name, value)."""

    def __init__(self, slot: Slot, find: Callable[[str, int], int], read: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._field, self._find, self._read = slot, find, read
        self.mayReturnEmpty = True

    def _generateDefaultName(self) -> str:  # noqa: N802 (pyparsing's name)
        return self._field.name

    def parseImpl(self, instring: Any, loc: Any, do_actions: Any = True) -> tuple[int, Any]:  # noqa: ARG002, N802
        end = self._find(instring, loc)
        if end < 0:
            raise pp.ParseException(instring, loc, f"Expected {self._field.name}", self)
        try:
            value = self._read(instring[loc:end].encode("latin-1"))
        except ValueError as error:
            raise pp.ParseException(instring, loc, str(error), self) from None
        return end, [("value", self._field.name, value)]


def _type_of(slot: Slot) -> FieldType:
    return field_type(Field(slot.name, slot.type, slot.arguments))


def _self_delimiting(slot: Slot) -> pp.ParserElement:
    found = _type_of(slot)
    pattern = re.compile(found.pattern(slot.arguments), re.DOTALL)

    def find(text: str, position: int) -> int:
        match = pattern.match(text, position)
        return match.end() if match else -1

    return _Span(slot, find, lambda data: found.read(data, slot.arguments))


def _address(slot: Slot) -> pp.ParserElement:
    found = _type_of(slot)
    run = re.compile(found.pattern(()))

    def find(text: str, position: int) -> int:
        match = run.match(text, position)
        if match is None:
            return -1
        ends = [match.end()] if slot.flags != 1 else []
        if slot.flags and ":" in match.group():
            ends.append(position + match.group().rindex(":"))
        for end in ends:
            try:
                found.read(text[position:end].encode(), ())
            except ValueError:
                continue
            return end
        return -1

    return _Span(slot, find, lambda data: found.read(data, ()))


def _bounded(slot: Slot, matcher: _Matcher) -> pp.ParserElement:
    found = _type_of(slot)
    flags = bounded_flags(Field(slot.name, slot.type, slot.arguments))

    def find(text: str, position: int) -> int:
        least = matcher.skip if flags & ops.RETRIED else position
        ends = [end for end in _ends(text, position, slot.stops, flags) if end >= least]
        if not ends:
            return -1
        end = ends[-1] if flags & ops.LAST else ends[0]
        if flags & ops.RETRIED:
            matcher.stop = end
        return -1 if flags & ops.NOT_EMPTY and end == position else end

    return _Span(slot, find, lambda data: found.read(data, slot.arguments))


def _ends(text: str, position: int, stops: tuple[Stop, ...], flags: int) -> list[int]:
    """All places where the field could end, in order."""
    forbidden = (" \t" if flags & ops.NO_SPACE else "") + ("[" if flags & ops.NO_BRACKET else "")
    hidden = _quoted_positions(text, position, stops, flags)
    ends = []
    for at in range(position, len(text) + 1):
        if at not in hidden and any(_is_stop(text, at, stop) for stop in stops):
            ends.append(at)
            if not flags & (ops.LAST | ops.RETRIED):
                break
        if text[at : at + 1] in forbidden and at < len(text) and at not in hidden:
            break
    return ends


def _quoted_positions(text: str, position: int, stops: tuple[Stop, ...], flags: int) -> set[int]:
    """Positions inside double quotes, where neither stops nor forbidden characters count."""
    if flags & ops.MAILBOX:
        quoted = _STRING.match(text, position)
        if not quoted or any(_is_stop(text, position, stop) for stop in stops):
            return set()
        after = quoted.end()
        whole = text[after : after + 1] == "@" or any(_is_stop(text, after, stop) for stop in stops)
        return set(range(position, after)) if whole else set()
    hidden: set[int] = set()
    at = position
    while flags & ops.QUOTED and at < len(text):
        quoted = _STRING.match(text, at)
        if any(_is_stop(text, at, stop) for stop in stops):
            at += 1  # such a quote ends the field, unless another end is wanted
        elif quoted:
            hidden |= set(range(at, quoted.end()))
            at = quoted.end()
        elif text[at] == '"':
            break
        else:
            at += 1
    return hidden


def _is_stop(text: str, position: int, stop: Stop) -> bool:
    wanted = stop.text.decode("latin-1")
    return text.startswith(wanted, position) and (not stop.anchored or position + len(wanted) == len(text))


def _values(tokens: list[Any], text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    opened: dict[str, int] = {}
    for kind, name, content in tokens:
        if kind == "value":
            values[name] = content
        elif kind == "open":
            opened[name] = content
        else:
            data = text[opened[name] : content].encode("latin-1")
            values[name] = data.decode("utf-8", "backslashreplace")
    return values
