"""What the words of a condition mean in a table: columns, and values as they hold them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from logscope.errors import UsageError, did_you_mean
from logscope.settings import parse_span
from logscope.where.model import Both, Comparison, Either, Formula, Opposite, Test, Tree, Word
from logscope.where.names import Columns, Found
from logscope.where.syntax import OPTION, wrong

_ORDERED = ("<", "<=", ">", ">=")
_OPERATORS = {
    "text": ("=", "in", "contains", "matches"),
    "address": ("=", "in"),
    "int": ("=", "in", *_ORDERED),
    "float": ("=", "in", *_ORDERED),
    "time": ("=", *_ORDERED),
    "bool": ("=", "true"),
}
_NAMES = {"text": "text", "address": "an address", "bool": "true or false", "time": "a time"}
_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:([kMGT])(i?)B?)?$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_BARE_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_UNITS = {"ms": 1_000_000, "s": 1_000_000_000}


class Meaning:
    """Gives the words of one text their meaning.

    Args:
        text, columns, moment: see `where.condition`.

    Attributes:
        used: columns that were named so far, each once.
    """

    def __init__(self, text: str, columns: Columns, moment: Callable[[str], int]) -> None:
        self._text = text
        self._columns = columns
        self._moment = moment
        self.used: dict[str, None] = {}

    def formula(self, tree: Tree) -> Formula:
        """A tree of comparisons as a formula.

        Raises:
            UsageError: a column is unknown, or a value is none of its.
        """
        if isinstance(tree, Comparison):
            return self._test(tree)
        if isinstance(tree, Opposite):
            return Opposite(self.formula(tree.part))
        parts = tuple(self.formula(part) for part in tree.parts)
        return Both(parts) if isinstance(tree, Both) else Either(parts)

    def _test(self, comparison: Comparison) -> Formula:
        name, operator = comparison.name, comparison.operator
        found = self._columns.find(name.text)
        if not isinstance(found, Found):
            raise self._wrong(name, *found)
        self.used[found.column] = None
        if operator == "null":
            return Test(found.column, found.member, operator)
        if operator not in _OPERATORS[found.type]:
            raise self._wrong(name, *_not_so(found, name.text, operator))
        if operator == "true":
            return Test(found.column, found.member, "=", True)
        if found.type == "address":
            return self._addresses(found, comparison.values, operator)
        values = [self._value(found, word, operator) for word in comparison.values]
        return Test(found.column, found.member, operator, values if operator == "in" else values[0])

    def _wrong(self, word: Word, message: str, hint: str | None = None) -> UsageError:
        return wrong(self._text, word.start, word.end, message, hint)

    # --- values ---------------------------------------------------------------------------------------------

    def _value(self, found: Found, word: Word, operator: str) -> Any:
        if found.type == "text":
            return self._texts(found, word, operator)
        if found.type == "bool":
            return self._choice(word, {"true": True, "yes": True, "false": False, "no": False})
        if found.type == "time":
            try:
                return self._moment(word.text)
            except UsageError as error:
                raise self._wrong(word, error.message, error.hint) from None
        return self._number(found, word)

    def _texts(self, found: Found, word: Word, operator: str) -> str:
        choices = self._columns.choices(found)
        if choices and operator in ("=", "in"):
            return str(self._choice(word, {one: one for one in choices}))
        if operator == "matches":
            self._check_pattern(word)
        return word.text

    def _choice(self, word: Word, known: dict[str, Any]) -> Any:
        try:
            return known[word.text]
        except KeyError:
            hint = did_you_mean(word.text, known) or "One of " + ", ".join(known) + "."
            raise self._wrong(word, f"{word.text!r} is none of the values there can be", hint) from None

    def _check_pattern(self, word: Word) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            pc.match_substring_regex(pa.array([""]), word.text)
        except pa.ArrowInvalid as error:
            why = str(error).partition(": ")[2]
            raise self._wrong(word, f"is no regular expression of RE2: {why}") from None

    def _number(self, found: Found, word: Word) -> float:
        unit = found.column.rpartition("_")[2]
        if unit in _UNITS:
            return self._span(found, word, _UNITS[unit])
        size = _SIZE.match(word.text)
        if size is None:
            raise self._wrong(word, f"{word.text!r} is no number", "Write 100, 10k or 1.5M.")
        number = float(size[1]) * (1024 if size[3] else 1000) ** _POWERS[size[2].lower() if size[2] else ""]
        return int(number) if number.is_integer() else number

    def _span(self, found: Found, word: Word, unit: int) -> float:
        """A length of time in the unit of the column, which a bare number is in only if its name says so."""
        if _BARE_NUMBER.fullmatch(word.text):
            if found.unit and float(word.text) != 0:
                raise self._wrong(word, f"{word.text} of what?", f"Write {word.text}s or {word.text}ms.")
            return float(word.text)
        try:
            return parse_span(word.text, OPTION) / unit
        except UsageError as error:
            raise self._wrong(word, f"{word.text!r} is no length of time", error.hint) from None

    def _addresses(self, found: Found, words: tuple[Word, ...], operator: str) -> Formula:
        """Single addresses are compared as text, which is canonical; networks are not."""
        exact, networks = [], []
        for word in words:
            try:
                network = ipaddress.ip_network(word.text)
            except ValueError:
                raise self._wrong(word, *_no_address(word.text)) from None
            if "/" in word.text and operator == "=":
                raise self._wrong(word, "an address is in a network", f"Write {found.column} in {word.text}.")
            if network.prefixlen == network.max_prefixlen:
                exact.append(_canonical(network.network_address))
            else:
                networks.append(network)
        tests = [Test(found.column, found.member, "in", exact)] if exact else []
        if networks:
            tests.append(Test(found.column, found.member, "network", tuple(networks)))
        return tests[0] if len(tests) == 1 else Either(tuple(tests))


def _canonical(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str((address.ipv4_mapped if address.version == 6 else None) or address)


def _no_address(text: str) -> tuple[str, str]:
    """Why a text is no network, and what to write."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no address and no network", "Write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32."
    return f"{text} is an address inside a network", f"Write {network}."


def _not_so(found: Found, name: str, operator: str) -> tuple[str, str]:
    """What is wrong with a test that a column does not have, and a hint."""
    if operator == "true":
        return (
            f"{name} is neither true nor false by itself",
            f"Compare it: {name} = …, or {name} is not null.",
        )
    signs = ", ".join(one for one in _OPERATORS[found.type] if one != "true")
    return f"{name} is {_NAMES.get(found.type, 'a number')}, which has no `{operator}`", f"It has {signs}."
