"""What a HAProxy `log-format` string is made of: literal text, blanks, and values with their flags.

An alias is written `%ci`, `%{+Q}ci` or `%(label:cast)ci`, a sample expression `%[src]` (configuration manual,
"Custom log format").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyparsing as pp

from logscope.errors import Place, SettingsError, did_you_mean
from logscope.haproxy.aliases import ALIASES, REMOVED, SAMPLES, Alias, Shape, alias


class LogFormatError(SettingsError):
    """A log-format that HAProxy would refuse, or whose lines cannot be read back. `column` counts from 1 in
    the format."""

    def __init__(self, message: str, log_format: str, column: int, hint: str | None = None) -> None:
        super().__init__(message, place=Place("log-format", 1, column, log_format), hint=hint)
        self.column = column

    def __str__(self) -> str:
        return f"log-format, column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text. Inside an optional value the blank in front of it belongs to the value."""

    text: str
    column: int = 1


@dataclass(frozen=True, slots=True)
class Blank:
    """A run of blanks, printed as one."""

    column: int = 1


@dataclass(frozen=True, slots=True)
class Value:
    """An alias or expression with the flags that apply to it.

    Attributes:
        written: as the user wrote it, for messages.
        quotable: whether +Q quotes it (any expression, some aliases).
        partner: the port behind an address (`%ci:%cp`), or the milliseconds behind seconds (`%Ts.%ms`).
        before, after: blanks that are printed only together with it.
        label, cast: its name and type under `+json`, `%(label:cast)ci`.
    """

    alias: Alias
    written: str
    column: int
    flags: frozenset[str] = frozenset("M")
    quotable: bool = False
    label: str = ""
    cast: str = ""
    partner: Alias | None = None
    before: str = ""
    after: str = ""

    @property
    def quoted(self) -> bool:
        return "Q" in self.flags and self.quotable

    @property
    def hexadecimal(self) -> bool:
        """Sample expressions are texts, which +X leaves alone."""
        return "X" in self.flags and self.alias.hexadecimal and not self.written.startswith("%[")

    @property
    def plain(self) -> bool:
        """Printed without quotes, in decimal, and as `-` when missing."""
        return not self.quoted and not self.hexadecimal and "M" in self.flags and not self.json

    @property
    def json(self) -> bool:
        return "json" in self.flags

    @property
    def can_be_empty(self) -> bool:
        """Whether it prints nothing at all where it has no value."""
        return "M" not in self.flags and "Q" not in self.flags and not self.json

    @property
    def can_vanish(self) -> bool:
        """Whether it may print nothing and then does not even keep the blanks on its sides apart."""
        return self.alias.shape in (Shape.CAPTURES, Shape.CAPTURE_LIST)


Node = Text | Blank | Value


@dataclass(frozen=True, slots=True)
class Item:
    """An alias or expression as parsed, before flags are worked out."""

    column: int
    name: str = ""
    expression: str = ""
    label: str = ""
    cast: str = ""
    flags: str | None = None

    @property
    def written(self) -> str:
        return f"%[{self.expression}]" if self.expression else f"%{self.name}"


def parse(log_format: str) -> list[Text | Blank | Item]:
    """The pieces of a format.

    Raises:
        LogFormatError: HAProxy would refuse the format.
    """
    try:
        return list(_language().parse_string(log_format, parse_all=True))
    except pp.ParseBaseException as error:
        raise _syntax_error(log_format, error) from None
    except RecursionError:
        hint = "Close parentheses before opening more."
        raise LogFormatError("parentheses nest too deeply", log_format, 1, hint) from None


def _syntax_error(log_format: str, error: pp.ParseBaseException) -> LogFormatError:
    start = log_format.rfind("%", 0, error.loc + 1)
    rest = log_format[max(start, 0) :]
    if re.match(r"%(\(\S*\))?\{[^}]*\}($|[^\[\w])", rest):
        problem, hint = "flags without an alias", "Write an alias or an expression behind them, as in %{+Q}s."
    elif rest.startswith("%["):
        problem, hint = "the sample expression has no end", "Close it with ']'."
    elif re.match(r"%([\d\s]|$)", rest):
        problem, hint = "a lone '%'", "Write '%%' for the character itself."
    else:
        problem = "this is not an alias"
        hint = "Aliases look like %ci, %{+Q}s or %[src]; write '%%' for the character itself."
    return LogFormatError(problem, log_format, max(start, 0) + 1, hint)


