"""Translates a HAProxy `log-format` string to a template of the template language.

Theory: HAProxy prints a format piece by piece, and a piece is literal text, a run of blanks, an alias
(`%ci`) or a sample expression (`%[src]`). Each becomes a piece of a template; the template then reads lines
of that format, and writes them. Three habits of HAProxy's printer shape the result (configuration manual,
"Custom log format"):

- blanks are printed once: a run is one blank, leading blanks and blanks around a piece that prints nothing
  are left out;
- `+Q` puts quotes around names, addresses and texts, never around numbers, dates and states;
- a value that is missing prints as `-`, or as nothing inside quotes or under `-M`.

The format is what HAProxy sees after it has undone the quoting of its configuration file;
`logscope.haproxy.config` does that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pyparsing as pp

from logscope.errors import Place, SettingsError, did_you_mean
from logscope.haproxy.aliases import ACTIVE_TIME, ALIASES, REMOVED, SAMPLES, Alias, Shape, alias
from logscope.haproxy.json_format import json_object, json_value

SESSION = "haproxy.tcp_session"
REQUEST = "haproxy.http_request"


class LogFormatError(SettingsError):
    """A log-format that HAProxy would refuse, or whose lines cannot be read back. `column` counts from 1 in
    the format."""

    def __init__(self, message: str, log_format: str, column: int, hint: str | None = None) -> None:
        super().__init__(message, place=Place("log-format", 1, column, log_format), hint=hint)
        self.column = column

    def __str__(self) -> str:
        return f"log-format, column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Translated:
    """A log-format as a template.

    Attributes:
        text: the template.
        kind: the kind of event its lines are.
        fields: the fields in the order of the line.
        log_format: what it was translated from.
    """

    text: str
    kind: str
    fields: tuple[str, ...]
    log_format: str


def translate(log_format: str, kind: str | None = None) -> Translated:
    """Translate a log-format, as HAProxy sees it once quotes and backslashes of the configuration file are
    undone.

    Args:
        log_format: the format.
        kind: kind of the template; by default `haproxy.http_request` when the format has HTTP fields,
            otherwise `haproxy.tcp_session`.

    Raises:
        LogFormatError: HAProxy would refuse the format, prints it as CBOR, or prints two values with nothing
            between them that says where one ends.
    """
    items = _parse(log_format)
    if any(_makes_objects(item) for item in items):
        return _translate_object(items, log_format, kind)
    nodes = list(_fused(_collapsed(_with_distinct_totals(_with_flags(items, log_format)))))
    if (
        nodes
        and isinstance(nodes[-1], _Value)
        and nodes[-1].can_be_empty
        and _Blank in map(type, nodes[-2:-1])
    ):
        # The scanner leaves blanks at the end of a line alone, and so this one when nothing follows it.
        nodes[-2:] = [replace(nodes[-1], before=" ")]
    if not nodes:
        hint = "Leave log-format out to get the stock format."
        raise LogFormatError("the format prints nothing", log_format, 1, hint)
    _check_borders(nodes, log_format)
    names = _Names()
    text = "".join(_render(node, names) for node in nodes)
    return Translated(text, kind or _kind(nodes), tuple(names.used), log_format)


def _kind(nodes: Iterable[_Node]) -> str:
    is_http = any(isinstance(node, _Value) and node.alias.http for node in nodes)
    return REQUEST if is_http else SESSION


def _makes_objects(item: _Text | _Blank | _Item) -> bool:
    """Whether it is `%{+json}o`, which makes every line one object."""
    return isinstance(item, _Item) and item.name == "o" and "+json" in (item.flags or "").split(",")


def _translate_object(
    items: Iterable[_Text | _Blank | _Item], log_format: str, kind: str | None
) -> Translated:
    found = [node for node in _with_flags(items, log_format) if isinstance(node, _Value) and node.label]
    values = [node for node in _with_distinct_totals(found) if isinstance(node, _Value)]
    if not values:
        hint = "Under +json HAProxy prints only what has a name; write %(client_ip)ci and the like."
        raise LogFormatError("no item has a name", log_format, 1, hint)
    names = _Names()
    text = json_object((node.label, _json(node, names)) for node in values)
    return Translated(text, kind or _kind(values), tuple(dict.fromkeys(names.used)), log_format)


def with_structured_data(log_format: str, structured_format: str, kind: str | None = None) -> Translated:
    """The same for the structured data of RFC 5424 (`log-format-sd`) and the message behind them.

    Both are formats of their own, in which flags begin anew.

    Raises:
        LogFormatError: as `translate`; columns count from the beginning of the structured data.
    """
    flags = ",".join(f"-{flag}" for flag in ("Q", "E", "X", "json", "bin"))
    joined = f"{structured_format} %{{{flags},+M}}o {log_format}" if log_format else structured_format
    return replace(translate(joined, kind), log_format=f"{structured_format} {log_format}".rstrip())


def as_grammar(
    formats: Iterable[Translated], name: str = "haproxy-configured", program: str = "haproxy"
) -> dict[str, Any]:
    """Translated formats as the content of a grammar file, for
    `logscope.grammar.catalogue.load(extra=[…])`."""
    distinct = {(entry.text, entry.kind): entry for entry in formats}
    templates = [
        {"kind": entry.kind, "text": entry.text, "source": f"log-format {entry.log_format}"}
        for entry in distinct.values()
    ]
    return {"name": name, "title": "HAProxy log-format", "programs": [program], "template": templates}


# --- reading the format -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    """Literal text. Inside an optional value the blank in front of it belongs to the value."""

    text: str
    column: int = 1


@dataclass(frozen=True, slots=True)
class _Blank:
    column: int = 1


@dataclass(frozen=True, slots=True)
class _Value:
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


_Node = _Text | _Blank | _Value


@dataclass(frozen=True, slots=True)
class _Item:
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


def _parse(log_format: str) -> list[_Text | _Blank | _Item]:
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

    percent = pp.Literal("%%").set_parse_action(lambda _s, at, _t: _Text("%", at + 1))
    # A '%' before anything else but a blank or digit is dropped by HAProxy and the character printed.
    stray = pp.Regex(r"%(?=[^\s\w%(\[{])(?P<stray>.)")
    stray.set_parse_action(lambda _s, at, t: _Text(t["stray"], at + 1))
    blank = pp.Regex(" +").set_parse_action(lambda _s, at, _t: _Blank(at + 1))
    text = pp.Regex(r"[^% ]+").set_parse_action(lambda _s, at, t: _Text(t[0], at + 1))
    return pp.ZeroOrMore(percent | item | stray | blank | text)


def _item(_text: str, at: int, tokens: pp.ParseResults) -> _Item:
    found: dict[str, Any] = tokens.as_dict()
    return _Item(
        column=at + 1,
        name=found.get("name", ""),
        expression=found.get("expression", ""),
        label=found.get("label", ""),
        cast=found.get("cast") or "",
        flags=found.get("flags"),
    )


def _with_flags(items: Iterable[_Text | _Blank | _Item], log_format: str) -> Iterator[_Node]:
    """Give every value the flags that apply to it. `%{+Q}o` sets them for all that follow."""
    standing = frozenset("M")  # HAProxy's default for log formats
    for item in items:
        if not isinstance(item, _Item):
            yield item
            continue
        flags = _flags(item, standing, log_format)
        entry = _entry(item, log_format)
        if entry.shape is Shape.NOTHING:
            standing = flags
        else:
            yield _Value(
                entry,
                item.written,
                item.column,
                flags,
                entry.quotable or bool(item.expression),
                label=item.label,
                cast=item.cast,
            )


def _flags(item: _Item, standing: frozenset[str], log_format: str) -> frozenset[str]:
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


def _entry(item: _Item, log_format: str) -> Alias:
    if item.expression:
        return SAMPLES.get(item.expression.strip()) or Alias(_sample_field(item), Shape.TEXT)
    found = alias(item.name)
    if found is None:
        hint = did_you_mean(item.name, (*ALIASES, *REMOVED)) or "Write '%%' for the character itself."
        raise LogFormatError(f"HAProxy has no alias %{item.name}", log_format, item.column, hint)
    return found


def _sample_field(item: _Item) -> str:
    """`%[req.hdr(host)]` is `sample_req_hdr_host`, `%(helo)[…]` is `sample_helo`."""
    words = re.findall(r"[a-z0-9]+", (item.label or item.expression).lower())
    return "_".join(["sample", *words])


# --- putting pieces together --------------------------------------------------------------------------------


def _with_distinct_totals(nodes: Iterable[_Node]) -> list[_Node]:
    """`%Ta` is the duration unless `%Tt` is there to say it."""
    found = list(nodes)
    aliases = [node.alias for node in found if isinstance(node, _Value)]
    if ALIASES["Tt"] not in aliases:
        return found
    return [
        replace(node, alias=ACTIVE_TIME) if isinstance(node, _Value) and node.alias == ALIASES["Ta"] else node
        for node in found
    ]


def _collapsed(nodes: Iterable[_Node]) -> Iterator[_Node]:
    """Print blanks the way HAProxy does: none at the start, one for a run, and one for those on both sides of
    a value that vanishes.

    Such a value takes along the blank before it when there is one behind it, or nothing; at the very start,
    where there is none before it, the one behind it.
    """
    nodes = list(nodes)
    blank: _Blank | None = None
    waiting: _Value | None = None
    started = False
    for place, node in enumerate(nodes):
        if waiting:
            yield replace(waiting, after=" ") if isinstance(node, _Blank) else waiting
            waiting = None
        if isinstance(node, _Blank):
            blank = node if started else None
        elif isinstance(node, _Value) and node.can_vanish:
            if started and blank and _touches(nodes[place + 1 :]):
                yield blank
                yield node
            elif started:
                yield replace(node, before=" " if blank else "")
            else:
                waiting = node
            blank = None
        else:
            if blank:
                yield blank
            yield node
            blank, started = None, True
    if waiting:
        yield waiting


def _touches(rest: Iterable[_Node]) -> bool:
    """Whether something that is always printed comes next, with no blank before it."""
    for node in rest:
        if isinstance(node, _Blank):
            return False
        if not (isinstance(node, _Value) and node.can_vanish):
            return True
    return False


def _fused(nodes: Iterable[_Node]) -> Iterator[_Node]:
    """Join what only makes sense together: an address and its port, seconds and milliseconds, two lists of
    captures."""
    rest = list(nodes)
    while rest:
        partner = _partner(rest)
        if partner is not None:
            assert isinstance(rest[0], _Value)
            yield replace(rest[0], partner=partner)
            del rest[:3]
        elif _two_lists(rest):
            assert isinstance(rest[0], _Value)
            yield replace(rest[0], alias=replace(rest[0].alias, field="captured_headers"), quotable=False)
            del rest[:2]
        else:
            yield rest.pop(0)


_JOINED = {(Shape.ADDRESS, ":", Shape.PORT), (Shape.SECONDS, ".", Shape.PADDED)}


def _partner(nodes: Sequence[_Node]) -> Alias | None:
    if len(nodes) < 3:
        return None
    left, border, right = nodes[:3]
    if not (isinstance(left, _Value) and isinstance(border, _Text) and isinstance(right, _Value)):
        return None
    if not (left.plain and right.plain):
        return None
    if (left.alias.shape, border.text, right.alias.shape) not in _JOINED:
        return None
    same_side = left.alias.field.rpartition("_")[0] == right.alias.field.rpartition("_")[0]
    return right.alias if same_side or left.alias.shape is Shape.SECONDS else None


def _two_lists(nodes: Sequence[_Node]) -> bool:
    return len(nodes) > 1 and all(
        isinstance(node, _Value) and node.alias.shape is Shape.CAPTURE_LIST for node in nodes[:2]
    )


# --- where values end ---------------------------------------------------------------------------------------

_DIGITS = frozenset("0123456789")
_ADDRESS_BYTES = frozenset("0123456789abcdefABCDEF.")
_TAKES = {
    Shape.NUMBER: _DIGITS,
    Shape.COUNT: _DIGITS,
    Shape.CODE: _DIGITS,
    Shape.TOTAL: _DIGITS,
    Shape.PORT: _DIGITS,
    Shape.SECONDS: _DIGITS | {"."},
    Shape.LOCAL_DATE: _DIGITS,
    Shape.ZONED_DATE: frozenset[str](),
    Shape.ADDRESS: _ADDRESS_BYTES,
}
"""Characters that a value of a shape goes on with; shapes not named here end only where literal text
begins."""


def _check_borders(nodes: Sequence[_Node], log_format: str) -> None:
    for at, node in enumerate(nodes):
        if isinstance(node, _Value) and not _ends_in_literal(node):
            for following in _what_follows(nodes[at + 1 :]):
                _check_border(node, following, log_format)
        if isinstance(node, _Value) and node.can_vanish and node.quoted:
            _check_quoted_captures(node, nodes[at + 1 :], log_format)


def _check_quoted_captures(value: _Value, rest: Sequence[_Node], log_format: str) -> None:
    """Captures print nothing where the proxy captures nothing: then what is quoted behind them looks like
    them. Lists of them (`%hrl`) look like any text, those in braces only like text that may begin with one.
    """
    following = next((node for node in rest if not isinstance(node, _Blank)), None)
    if not isinstance(following, _Value) or not following.quoted:
        return
    if value.alias.shape is Shape.CAPTURE_LIST or following.alias.shape is Shape.TEXT:
        problem = (
            f"nothing tells {value.written}, which may print nothing, from {following.written} behind it"
        )
        hint = "Put them the other way round, or a word between them that is always printed."
        raise LogFormatError(problem, log_format, following.column, hint)


def _ends_in_literal(value: _Value) -> bool:
    return value.quoted or value.alias.shape is Shape.CAPTURES or bool(value.after)


def _what_follows(nodes: Sequence[_Node]) -> Iterator[_Node]:
    """The nodes that can come right behind, the ones behind a value that may vanish included."""
    for node in nodes:
        yield node
        if not (isinstance(node, _Value) and node.can_vanish):
            return


def _check_border(value: _Value, following: _Node, log_format: str) -> None:
    literal = _first_literal(following)
    takes = frozenset("0123456789abcdefABCDEF") if value.hexadecimal else _TAKES.get(_last_shape(value))
    is_server = value.alias == ALIASES["s"]  # prints `<NOSRV>` where none was reached
    if literal and (takes is None or literal[0] not in takes) and not (is_server and literal[0] in "<>"):
        return
    assert not isinstance(following, _Blank)
    if literal:
        problem = f"nothing says where {value.written} ends: {literal!r} could be a part of it"
    elif isinstance(following, _Value) and takes is not None and not takes & _starts(following.alias.shape):
        return
    else:
        written = following.written if isinstance(following, _Value) else following.text
        problem = f"nothing between {value.written} and {written} says where one ends and the other begins"
    hint = "Put a character between them that neither can hold, such as a blank or a slash."
    raise LogFormatError(problem, log_format, following.column, hint)


def _last_shape(value: _Value) -> Shape:
    return value.partner.shape if value.partner and value.partner.shape is Shape.PORT else value.alias.shape


def _first_literal(node: _Node) -> str:
    if isinstance(node, _Text):
        return node.text
    if isinstance(node, _Blank):
        return " "
    if node.before:
        return node.before
    if node.quoted:
        return '"'
    return "{" if node.alias.shape is Shape.CAPTURES else ""


def _starts(shape: Shape) -> frozenset[str]:
    """What a value can begin with, as far as it is known."""
    if shape in _TAKES and shape is not Shape.ADDRESS:
        return _DIGITS | {"-", "+"}
    return frozenset(map(chr, range(33, 127)))


# --- writing the template -----------------------------------------------------------------------------------


@dataclass
class _Names:
    """Field names of one template: a name used before gets a number."""

    used: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str) -> str:
        self.counts[name] += 1
        unique = name if self.counts[name] == 1 else f"{name}_{self.counts[name]}"
        self.used.append(unique)
        return unique


def _render(node: _Node, names: _Names) -> str:
    if isinstance(node, _Blank):
        return " "
    if isinstance(node, _Text):
        return node.text.replace("{", "{{").replace("}", "}}")
    if node.json:
        return _json(node, names)
    text = _value(node, names)
    if node.quoted and not node.hexadecimal:  # these have no quotes, not even under +Q
        text = f'"{text}"'
    is_optional = node.can_vanish or bool(node.before)
    return f"{{[{node.before}{text}{node.after}]}}" if is_optional else text


def _json(value: _Value, names: _Names) -> str:
    if value.hexadecimal:
        return f'"{_hexadecimal(value, names)}"'
    return json_value(value.alias, value.cast, names)


def _value(value: _Value, names: _Names) -> str:
    """One value. The forms of the stock formats are those of `grammars/haproxy.toml`."""
    entry = value.alias
    if value.hexadecimal:
        return _hexadecimal(value, names)
    match entry.shape:
        case Shape.ADDRESS if value.partner:
            return _endpoint(names(entry.field), names(value.partner.field), names)
        case Shape.ADDRESS:
            return _choice(value, f"{{{names(entry.field)}:ip}}", "unix")
        case Shape.PORT:
            return _choice(value, f"{{{names(entry.field)}:port}}")
        case Shape.NUMBER:
            return f"{{{names(entry.field)}:int}}"
        case Shape.COUNT:
            return f"{{{names(entry.field)}:uint}}"
        case Shape.TOTAL:
            type_ = "int" if entry.field.endswith("_ms") else "uint"
            return f"{{{names(entry.plus)}:flag(+)}}{{{names(entry.field)}:{type_}}}"
        case Shape.LOCAL_DATE:
            return f"{{{names(entry.field)}:time(haproxy)}}"
        case Shape.ZONED_DATE:
            return f"{{{names(entry.field)}:time(clf)}}"
        case Shape.SECONDS:
            return f"{{{names(entry.field)}:time(epoch)}}"
        case Shape.TRANSPORT:
            return f"{{{names(entry.field)}:name}}{{{names('frontend_tls')}:flag(~)}}"
        case Shape.NAME | Shape.STATE:
            # Nothing may stand between quotes, and under -M.
            type_ = "nametext" if value.quoted or "M" not in value.flags else "name"
            return f"{{{names(entry.field)}:{type_}}}"
        case Shape.CODE:
            return _choice(value, f"{{{names(entry.field)}:uint}}")
        case Shape.PADDED:
            return f"{{{names(entry.field)}:word}}"
        case Shape.CAPTURES:
            return f"{{{{{{{names(entry.field)}:text}}}}}}"
        case Shape.REQUEST:
            method, uri, version = names("http_method"), names("http_uri"), names("http_version")
            return f"{{(<BADREQ>{{|}}{{{method}:word}} {{{uri}:word}}{{[ {{{version}:word}}]}})}}"
        case _:
            return f"{{{names(entry.field)}:text}}"


def _hexadecimal(value: _Value, names: _Names) -> str:
    """Under `+X` an address is 8 or 32 digits and milliseconds have leading zeros (both are kept as text); a
    port and the like is a hexadecimal number.
    """
    name = value.alias.field
    if value.alias.shape is Shape.ADDRESS and not value.json:
        missing = '""' if "Q" in value.flags else "-"
        return f"{{({missing}{{|}}{{{names(f'{name}_hex')}:word}})}}"
    if value.alias.shape in (Shape.ADDRESS, Shape.PADDED):
        return f"{{{names(f'{name}_hex')}:word}}"
    if value.alias.shape is Shape.PORT:
        return _choice(value, f"{{{names(name)}:hex}}")
    return f"{{{names('accepted_epoch' if value.alias.shape is Shape.SECONDS else name)}:hex}}"


def _choice(value: _Value, present: str, *others: str) -> str:
    """A value that may be missing: `-`, or nothing inside quotes and under -M.

    What is missing is a text, so under +Q it has the quotes that a number never has.
    """
    missing = [""] if value.quoted else ["-"] if "M" in value.flags else ["-", ""]
    if "Q" in value.flags and not value.quoted:
        missing = ['""']
    return "{(" + "{|}".join([present, *others, *missing]) + ")}"


def _endpoint(address: str, port: str, names: _Names) -> str:
    listener = names(address.replace("_address", "_listener"))
    known = f"{{{address}:ip}}:{{{port}:port}}"
    return f"{{({known}{{|}}unix:{{{listener}:uint}}{{|}}-:{{(-{{|}}{{{port}:port}})}})}}"
