"""One line of haproxy.cfg as words: quotes, backslashes, comments and environment variables undone.

The rules are those of the manual's section "Quoting and escaping": single quotes keep everything, double
quotes keep blanks and expand `$NAME`, `${NAME}`, `${NAME-default}` and `${NAME[*]}` (which splits into
words), a backslash keeps a blank, `#`, quote or itself and spells `\\n`, `\\r`, `\\t`, `\\xHH`; before
anything else it is an ordinary character.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import pyparsing as pp

from logscope.errors import Place, SettingsError

Lookup: TypeAlias = Callable[[str], str | None]
"""The value of an environment variable, None when it is not set."""

_SPLIT = "\0"  # stands where an expanded value is cut into words; no configuration file holds it
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


class ConfigError(SettingsError):
    """A configuration file that its daemon would refuse. The place names file, line and column."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and the column it begins in, from 1."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    default: str | None
    split: bool


_Part: TypeAlias = str | _Variable


def split_line(line: str, lookup: Lookup, file: str = "haproxy.cfg", number: int = 1) -> list[Word]:
    """The words of one line; none for a blank line or comment.

    Raises:
        ConfigError: a quote or brace is not closed, or `\\x` has no two digits behind it.
    """
    try:
        found = _language().parse_string(line, parse_all=True)
    except pp.ParseBaseException as error:
        raise _syntax_error(line, error, file, number) from None
    except RecursionError:
        hint = "Write the line in simpler words."
        raise ConfigError("this nests too deeply", place=Place(file, number, 1, line), hint=hint) from None
    words: list[Word] = []
    for column, parts in found:
        text = "".join(_expanded(part, lookup) for part in parts)
        words += [Word(word, column) for word in text.split(_SPLIT)]
    return words


def _expanded(part: _Part, lookup: Lookup) -> str:
    if isinstance(part, str):
        return part
    value = lookup(part.name)
    if value is None:
        value = part.default or ""
    return _SPLIT.join(value.split()) if part.split else value


def _syntax_error(line: str, error: pp.ParseBaseException, file: str, number: int) -> ConfigError:
    found = line[error.loc : error.loc + 1]
    if found in ("'", '"'):
        message, hint = (
            f"this {found} is not closed",
            "Close it before the end of the line, or write a backslash before it.",
        )
    elif found == "\\":
        message, hint = "'\\x' needs two hexadecimal digits", "Write '\\\\x' for the characters themselves."
    else:
        message, hint = (
            "this is not a variable",
            'Write "${NAME}" or "${NAME-default}", or \'\\$\' for the character.',
        )
    return ConfigError(message, place=Place(file, number, error.loc + 1, line), hint=hint)


@cache
def _language() -> pp.ParserElement:
    blanks = pp.ParserElement.DEFAULT_WHITE_CHARS
    pp.ParserElement.set_default_whitespace_chars("")  # blanks separate words
    try:
        return _build().parse_with_tabs()
    finally:
        pp.ParserElement.set_default_whitespace_chars(blanks)


def _build() -> pp.ParserElement:
    byte = pp.Regex(r"\\x([0-9A-Fa-f]{2})").set_parse_action(lambda t: chr(int(t[0][2:], 16)))
    control = pp.Regex(r"\\[nrt]").set_parse_action(lambda t: _CONTROLS[t[0][1]])
    kept = pp.Regex(r"\\[ \\#'\"]").set_parse_action(lambda t: t[0][1])
    backslash = pp.Regex(r"\\(?!x)")
    escape = byte | control | kept | backslash

    name = r"\.?[A-Za-z_][A-Za-z0-9_]*"
    braced = pp.Regex(rf"\$\{{(?P<name>{name})(?P<split>\[\*\])?(?:-(?P<default>[^}}]*))?\}}")
    variable = (braced | pp.Regex(rf"\$(?P<name>{name})")).set_parse_action(_variable)
    dollar = pp.Regex(r"\\\$").set_parse_action(lambda: "$")

    single = pp.Regex(r"'[^']*'").set_parse_action(lambda t: t[0][1:-1])
    inside = dollar | escape | variable | pp.Regex(r"[^\"\\$]+")
    double = (
        pp.Regex(r'"(?=(?:[^"\\]|\\.)*")').suppress() - pp.ZeroOrMore(inside) - pp.Literal('"').suppress()
    )
    plain = pp.Regex(r"[^\s\"'\\#]+")
    word = pp.OneOrMore(plain | single | double | escape)
    word.set_parse_action(lambda _s, at, t: [(at + 1, t.as_list())])

    gap = pp.Regex(r"\s+").suppress()
    comment = pp.Regex(r"#.*").suppress()
    return pp.Optional(gap) + pp.ZeroOrMore(word + pp.Optional(gap)) + pp.Optional(comment)


def _variable(tokens: pp.ParseResults) -> _Variable:
    found = tokens.as_dict()
    return _Variable(found["name"], found.get("default"), bool(found.get("split")))
