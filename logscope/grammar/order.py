"""The order in which the templates of a program are tried, as far as it follows from how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from logscope.grammar.prepare import Part, Parts, Text

_Trie: TypeAlias = dict["int | Part | None", "_Trie | list[int]"]


def arrange(templates: Mapping[int, Parts]) -> list[int]:
    """Template ids: those that begin alike together, a literal before a field, else in the order given.

    Putting together what begins alike is what lets the compiler match it once.
    """
    trie: _Trie = {}
    for number, parts in templates.items():
        node = trie
        for item in _items(parts):
            node = node.setdefault(item, {})  # type: ignore[assignment]  # None alone leads to a list
        ends = node.setdefault(None, [])
        assert isinstance(ends, list)
        ends.append(number)
    return list(_walk(trie))


def _items(parts: Parts) -> Iterator[int | Part]:
    """Bytes of literals, and the other parts whole."""
    for part in parts:
        if isinstance(part, Text):
            yield from part.text
        else:
            yield part


def _walk(trie: _Trie) -> Iterator[int]:
    """A loop, since literals make the trie as deep as lines are long."""
    stack: list[_Trie | list[int]] = [trie]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            yield from node
            continue
        literals = [child for item, child in node.items() if isinstance(item, int)]
        others = [child for item, child in node.items() if not isinstance(item, int) and item is not None]
        ends = [node[None]] if None in node else []
        stack += reversed([*literals, *others, *ends])
