"""The pieces of a `log-format` in the template language.

Values under `+json` are written by `json_format`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from logscope.haproxy.aliases import Shape
from logscope.haproxy.format_items import Blank, Node, Text, Value
from logscope.haproxy.json_format import json_value


@dataclass
class Names:
    """Field names of one template: a name used before gets a number."""

    used: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str) -> str:
        self.counts[name] += 1
        unique = name if self.counts[name] == 1 else f"{name}_{self.counts[name]}"
        self.used.append(unique)
        return unique


def render(node: Node, names: Names) -> str:
    """One node in the template language."""
    if isinstance(node, Blank):
        return " "
    if isinstance(node, Text):
        return node.text.replace("{", "{{").replace("}", "}}")
    if node.json:
        return json_text(node, names)
    text = _value(node, names)
    if node.quoted and not node.hexadecimal:  # these have no quotes, not even under +Q
        text = f'"{text}"'
    is_optional = node.can_vanish or bool(node.before)
    return f"{{[{node.before}{text}{node.after}]}}" if is_optional else text


def json_text(value: Value, names: Names) -> str:
    """A value under `+json`."""
    if value.hexadecimal:
        return f'"{_hexadecimal(value, names)}"'
    return json_value(value.alias, value.cast, names)


def _value(value: Value, names: Names) -> str:
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


def _hexadecimal(value: Value, names: Names) -> str:
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


def _choice(value: Value, present: str, *others: str) -> str:
    """A value that may be missing: `-`, or nothing inside quotes and under -M.

    What is missing is a text, so under +Q it has the quotes that a number never has.
    """
    missing = [""] if value.quoted else ["-"] if "M" in value.flags else ["-", ""]
    if "Q" in value.flags and not value.quoted:
        missing = ['""']
    return "{(" + "{|}".join([present, *others, *missing]) + ")}"


def _endpoint(address: str, port: str, names: Names) -> str:
    listener = names(address.replace("_address", "_listener"))
    known = f"{{{address}:ip}}:{{{port}:port}}"
    return f"{{({known}{{|}}unix:{{{listener}:uint}}{{|}}-:{{(-{{|}}{{{port}:port}})}})}}"
