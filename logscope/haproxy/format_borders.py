"""Whether the lines of a `log-format` can be read back: something has to say where each value ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from logscope.haproxy.aliases import ALIASES, Shape
from logscope.haproxy.format_items import Blank, LogFormatError, Node, Text, Value

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


def check_borders(nodes: Sequence[Node], log_format: str) -> None:
    """See that every value can be told from what follows it.

    Raises:
        LogFormatError: nothing says where one ends.
    """
    for at, node in enumerate(nodes):
        if isinstance(node, Value) and not _ends_in_literal(node):
            for following in _what_follows(nodes[at + 1 :]):
                _check_border(node, following, log_format)
        if isinstance(node, Value) and node.can_vanish and node.quoted:
            _check_quoted_captures(node, nodes[at + 1 :], log_format)


def _check_quoted_captures(value: Value, rest: Sequence[Node], log_format: str) -> None:
    """Captures print nothing where the proxy captures nothing: then what is quoted behind them looks like
    them. Lists of them (`%hrl`) look like any text, those in braces only like text that may begin with one.
    """
    following = next((node for node in rest if not isinstance(node, Blank)), None)
    if not isinstance(following, Value) or not following.quoted:
        return
    if value.alias.shape is Shape.CAPTURE_LIST or following.alias.shape is Shape.TEXT:
        problem = (
            f"nothing tells {value.written}, which may print nothing, from {following.written} behind it"
        )
        hint = "Put them the other way round, or a word between them that is always printed."
        raise LogFormatError(problem, log_format, following.column, hint)


def _ends_in_literal(value: Value) -> bool:
    return value.quoted or value.alias.shape is Shape.CAPTURES or bool(value.after)


def _what_follows(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes that can come right behind, the ones behind a value that may vanish included."""
    for node in nodes:
        yield node
        if not (isinstance(node, Value) and node.can_vanish):
            return


def _check_border(value: Value, following: Node, log_format: str) -> None:
    literal = _first_literal(following)
    takes = frozenset("0123456789abcdefABCDEF") if value.hexadecimal else _TAKES.get(_last_shape(value))
    is_server = value.alias == ALIASES["s"]  # prints `<NOSRV>` where none was reached
    if literal and (takes is None or literal[0] not in takes) and not (is_server and literal[0] in "<>"):
        return
    assert not isinstance(following, Blank)
    if literal:
        problem = f"nothing says where {value.written} ends: {literal!r} could be a part of it"
    elif isinstance(following, Value) and takes is not None and not takes & _starts(following.alias.shape):
        return
    else:
        written = following.written if isinstance(following, Value) else following.text
        problem = f"nothing between {value.written} and {written} says where one ends and the other begins"
    hint = "Put a character between them that neither can hold, such as a blank or a slash."
    raise LogFormatError(problem, log_format, following.column, hint)


def _last_shape(value: Value) -> Shape:
    return value.partner.shape if value.partner and value.partner.shape is Shape.PORT else value.alias.shape


def _first_literal(node: Node) -> str:
    if isinstance(node, Text):
        return node.text
    if isinstance(node, Blank):
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
