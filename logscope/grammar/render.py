"""Writes lines: the inverse of matching.

Of several alternatives the one is written that uses most of the given values; an optional part without
fields is left out. The relay and the simulator log through this, and `match(render(values)) == values` is
tested for every template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.errors import RenderError
from logscope.grammar.fields import field_type
from logscope.grammar.syntax import Choice, Field, Group, Literal, Node, Sequence


def render(sequence: Sequence, values: Mapping[str, Any]) -> bytes:
    """The text of a template with these values. A flag that is not given is not set.

    Raises:
        RenderError: a value is missing, cannot be written, or has no place in the template.
    """
    used: set[str] = set()
    text = _sequence(sequence, values, used)
    if text is None:
        missing = sorted(_required(sequence) - values.keys())
        raise RenderError(f"no value for {', '.join(missing) or 'a field of each alternative'}")
    unused = {name for name, value in values.items() if value is not False} - used
    if unused:
        raise RenderError(
            f"the template has no place for {', '.join(sorted(unused))} beside the other values"
        )
    return text


def render_kind(catalogue: Catalogue, kind: str, values: Mapping[str, Any]) -> bytes:
    """The text of the first template of a kind that these values fit.

    Raises:
        RenderError: there is no such template.
    """
    problem = f"no template of kind {kind}"
    for template in catalogue.templates:
        if template.kind == kind:
            try:
                return render(catalogue.details[template.id].sequence, values)
            except RenderError as error:
                problem = f"{kind}: {error.message}"
    raise RenderError(problem)


def _sequence(sequence: Sequence, values: Mapping[str, Any], used: set[str]) -> bytes | None:
    """The text, or None when a value is missing; `used` collects the fields written."""
    text = b""
    for node in sequence:
        part = _node(node, values, used)
        if part is None:
            return None
        text += part
    return text


def _node(node: Node, values: Mapping[str, Any], used: set[str]) -> bytes | None:
    if isinstance(node, Literal):
        return node.text
    if isinstance(node, Field):
        return _field(node, values, used)
    if isinstance(node, Group):
        used.add(node.name)
        return _sequence(node.body, values, used)
    assert isinstance(node, Choice), "macros are expanded before"
    return _choice(node, values, used)


def _field(field: Field, values: Mapping[str, Any], used: set[str]) -> bytes | None:
    value = values.get(field.name, False if field.type == "flag" else None)
    if value is None:
        return None
    used.add(field.name)
    try:
        return field_type(field).write(value, field.arguments)
    except (ValueError, OverflowError, TypeError) as error:
        raise RenderError(f"{field.name}: {error}") from None


def _choice(choice: Choice, values: Mapping[str, Any], used: set[str]) -> bytes | None:
    best: tuple[int, bytes, set[str]] | None = None
    refused: RenderError | None = None
    for alternative in choice.alternatives:
        names: set[str] = set()
        try:
            text = _sequence(alternative, values, names)
        except RenderError as error:
            refused = error
            continue
        # An empty alternative wins over one that only adds literal text, whatever their order.
        weight = 2 * len(names & values.keys()) + (not alternative)
        if text is not None and (best is None or weight > best[0]):
            best = (weight, text, names)
    if best is None:
        if refused is not None:
            raise refused
        return None
    used |= best[2]
    return best[1]


def _required(sequence: Sequence) -> set[str]:
    return {node.name for node in sequence if isinstance(node, Field) and node.type != "flag"}
