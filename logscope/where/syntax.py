"""The words of a condition, with pyparsing. See the package for the grammar."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyparsing as pp

from logscope.errors import Place, UsageError
from logscope.where.model import Both, Comparison, Either, Opposite, Tree, Word

OPTION = "--where"
_LONGEST = 10_000
_RESERVED = r"(?!(?i:and|or|not|in|is|contains|matches)(?![^\s()]))"
_NAME = _RESERVED + r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*"
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_VALUE = f"{_QUOTED}|{_RESERVED}" + r"""[^\s()"',=!<>~]+"""
_HINT = "Write client in 203.0.113.0/24 and outcome = rejected and duration > 5s."


def wrong(text: str, start: int, end: int, message: str, hint: str | None = None) -> UsageError:
    """An error that points at a part of the text."""
    text = "".join(" " if one.isspace() else one for one in text)
    return UsageError(message, place=Place(OPTION, 1, start + 1, text, end - start), hint=hint)


def parse(text: str) -> Tree:
    """A text as a tree of comparisons.

    Raises:
        UsageError: it is no condition, and where it stops being one.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"{OPTION}: is longer than {_LONGEST} characters", hint=_HINT)
    try:
        tree: Tree = _language().parse_string(text, parse_all=True)[0]
    except pp.ParseBaseException as error:
        start = min(error.loc, len(text.rstrip()))
        end = start + max(len(text[start:].split(" ")[0]), 1)
        raise wrong(text, start, end, _message(error, text[start:].strip()), _HINT) from None
    except RecursionError:
        raise UsageError(f"{OPTION}: too many brackets inside each other", hint=_HINT) from None
    return tree


def _message(error: pp.ParseBaseException, rest: str) -> str:
    expected = error.msg.removeprefix("Expected ")
    if expected == "end of text":
        expected = "`and`, `or` or a comparison"
    return f"{expected} is expected here" + ("" if rest else ", and it ends")


@cache
def _language() -> pp.ParserElement:
    def keyword(word: str) -> pp.ParserElement:
        return pp.CaselessKeyword(word).set_name(f"`{word}`")

    column = pp.Regex(_NAME).set_parse_action(_word).set_name("a column")
    value = pp.Regex(_VALUE).set_parse_action(_word).set_name("a value")
    opening, closing = pp.Suppress("("), pp.Suppress(")").set_name("`)`")
    values = (opening - pp.DelimitedList(value) - closing | value).set_name("a value")

    within = keyword("contains") | keyword("matches")
    null = keyword("null")
    nothing = pp.Or([null, keyword("not") + null]).set_name("`null` or `not null`")
    denied = (keyword("in") - values | within - value).set_name("`in`, `contains` or `matches`")
    sign = pp.one_of("= == != < <= > >=")
    test = (
        sign - value
        | keyword("in") - values
        | within - value
        | keyword("not") - denied
        | keyword("is") - nothing
    )
    comparison = (column + pp.Optional(test)).set_parse_action(_comparison)

    condition = pp.Forward()
    condition.set_name("a column")
    one = (opening - condition - closing | comparison).set_name("a column")
    part = (pp.ZeroOrMore(keyword("not")) + one).set_parse_action(_negated)
    both = (part + pp.ZeroOrMore(keyword("and").suppress() - part)).set_parse_action(
        lambda tokens: tokens[0] if len(tokens) == 1 else Both(tuple(tokens))
    )
    either = (both + pp.ZeroOrMore(keyword("or").suppress() - both)).set_parse_action(
        lambda tokens: tokens[0] if len(tokens) == 1 else Either(tuple(tokens))
    )
    condition <<= either
    return condition


def _word(_text: str, start: int, tokens: pp.ParseResults) -> Word:
    """In quotes, a backslash before one of these is left out; anywhere else it is itself, as in `\\d`."""
    written = str(tokens[0])
    quote = written[0]
    text = written[1:-1].replace("\\" + quote, quote) if quote in "'\"" else written
    return Word(text, start, start + len(written))


def _comparison(tokens: pp.ParseResults) -> Tree:
    name, *rest = tokens
    if not rest:
        return Comparison(name, "true")
    words: list[Any] = [one for one in rest if isinstance(one, Word)]
    said = [one for one in rest if isinstance(one, str)]
    operator = said[-1]
    test = Comparison(name, "=" if operator in ("==", "!=") else operator, tuple(words))
    return Opposite(test) if "not" in said or operator == "!=" else test


def _negated(tokens: pp.ParseResults) -> Tree:
    *negations, part = tokens
    return Opposite(part) if len(negations) % 2 else part
