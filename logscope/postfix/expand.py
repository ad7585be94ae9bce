"""`$name`, `${name?value}` and their relatives in Postfix parameter values (postconf(5), "main.cf file
format").

    $name ${name} $(name)               the value of a parameter, nothing when there is none
    ${name?value} ${name?{value}}       value, when the parameter is not empty
    ${name:value} ${name:{value}}       value, when it is
    ${name?{value}:{value}}             one or the other
    ${{a} == {b} ? {value} : {value}}   also != < <= > >=; numbers compare as numbers
    ${{a} <level {b} ? {value}}         the same for compatibility levels such as 3.6 (since 3.6)
    $$                                  a dollar sign
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import pyparsing as pp

Lookup: TypeAlias = Callable[[str], str]
"""The unexpanded value of a parameter, empty when there is none."""

_DEEPEST = 100  # Postfix's own limit for references within references
_MOST_REFERENCES = 10_000


class ExpandError(Exception):
    """A value cannot be expanded. `column` counts from 1 in `value`, which may be another parameter's."""

    def __init__(self, message: str, value: str, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.column = column


@dataclass(frozen=True, slots=True)
class _Reference:
    """`${name}` with what to say when it is full or empty; None says nothing. Without either: its value."""

    name: str
    full: _Value | None = None
    empty: _Value | None = None
    plain: bool = True


@dataclass(frozen=True, slots=True)
class _Comparison:
    left: _Value
    operator: str
    right: _Value
    true: _Value
    false: _Value | None


_Value: TypeAlias = tuple["str | _Reference | _Comparison", ...]


def expand(value: str, lookup: Lookup) -> str:
    """A value with everything in it replaced.

    Raises:
        ExpandError: a brace is missing, or a parameter refers to itself.
    """
    return _Expansion(lookup).expanded(_parse(value), 0)


class _Expansion:
    """One expansion, and how much of its work is left: references that double would never end."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._left = _MOST_REFERENCES

    def expanded(self, value: _Value | None, depth: int) -> str:
        if depth > _DEEPEST:
            raise ExpandError("parameters refer to each other in a circle", "")
        return "".join(part if isinstance(part, str) else self._part(part, depth) for part in (value or ()))

    def _part(self, part: _Reference | _Comparison, depth: int) -> str:
        self._left -= 1
        if self._left < 0:
            raise ExpandError("this refers to more than can be replaced", "")
        if isinstance(part, _Comparison):
            left, right = self.expanded(part.left, depth), self.expanded(part.right, depth)
            chosen = part.true if _compare(left, part.operator, right) else part.false
            return self.expanded(chosen, depth)
        raw = self._lookup(part.name)
        if part.plain:
            return self.expanded(_parse(raw), depth + 1) if raw else ""
        # Postfix looks whether the parameter is empty before anything in it is replaced.
        return self.expanded(part.full if raw else part.empty, depth)


def _compare(left: str, operator: str, right: str) -> bool:
    first: Any = left
    second: Any = right
    if operator.endswith("level"):
        first, second = _level(left), _level(right)
        operator = operator.removesuffix("level")
    elif left.isascii() and left.isdigit() and right.isascii() and right.isdigit():
        first, second = int(left), int(right)
    return bool(
        {
            "==": first == second,
            "!=": first != second,
            "<": first < second,
            "<=": first <= second,
            ">": first > second,
            ">=": first >= second,
        }[operator]
    )


def _level(text: str) -> tuple[int, ...]:
    """A compatibility level: one to three numbers with dots between; missing ones are 0."""
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.strip().split(".")]
    return tuple([*numbers, 0, 0][:3])


def _parse(value: str) -> _Value:
    try:
        return tuple(_language().parse_string(value, parse_all=True))
    except pp.ParseBaseException as error:
        raise ExpandError(
            "this is not closed, or not a name", value, _unclosed(value, error.loc) + 1
        ) from None
    except RecursionError:
        raise ExpandError("braces nest too deeply here", value) from None


def _unclosed(value: str, near: int) -> int:
    """The reference that was not understood: the last one that begins before the place where reading
    stopped."""
    return max(0, value.rfind("$", 0, near + 1))


@cache
def _language() -> pp.ParserElement:
    blanks = pp.ParserElement.DEFAULT_WHITE_CHARS
    pp.ParserElement.set_default_whitespace_chars("")  # blanks of a value count
    try:
        return _build().parse_with_tabs()
    finally:
        pp.ParserElement.set_default_whitespace_chars(blanks)


def _build() -> pp.ParserElement:
    gap = pp.Regex(r"[ \t]*").suppress()
    name = pp.Regex(r"[A-Za-z0-9_]+")
    inner_name = gap + name + gap
    reference = pp.Forward()
    dollar = pp.Literal("$$").set_parse_action(lambda: "$")

    # Braces in a value must pair up; a pair that is no part of a reference is text.
    inside = pp.Forward()
    pair = pp.Literal("{") + inside + pp.Literal("}")
    inside <<= pp.ZeroOrMore(dollar | reference | pp.Regex(r"[^{}$]+") | pair)
    braced = pp.Literal("{").suppress() + inside + pp.Literal("}").suppress()
    braced.set_parse_action(lambda t: [tuple(t.as_list())])
    # Blanks around the braces of a value do not count, those inside do; a value that begins with a brace
    # ends with its pair.
    bare = ~(gap + "{") + inside.copy().set_parse_action(lambda t: [tuple(t.as_list())])

    otherwise = pp.Optional(gap + pp.Literal(":").suppress() + (gap + braced + gap | bare), default=None)
    both = pp.Literal("?").suppress() + gap + braced + gap + otherwise + pp.FollowedBy("}")
    only_full = pp.Literal("?").suppress() + bare
    only_empty = pp.Literal(":").suppress() + (gap + braced + gap + pp.FollowedBy("}") | bare)

    chosen = (
        (inner_name + both).set_parse_action(lambda t: _Reference(t[0], t[1], t[2], plain=False))
        | (inner_name + only_full).set_parse_action(lambda t: _Reference(t[0], full=t[1], plain=False))
        | (inner_name + only_empty).set_parse_action(lambda t: _Reference(t[0], empty=t[1], plain=False))
        | inner_name.copy().set_parse_action(lambda t: _Reference(t[0]))
    )
    operator = pp.Regex(r"(?:[=!<>]=|[<>])(?:level)?")
    comparison = (
        gap + braced + gap + operator + gap + braced + gap + pp.Literal("?").suppress() + gap + braced
    )
    comparison = (comparison + gap + otherwise).set_parse_action(lambda t: _Comparison(*t))
    body = comparison | chosen
    in_braces = pp.Literal("{").suppress() + body + pp.Literal("}").suppress()
    in_parentheses = pp.Literal("(").suppress() + chosen + pp.Literal(")").suppress()
    simple = name.copy().set_parse_action(lambda t: _Reference(t[0]))
    reference <<= pp.Literal("$").suppress() + (in_braces | in_parentheses | simple)
    return pp.ZeroOrMore(dollar | reference | pp.Regex(r"[^$]+"))
