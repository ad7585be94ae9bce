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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from logscope.haproxy.aliases import ACTIVE_TIME, ALIASES, Alias, Shape
from logscope.haproxy.format_borders import check_borders
from logscope.haproxy.format_items import Blank, Item, LogFormatError, Node, Text, Value, parse, with_flags
from logscope.haproxy.format_template import Names, json_text, render
from logscope.haproxy.json_format import json_object

SESSION = "haproxy.tcp_session"
REQUEST = "haproxy.http_request"


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
    items = parse(log_format)
    if any(_makes_objects(item) for item in items):
        return _translate_object(items, log_format, kind)
    nodes = list(_fused(_collapsed(_with_distinct_totals(with_flags(items, log_format)))))
    if nodes and isinstance(nodes[-1], Value) and nodes[-1].can_be_empty and Blank in map(type, nodes[-2:-1]):
        # The scanner leaves blanks at the end of a line alone, and so this one when nothing follows it.
        nodes[-2:] = [replace(nodes[-1], before=" ")]
    if not nodes:
        hint = "Leave log-format out to get the stock format."
        raise LogFormatError("the format prints nothing", log_format, 1, hint)
    check_borders(nodes, log_format)
    names = Names()
    text = "".join(render(node, names) for node in nodes)
    return Translated(text, kind or _kind(nodes), tuple(names.used), log_format)


def _kind(nodes: Iterable[Node]) -> str:
    is_http = any(isinstance(node, Value) and node.alias.http for node in nodes)
    return REQUEST if is_http else SESSION


def _makes_objects(item: Text | Blank | Item) -> bool:
    """Whether it is `%{+json}o`, which makes every line one object."""
    return isinstance(item, Item) and item.name == "o" and "+json" in (item.flags or "").split(",")


def _translate_object(items: Iterable[Text | Blank | Item], log_format: str, kind: str | None) -> Translated:
    found = [node for node in with_flags(items, log_format) if isinstance(node, Value) and node.label]
    values = [node for node in _with_distinct_totals(found) if isinstance(node, Value)]
    if not values:
        hint = "Under +json HAProxy prints only what has a name; write %(client_ip)ci and the like."
        raise LogFormatError("no item has a name", log_format, 1, hint)
    names = Names()
    text = json_object((node.label, json_text(node, names)) for node in values)
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


# --- putting pieces together --------------------------------------------------------------------------------


def _with_distinct_totals(nodes: Iterable[Node]) -> list[Node]:
    """`%Ta` is the duration unless `%Tt` is there to say it."""
    found = list(nodes)
    aliases = [node.alias for node in found if isinstance(node, Value)]
    if ALIASES["Tt"] not in aliases:
        return found
    return [
        replace(node, alias=ACTIVE_TIME) if isinstance(node, Value) and node.alias == ALIASES["Ta"] else node
        for node in found
    ]


def _collapsed(nodes: Iterable[Node]) -> Iterator[Node]:
    """Print blanks the way HAProxy does: none at the start, one for a run, and one for those on both sides of
    a value that vanishes.

    Such a value takes along the blank before it when there is one behind it, or nothing; at the very start,
    where there is none before it, the one behind it.
    """
    nodes = list(nodes)
    blank: Blank | None = None
    waiting: Value | None = None
    started = False
    for place, node in enumerate(nodes):
        if waiting:
            yield replace(waiting, after=" ") if isinstance(node, Blank) else waiting
            waiting = None
        if isinstance(node, Blank):
            blank = node if started else None
        elif isinstance(node, Value) and node.can_vanish:
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


def _touches(rest: Iterable[Node]) -> bool:
    """Whether something that is always printed comes next, with no blank before it."""
    for node in rest:
        if isinstance(node, Blank):
            return False
        if not (isinstance(node, Value) and node.can_vanish):
            return True
    return False


def _fused(nodes: Iterable[Node]) -> Iterator[Node]:
    """Join what only makes sense together: an address and its port, seconds and milliseconds, two lists of
    captures."""
    rest = list(nodes)
    while rest:
        partner = _partner(rest)
        if partner is not None:
            assert isinstance(rest[0], Value)
            yield replace(rest[0], partner=partner)
            del rest[:3]
        elif _two_lists(rest):
            assert isinstance(rest[0], Value)
            yield replace(rest[0], alias=replace(rest[0].alias, field="captured_headers"), quotable=False)
            del rest[:2]
        else:
            yield rest.pop(0)


_JOINED = {(Shape.ADDRESS, ":", Shape.PORT), (Shape.SECONDS, ".", Shape.PADDED)}


def _partner(nodes: Sequence[Node]) -> Alias | None:
    if len(nodes) < 3:
        return None
    left, border, right = nodes[:3]
    if not (isinstance(left, Value) and isinstance(border, Text) and isinstance(right, Value)):
        return None
    if not (left.plain and right.plain):
        return None
    if (left.alias.shape, border.text, right.alias.shape) not in _JOINED:
        return None
    same_side = left.alias.field.rpartition("_")[0] == right.alias.field.rpartition("_")[0]
    return right.alias if same_side or left.alias.shape is Shape.SECONDS else None


def _two_lists(nodes: Sequence[Node]) -> bool:
    return len(nodes) > 1 and all(
        isinstance(node, Value) and node.alias.shape is Shape.CAPTURE_LIST for node in nodes[:2]
    )
