"""A first draft of a template for a line that nobody described: what looks like a value becomes a field.

It is a guess about one line and wants an author who knows what varies; but it compiles, it matches the line,
and lines that differ only in such values have the same shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.language import parse
from logscope.grammar.reference import Mismatch, Reference

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![\w.])"
_IPV6 = r"(?=[0-9a-fA-F]*:)(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])"
_IP = rf"(?:{_IPV4}|{_IPV6})"
_NO_VOWELS = "[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]"
_QUEUE_ID = rf"(?:[0-9A-F]{{6,15}}|{_NO_VOWELS}{{10,}}z{_NO_VOWELS}+)"

_VALUES: Final = re.compile(
    "|".join(
        (
            rf"(?P<queue_id>^{_QUEUE_ID})(?=: )",
            rf"(?<![\w.-])(?P<host>[A-Za-z0-9][\w.-]*)\[(?P<host_address>{_IP})\](?::(?P<host_port>\d{{1,5}}(?!\d)))?",
            rf"\[(?P<bracketed>{_IP})\](?::(?P<bracketed_port>\d{{1,5}}(?!\d)))?",
            r"<(?P<angle>[^<>]*)>",
            r"\"(?P<double>[^\"]*)\"",
            r"(?<![\w'])'(?P<single>[^']*)'(?!\w)",
            r"(?P<date>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})",
            r"(?<![\w.+-])(?P<mail>[\w.+-]+@[\w.-]*\w)",
            rf"(?<![\w.:])(?P<ip>{_IP})",
            r"(?<![\w./-])(?P<path>/[^\s,;:()\"'<>\[\]]+)",
            r"(?<!\w)(?P<inner_id>(?=[A-F]*\d)[0-9A-F]{8,15})(?!\w)",
            r"(?<![\w.])(?P<dsn>[245]\.\d{1,3}\.\d{1,3})(?![\w.])",
            r"(?<![\w.+-])(?P<decimal>\d{1,12}\.\d{1,6})(?!\.?\w)",
            r"(?<![\w.+-])(?P<number>-?\d{1,15})(?!\.?\w)",
            r"(?<=\w=)(?P<word>[^\s,;()\"'<>\[\]=]+)",
        )
    )
)
_TYPES: Final = {
    "queue_id": "queue_id",
    "host": "host",
    "host_address": "ip",
    "host_port": "port",
    "bracketed": "ip",
    "bracketed_port": "port",
    "angle": "text",
    "double": "text",
    "single": "text",
    "date": "time(haproxy)",
    "mail": "word",
    "ip": "ip",
    "path": "word",
    "inner_id": "queue_id",
    "dsn": "dsn",
    "word": "word",
    "decimal": "decimal",
    "number": "int",
}
_CALLED: Final = {
    "queue_id": "queue_id",
    "host": "client_name",
    "host_address": "client_address",
    "host_port": "client_port",
    "bracketed": "client_address",
    "bracketed_port": "client_port",
    "date": "accepted_at",
    "mail": "mail_address",
    "ip": "address",
    "path": "path",
    "inner_id": "queue_id",
    "dsn": "dsn",
}
_DELIMITED: Final = {"angle", "double", "single"}
_TEXTS: Final = {"mail", "text", "nametext"}
_KNOWN_KEYS: Final = {
    "from": "sender",
    "to": "recipient",
    "orig_to": "original_recipient",
    "proto": "protocol",
}
_KEY: Final = re.compile(r"([A-Za-z][\w-]*)[=: ]\s*[<\"'(\[]?$")
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A draft.

    Attributes:
        text: the template.
        shape: the same with types only, equal for lines that differ in values alone.
        values: what the template reads in the line.
        program: whose line it is.
        line: the line, without its envelope.
    """

    text: str
    shape: str
    values: Mapping[str, Any]
    program: str
    line: str

    @property
    def toml(self) -> str:
        """A grammar file with the draft in it."""
        values = ", ".join(f"{name} = {_toml(value)}" for name, value in self.values.items())
        return "\n".join(
            (
                f"name = {_toml(f'site-{self.program}')}",
                f"programs = [{_toml(self.program)}]",
                "",
                "[[template]]",
                f"kind = {_toml(f'{self.program}.new')}",
                f"text = {_toml(self.text)}",
                'source = ""',
                f"samples = [{{ line = {_toml(self.line)}, values = {{ {values} }} }}]",
            )
        )


def suggest(message: str, program: str, catalogue: Catalogue) -> Suggestion:
    """Draft a template for a message (a line without its envelope).

    Args:
        program: as a grammar would name it: `smtpd`, `haproxy`.
        catalogue: a field that it has keeps its type; where the draft needs another, it has another name.
    """
    # A grammar file is UTF-8; what is not in the line stands in the draft as `\xff`.
    message = message.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").rstrip(" \t\r")
    taken = {info.name: info.type for info in catalogue.fields}
    text = _Draft(taken).drafted(message)
    found = Reference(parse(text)).match(message.encode())
    if isinstance(found, Mismatch):  # two values in it cannot be told apart by what is between them
        text = _escaped(message)
        found = {}
    return Suggestion(text, shape(message), found, program, message)


def shape(message: str) -> str:
    """What is left of a message when everything that looks like a value is replaced by its type."""
    return _VALUES.sub(_typed, message[:_LONGEST].rstrip(" \t\r"))


def _typed(found: re.Match[str]) -> str:
    start = found.start()
    parts: list[str] = []
    at = start
    for name, value in found.groupdict().items():
        if value is not None:
            begin, end = found.span(name)
            parts += [found.string[at:begin], f"{{{_TYPES[name]}}}"]
            at = end
    return "".join(parts) + found.string[at : found.end()]


class _Draft:
    """One draft, and the names it has given."""

    def __init__(self, taken: Mapping[str, str]) -> None:
        self._taken = taken
        self._used: set[str] = set()

    def drafted(self, message: str) -> str:
        pieces: list[str] = []
        at = 0
        for found in _VALUES.finditer(message[:_LONGEST]):
            for group, value in found.groupdict().items():
                if value is None:
                    continue
                begin, end = found.span(group)
                pieces.append(_escaped(message[at:begin]))
                pieces.append(self._field(group, value, message[:begin]))
                at = end
        return "".join(pieces) + _escaped(message[at:])

    def _field(self, group: str, value: str, before: str) -> str:
        name = _CALLED.get(group) or _key(before)
        type_ = _TYPES[group]
        if group in _DELIMITED and self._taken.get(name) in _TEXTS:
            type_ = self._taken[name]
        if group == "number" and value[0] != "-" and self._taken.get(name) == "uint":
            type_ = "uint"
        unique, number = name, 1
        while unique in self._used or self._taken.get(unique, _bare(type_)) != _bare(type_):
            number += 1
            unique = f"{name}_{number}"
        self._used.add(unique)
        return f"{{{unique}:{type_}}}"


def _bare(type_: str) -> str:
    """A type without its arguments, as the catalogue names it."""
    return type_.partition("(")[0]


def _key(before: str) -> str:
    """A name out of the word in front of a value."""
    found = _KEY.search(before[-80:])
    key = re.sub(r"\W", "_", found[1].lower()) if found else "value"
    return _KNOWN_KEYS.get(key, key)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _toml(value: Any) -> str:
    """A value as TOML writes it; a text in single quotes where nothing in it forbids them."""
    if not isinstance(value, str):
        return json.dumps(value)
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
