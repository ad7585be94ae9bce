"""Writes lines: the inverse of matching.

Of several alternatives the one is written that uses most of the given values; an optional part without
fields is left out. The relay and the simulator log through this, and `match(render(values)) == values` is
tested for every template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.errors import RenderError
from logscope.grammar.fields import field_type
from logscope.grammar.syntax import Choice, Field, Group, Literal, Node, Sequence, fields


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


Part: TypeAlias = bytes | tuple[str, Callable[[Any, tuple[str, ...]], bytes], tuple[str, ...]]
"""A piece of a line: literal text, or a field with how it is written."""


class LineWriter:
    """Writes many lines of a catalogue, each kind of line many times.

    Which alternatives a line takes follows, nearly always, from which fields have a value. That is found
    out once for each kind and set of fields, by `render_kind`, and then only the fields are written.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._by_kind: dict[str, list[Sequence]] = {}
        self._plans: dict[tuple[str, frozenset[str]], tuple[Part, ...]] = {}
        for template in catalogue.templates:
            self._by_kind.setdefault(template.kind, []).append(catalogue.details[template.id].sequence)

    def write(self, kind: str, values: Mapping[str, Any]) -> bytes:
        """The text of the first template of a kind that these values fit.

        Raises:
            RenderError: there is no such template.
        """
        key = kind, frozenset([name for name, value in values.items() if value is not False])
        parts = self._plans.get(key)
        if parts is not None:
            try:
                return b"".join(
                    [
                        part if isinstance(part, bytes) else part[1](values.get(part[0], False), part[2])
                        for part in parts
                    ]
                )
            except (ValueError, OverflowError, TypeError):
                pass  # these values take another alternative, or none
        text = render_kind(self._catalogue, kind, values)
        if parts is None:
            plan = self._plan(kind, values)
            if plan is not None:
                self._plans[key] = plan
        return text

    def _plan(self, kind: str, values: Mapping[str, Any]) -> tuple[Part, ...] | None:
        """The parts of a line; None when its alternatives depend on more than which fields are there."""
        for sequence in self._by_kind.get(kind, []):
            try:
                render(sequence, values)
            except RenderError:
                if set(values) <= {field.name for field in fields(sequence)}:
                    return None  # a value did not fit: another one may
                continue
            parts: list[Part] = []
            return tuple(_joined(parts)) if _collect(sequence, values, parts) else None
        return None


def _collect(sequence: Sequence, values: Mapping[str, Any], parts: list[Part]) -> bool:
    """Gather the parts of a sequence; False when one of its alternatives was refused for its value."""
    for node in sequence:
        if isinstance(node, Literal):
            parts.append(node.text)
        elif isinstance(node, Field):
            parts.append((node.name, field_type(node).write, node.arguments))
        elif isinstance(node, Group):
            if not _collect(node.body, values, parts):
                return False
        else:
            assert isinstance(node, Choice), "macros are expanded before"
            chosen = _chosen(node, values)
            if chosen is None or not _collect(chosen, values, parts):
                return False
    return True


def _chosen(choice: Choice, values: Mapping[str, Any]) -> Sequence | None:
    best: tuple[int, Sequence] | None = None
    for alternative in choice.alternatives:
        names: set[str] = set()
        try:
            text = _sequence(alternative, values, names)
        except RenderError:
            return None
        weight = _weight(alternative, names, values)
        if text is not None and (best is None or weight > best[0]):
            best = weight, alternative
    return best[1] if best else None


def _joined(parts: list[Part]) -> Iterator[Part]:
    """The parts with neighbouring literals made one."""
    literal = b""
    for part in parts:
        if isinstance(part, bytes):
            literal += part
            continue
        if literal:
            yield literal
        literal = b""
        yield part
    if literal:
        yield literal


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
        weight = _weight(alternative, names, values)
        if text is not None and (best is None or weight > best[0]):
            best = (weight, text, names)
    if best is None:
        if refused is not None:
            raise refused
        return None
    used |= best[2]
    return best[1]


def _weight(alternative: Sequence, names: set[str], values: Mapping[str, Any]) -> int:
    """How many of the values an alternative uses.

    An empty one wins over one that only adds literal text, whatever their order.
    """
    return 2 * len(names & values.keys()) + (not alternative)


def _required(sequence: Sequence) -> set[str]:
    return {node.name for node in sequence if isinstance(node, Field) and node.type != "flag"}