@cache
def _language() -> pp.ParserElement:
    blanks = pp.ParserElement.DEFAULT_WHITE_CHARS
    pp.ParserElement.set_default_whitespace_chars("")  # every blank of a format counts
    try:
        return _build().parse_with_tabs()
    finally:
        pp.ParserElement.set_default_whitespace_chars(blanks)


def _build() -> pp.ParserElement:
    # Inside the parentheses of a converter `]` and `)` may stand in quotes, as in
    # %[hdr(x),regsub("[a-z]","")].
    quoted = pp.Regex(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")
    inside = pp.Forward()
    inside <<= "(" + pp.ZeroOrMore(quoted | inside | pp.Regex(r"(?:\\.|[^()'\"\\])+")) + ")"
    sample = pp.original_text_for(pp.OneOrMore(inside | pp.Regex(r"(?:\\.|[^\]()\\])+")))

    label = pp.Regex(r"\((?P<label>[\w-]*)(?::(?P<cast>[\w-]*))?\)")
    flags = pp.Regex(r"\{(?P<flags>[^}]*)\}")
    expression = pp.Literal("[").suppress() + sample("expression") + pp.Literal("]").suppress()
    name = pp.Regex(r"[A-Za-z][A-Za-z0-9]*")("name")
    flagged = flags + (expression | pp.Regex(r"[A-Za-z0-9]+")("name"))
    item = pp.Literal("%").suppress() + pp.Optional(label) + (flagged | expression | name)
    item.set_parse_action(_item)

    percent = pp.Literal("%%").set_parse_action(lambda _s, at, _t: Text("%", at + 1))
    # A '%' before anything else but a blank or digit is dropped by HAProxy and the character printed.
    stray = pp.Regex(r"%(?=[^\s\w%(\[{])(?P<stray>.)")
    stray.set_parse_action(lambda _s, at, t: Text(t["stray"], at + 1))
    blank = pp.Regex(" +").set_parse_action(lambda _s, at, _t: Blank(at + 1))
    text = pp.Regex(r"[^% ]+").set_parse_action(lambda _s, at, t: Text(t[0], at + 1))
    return pp.ZeroOrMore(percent | item | stray | blank | text)


def _item(_text: str, at: int, tokens: pp.ParseResults) -> Item:
    found: dict[str, Any] = tokens.as_dict()
    return Item(
        column=at + 1,
        name=found.get("name", ""),
        expression=found.get("expression", ""),
        label=found.get("label", ""),
        cast=found.get("cast") or "",
        flags=found.get("flags"),
    )


def with_flags(items: Iterable[Text | Blank | Item], log_format: str) -> Iterator[Node]:
    """Give every value the flags that apply to it. `%{+Q}o` sets them for all that follow.

    Raises:
        LogFormatError: HAProxy has no such alias, or the format is CBOR.
    """
    standing = frozenset("M")  # HAProxy's default for log formats
    for item in items:
        if not isinstance(item, Item):
            yield item
            continue
        flags = _flags(item, standing, log_format)
        entry = _entry(item, log_format)
        if entry.shape is Shape.NOTHING:
            standing = flags
        else:
            yield Value(
                entry,
                item.written,
                item.column,
                flags,
                entry.quotable or bool(item.expression),
                label=item.label,
                cast=item.cast,
            )


def _flags(item: Item, standing: frozenset[str], log_format: str) -> frozenset[str]:
    flags = set(standing)
    for word in (item.flags or "").split(","):
        if word.startswith("+"):
            flags.add(word[1:])
        elif word.startswith("-"):
            flags.discard(word[1:])
    if "cbor" in flags:
        hint = "Log JSON (+json) or a text format for logscope; lines of this format are counted as unparsed."
        raise LogFormatError("CBOR is not text and is not read", log_format, item.column, hint)
    return frozenset(flags)


def _entry(item: Item, log_format: str) -> Alias:
    if item.expression:
        return SAMPLES.get(item.expression.strip()) or Alias(_sample_field(item), Shape.TEXT)
    found = alias(item.name)
    if found is None:
        hint = did_you_mean(item.name, (*ALIASES, *REMOVED)) or "Write '%%' for the character itself."
        raise LogFormatError(f"HAProxy has no alias %{item.name}", log_format, item.column, hint)
    return found


def _sample_field(item: Item) -> str:
    """`%[req.hdr(host)]` is `sample_req_hdr_host`, `%(helo)[…]` is `sample_helo`."""
    words = re.findall(r"[a-z0-9]+", (item.label or item.expression).lower())
    return "_".join(["sample", *words])
