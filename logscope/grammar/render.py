"""Writes lines: the inverse of matching.

Of several alternatives the one is written that uses most of the given values; an optional part without
fields is left out. The relay and the simulator log through this, and `match(render(values)) == values` is
tested for every template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import getitem, itemgetter
from typing import Any, TypeAlias

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.errors import RenderError
from logscope.grammar.fields import Written, WrittenAnew, field_type, written
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
    found = [entry for entry in catalogue.templates if entry.kind == kind]
    return _first(kind, [catalogue.details[entry.id].sequence for entry in found], values)


def _first(kind: str, sequences: Iterable[Sequence], values: Mapping[str, Any]) -> bytes:
    problem = f"no template of kind {kind}"
    for sequence in sequences:
        try:
            return render(sequence, values)
        except RenderError as error:
            problem = f"{kind}: {error.message}"
    raise RenderError(problem)


Part: TypeAlias = tuple[str, Written | WrittenAnew]
"""A field: its name, and how it is written."""
Plan: TypeAlias = tuple[bytes, Callable[[Mapping[str, Any]], tuple[Any, ...]], tuple[Any, ...]]
"""The literal text of a line with a `%b` for each field, what picks their values, and how each is written."""


class SequenceWriter:
    """Writes many lines of one kind: by the first of some sequences that the values fit.

    Which alternatives a line takes follows, nearly always, from which fields have a value. That is found
    out once for each set of fields, by `render`, and then only the fields are written.
    """

    def __init__(self, kind: str, sequences: Iterable[Sequence]) -> None:
        self._kind, self._sequences = kind, list(sequences)
        self._has_flags = any(
            field.type == "flag" for sequence in self._sequences for field in fields(sequence)
        )
        self._plans: dict[tuple[str, ...], Plan | None] = {}

    def write(self, values: Mapping[str, Any]) -> bytes:
        """The text for these values.

        Raises:
            RenderError: they fit none of the sequences.
        """
        if self._has_flags:
            names = tuple([name for name, value in values.items() if value is not False])
        else:
            names = tuple(values)
        plan = self._plans.get(names)
        if plan is not None:
            text, pick, written = plan
            try:
                return text % tuple(map(getitem, written, pick(values)))
            except (ValueError, OverflowError, TypeError):
                pass  # these values take another alternative, or none
        rendered = _first(self._kind, self._sequences, values)
        if names not in self._plans:
            self._plans[names] = self._plan(values)
        return rendered

    def _plan(self, values: Mapping[str, Any]) -> Plan | None:
        """How these fields are written; None when that depends on more than which fields are there."""
        for sequence in self._sequences:
            try:
                render(sequence, values)
            except RenderError:
                if set(values) <= {field.name for field in fields(sequence)}:
                    return None  # a value did not fit: another one may
                continue
            parts: list[bytes | Part] = []
            return _planned(parts) if _collect(sequence, values, parts) else None
        return None


def _planned(parts: list[bytes | Part]) -> Plan:
    text = b"".join(part.replace(b"%", b"%%") if isinstance(part, bytes) else b"%b" for part in parts)
    found = [part for part in parts if not isinstance(part, bytes)]
    names = [name for name, _ in found]
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] = (
        itemgetter(*names) if len(names) > 1 else _picker(names)
    )
    return text, pick, tuple(how for _, how in found)


def _picker(names: list[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What `itemgetter` is for more than one name."""
    return lambda values: tuple([values[name] for name in names])


class LineWriter:
    """Writes many lines of a catalogue, each kind of line many times."""

    def __init__(self, catalogue: Catalogue) -> None:
        sequences: dict[str, list[Sequence]] = {}
        for template in catalogue.templates:
            sequences.setdefault(template.kind, []).append(catalogue.details[template.id].sequence)
        self._by_kind = {kind: SequenceWriter(kind, found) for kind, found in sequences.items()}

    def of_kind(self, kind: str) -> SequenceWriter:
        """Writes the lines of one kind.

        Raises:
            RenderError: there is no such kind.
        """
        found = self._by_kind.get(kind)
        if found is None:
            raise RenderError(f"no template of kind {kind}")
        return found

    def write(self, kind: str, values: Mapping[str, Any]) -> bytes:
        """The text of the first template of a kind that these values fit.

        Raises:
            RenderError: there is no such template.
        """
        return self.of_kind(kind).write(values)


def _collect(sequence: Sequence, values: Mapping[str, Any], parts: list[bytes | Part]) -> bool:
    """Gather the parts of a sequence; False when one of its alternatives was refused for its value."""
    for node in sequence:
        if isinstance(node, Literal):
            parts.append(node.text)
        elif isinstance(node, Field) and node.type == "flag":
            parts.append(field_type(node).write(values.get(node.name, False), node.arguments))
        elif isinstance(node, Field):
            parts.append((node.name, written(field_type(node), node.arguments)))
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
