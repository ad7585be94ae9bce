"""What HAProxy prints under `+json` (3.0 and later), as pieces of a template.

With `%{+json}o` the line is one object of the items that have a name, `%(name)ci`; literal text and items
without a name are left out (configuration manual, "Custom log format"). Texts, names, addresses and dates
stand in quotes; numbers do not, unless `:str` says so. Quotes and backslashes inside a text are escaped with
a backslash, and kept so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from logscope.haproxy.aliases import Alias, Shape

_NUMBERS = {
    Shape.NUMBER: "int",
    Shape.COUNT: "uint",
    Shape.TOTAL: "int",
    Shape.CODE: "uint",
    Shape.PADDED: "word",
    Shape.PORT: "port",
    Shape.SECONDS: "time(epoch)",
}
_DATES = {Shape.LOCAL_DATE: "time(haproxy)", Shape.ZONED_DATE: "time(clf)"}


def json_object(members: Iterable[tuple[str, str]]) -> str:
    """The whole line, of the names of its items and what stands for their values."""
    return "{{" + ", ".join(f'"{name}": {value}' for name, value in members) + "}}"


def json_value(alias: Alias, cast: str, names: Callable[[str], str]) -> str:
    """One value.

    Args:
        alias: the item; an expression is one whose shape is TEXT.
        cast: its type as written: `str`, `sint`, `bool`, or nothing.
        names: makes the name of a field one of its own.
    """
    if cast == "bool" and alias.shape in (*_NUMBERS, Shape.TEXT):
        return f"{{{names(f'{alias.field}_is')}:enum(true|false)}}"
    if alias.shape in _NUMBERS:
        return _number(alias, cast, names)
    if alias.shape in _DATES:
        return f'"{{{names(alias.field)}:{_DATES[alias.shape]}}}"'
    return _quoted(alias, names)


def _number(alias: Alias, cast: str, names: Callable[[str], str]) -> str:
    plus = f"{{{names(alias.plus)}:flag(+)}}" if alias.shape is Shape.TOTAL else ""
    type_ = _NUMBERS[alias.shape]
    if alias.shape is Shape.TOTAL and not alias.field.endswith("_ms"):
        type_ = "uint"
    number = f"{plus}{{{names(alias.field)}:{type_}}}"
    if cast == "str":
        return f'"{number}"'
    # A port that is not known, and a code that there is none of, is an empty text.
    return f'{{({number}{{|}}"")}}' if alias.shape in (Shape.PORT, Shape.CODE) else number


def _quoted(alias: Alias, names: Callable[[str], str]) -> str:
    if alias.shape is Shape.REQUEST:
        method, uri, version = names("http_method"), names("http_uri"), names("http_version")
        return f'"{{(<BADREQ>{{|}}{{{method}:word}} {{{uri}:word}}{{[ {{{version}:word}}]}})}}"'
    name = names(alias.field)
    match alias.shape:
        case Shape.ADDRESS:
            return f'"{{({{{name}:ip}}{{|}}unix{{|}})}}"'
        case Shape.NAME | Shape.STATE | Shape.TRANSPORT:
            return f'"{{{name}:nametext}}"'
        case Shape.CAPTURES:
            return f'{{["{{({{{{{{{name}:text}}}}}}{{|}})}}"]}}'
        case Shape.CAPTURE_LIST:
            return f"{{[[{{{name}:text}}]]}}"
        case _:  # a text, or the value of an expression, whatever its type
            return f'{{("{{{name}:text}}"{{|}}{{{name}:text}})}}'
