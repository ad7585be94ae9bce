"""Turns prepared templates into the one table that every engine runs (see `ops` for its instructions).

The templates of a program are an ordered choice. What they begin with in common is matched once, as in a
trie; where they part, the next byte picks those that can still match. Both keep the meaning of trying them
one after the other, because matching is deterministic: equal beginnings match equally. Tails that are equal
share their instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope.grammar import ops, times
from logscope.grammar.errors import TemplateError
from logscope.grammar.fields import ALL_BYTES, AT_END, longest_first
from logscope.grammar.machine.base import SPARE
from logscope.grammar.prepare import Branch, Part, Parts, Slot, Stop, Text, first, first_of

Cell: TypeAlias = int
"""Number of an interned tail of a template: a part and the cell after it, or an end."""

_END_ONLY = (Stop(b"", True),)


@dataclass(frozen=True, slots=True)
class _Finish:
    """How a tail ends: with template `template`, or by going on at `target` (after forgetting a choice)."""

    template: int = -1
    target: int = -1
    commit: bool = False
    first: int = AT_END


@dataclass
class Assembler:
    """Collects instructions and literals. One assembler holds all programs of a catalogue.

    Args:
        enum_code: gives each enum word its number in the catalogue.
    """

    enum_code: Callable[[str], int]
    code: list[int] = field(default_factory=lambda: [ops.FAIL])
    text: bytearray = field(default_factory=bytearray)
    _height: dict[int, int] = field(default_factory=dict)
    _cells: list[tuple[Part, Cell] | _Finish] = field(default_factory=list)
    _cell_of: dict[tuple[Part, Cell] | _Finish, Cell] = field(default_factory=dict)
    _first_of: dict[Cell, int] = field(default_factory=dict)
    _built: dict[tuple[Cell, ...], int] = field(default_factory=dict)
    _switches: dict[tuple[int, ...], int] = field(default_factory=dict)
    _literals: dict[bytes, int] = field(default_factory=dict)
    _stops: dict[tuple[tuple[Stop, ...], bytes], int] = field(default_factory=dict)

    def program(self, templates: Sequence[tuple[int, Parts]]) -> int:
        """Add an ordered list of (template id, parts); returns the word where it starts."""
        return self._build(tuple(self._tail(parts, _Finish(template)) for template, parts in templates))

    def tables(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """The finished code and text."""
        deepest = max(self._height.values(), default=0)
        if deepest > ops.MAX_STACK:
            raise TemplateError(f"choices nest {deepest} deep; the limit is {ops.MAX_STACK}")
        text = np.frombuffer(bytes(self.text) + bytes(SPARE), np.uint8).copy()
        return np.array(self.code, np.int32), text

    # --- tails -----------------------------------------------------------------------------------

    def _cell(self, content: tuple[Part, Cell] | _Finish) -> Cell:
        cell = self._cell_of.get(content)
        if cell is None:
            cell = self._cell_of[content] = len(self._cells)
            self._cells.append(content)
        return cell

    def _tail(self, parts: Parts, finish: _Finish) -> Cell:
        cell = self._cell(finish)
        for part in reversed(parts):
            cell = self._cell((part, cell))
        return cell

    def _first(self, cell: Cell) -> int:
        """Bytes that a tail can begin with."""
        known = self._first_of.get(cell)
        if known is None:
            content = self._cells[cell]
            if isinstance(content, _Finish):
                known = content.first
            else:
                part, after = content
                known = first(part)
                if known & AT_END:
                    known = known & ~AT_END | self._first(after)
            self._first_of[cell] = known
        return known

    # --- ordered choice between tails ------------------------------------------------------------

    def _build(self, cells: tuple[Cell, ...]) -> int:
        """Where to start to try these tails in order."""
        if len(cells) == 1:
            return self._chain(cells[0])
        known = self._built.get(cells)
        if known is None:
            known = self._built[cells] = self._switched(cells)
        return known

    def _switched(self, cells: tuple[Cell, ...]) -> int:
        # Symbols with which the same tails can begin, and these.
        classes: list[tuple[int, tuple[Cell, ...]]] = [(ALL_BYTES | AT_END, ())]
        for cell in cells:
            first = self._first(cell)
            classes = [
                (symbols, chosen)
                for symbols, chosen in (
                    part
                    for symbols, chosen in classes
                    for part in ((symbols & first, (*chosen, cell)), (symbols & ~first, chosen))
                )
                if symbols
            ]
        classes = sorted((each for each in classes if each[1]), key=lambda each: each[0] & -each[0])
        if len(classes) == 1:
            return self._ordered(cells)
        targets = [-1] * (ops.END_OF_LINE + 1)
        for symbols, chosen in classes:
            target = self._build(chosen) if len(chosen) < len(cells) else self._ordered(chosen)
            for symbol in range(symbols.bit_length()):
                if symbols >> symbol & 1:
                    targets[symbol] = target
        return self._switch(tuple(targets))

    def _ordered(self, cells: tuple[Cell, ...]) -> int:
        """Tails that the next byte does not tell apart."""
        runs = self._runs(cells)
        start = self._common(runs[-1])
        for run in reversed(runs[:-1]):
            start = self._emit(ops.CHOICE, self._common(run), start)
        return start

    def _runs(self, cells: tuple[Cell, ...]) -> list[list[Cell]]:
        """Neighbours that begin alike: with the same part, or with literals of the same first byte."""
        runs: list[list[Cell]] = []
        previous: object = None
        for cell in cells:
            begins = self._beginning(cell)
            if begins is not None and begins == previous:
                runs[-1].append(cell)
            else:
                runs.append([cell])
            previous = begins
        return runs

    def _beginning(self, cell: Cell) -> object:
        content = self._cells[cell]
        if isinstance(content, _Finish):
            return None
        part = content[0]
        if isinstance(part, Slot) and part.flags & ops.RETRIED and part.op == ops.BOUNDED:
            return None  # each template must try all stops before the next template has its turn
        return part.text[0] if isinstance(part, Text) else part

    def _common(self, run: list[Cell]) -> int:
        """Tails of one run: match what they share once, then try the rest."""
        if len(run) == 1:
            return self._chain(run[0])
        contents = [self._cells[cell] for cell in run]
        parts = [content[0] for content in contents if not isinstance(content, _Finish)]
        tails = [content[1] for content in contents if not isinstance(content, _Finish)]
        literals = [part.text for part in parts if isinstance(part, Text)]
        if not literals:
            return self._part(parts[0], self._build(tuple(dict.fromkeys(tails))), tails[0])
        shared = _common_prefix(literals)
        rests = [
            self._cell((Text(text[len(shared) :]), tail)) if len(text) > len(shared) else tail
            for text, tail in zip(literals, tails, strict=True)
        ]
        return self._literal(shared, self._build(tuple(dict.fromkeys(rests))))

    # --- one tail --------------------------------------------------------------------------------

    def _chain(self, cell: Cell) -> int:
        """One tail to its end; a loop, since a template can be long."""
        todo: list[tuple[Cell, Part, Cell]] = []
        while (start := self._built.get((cell,))) is None:
            content = self._cells[cell]
            if isinstance(content, _Finish):
                start = self._finish(content)
                self._built[(cell,)] = start
                break
            todo.append((cell, *content))
            cell = content[1]
        for cell, part, after in reversed(todo):
            start = self._built[(cell,)] = self._part(part, start, after)
        return start

    def _finish(self, finish: _Finish) -> int:
        if finish.template >= 0:
            return self._emit(ops.END, finish.template)
        return self._emit(ops.COMMIT, finish.target) if finish.commit else finish.target

    def _part(self, part: Part, start: int, after: Cell) -> int:
        """One part, going on at `start`, which is where the tail `after` begins."""
        if isinstance(part, Text):
            return self._literal(part.text, start)
        if isinstance(part, Slot):
            return self._slot(part, start)
        return self._branch(part, start, self._first(after))

    def _branch(self, branch: Branch, start: int, follow: int) -> int:
        """Alternatives, from the last to the first. Where the next byte decides, nothing need be
        remembered.
        """
        last = branch.alternatives[-1]
        other = self._chain(self._tail(last, _Finish(target=start, first=follow)))
        later = first_of(last, follow)
        for parts in reversed(branch.alternatives[:-1]):
            begins = first_of(parts, follow)
            alone = not begins & later
            body = self._chain(self._tail(parts, _Finish(target=start, commit=not alone, first=follow)))
            if not alone:
                body = self._emit(ops.CHOICE, body, other)
            other = self._guarded(begins, body, other)
            later |= begins
        return other

    def _guarded(self, begins: int, body: int, other: int) -> int:
        """`body` when the next byte is one of `begins`, else `other`."""
        if begins.bit_count() == 1 and begins != AT_END:
            return self._emit(ops.TEST, body, begins.bit_length() - 1, other)
        return self._switch(tuple(body if begins >> symbol & 1 else other for symbol in range(257)))

    # --- instructions ----------------------------------------------------------------------------

    def _emit(self, opcode: int, *operands: int) -> int:
        start = self._store(opcode, *operands)
        self._height[start] = self._height_of(opcode, operands)
        return start

    def _store(self, *words: int) -> int:
        start = len(self.code)
        self.code += words
        return start

    def _height_of(self, opcode: int, operands: tuple[int, ...]) -> int:
        """How high the stack can grow from here. What comes after an instruction is always emitted before
        it.
        """
        if opcode in (ops.END, ops.FAIL):
            return 0
        known = self._height.get
        if opcode == ops.SWITCH:
            return max(known(target, 0) for target in set(operands))
        after = known(operands[0], 0)
        if opcode == ops.CHOICE:
            return max(after + 1, known(operands[1], 0))
        if opcode in (ops.RETRY, ops.AGAIN):
            return after + 1
        if opcode == ops.TEST:
            return max(after, known(operands[2], 0))
        return max(after - 1, 0) if opcode == ops.COMMIT else after

    def _switch(self, targets: tuple[int, ...]) -> int:
        asking = {word for word in set(targets) if word >= 0 and self.code[word] in (ops.SWITCH, ops.TEST)}
        if asking:
            targets = tuple(
                self._decided(target, symbol) if target in asking else target
                for symbol, target in enumerate(targets)
            )
        known = self._switches.get(targets)
        if known is None:
            known = self._switches[targets] = self._emit(ops.SWITCH, *targets)
        return known

    def _decided(self, word: int, symbol: int) -> int:
        """Where matching goes on from a word when the next byte is known, without asking for it again."""
        while word >= 0 and self.code[word] in (ops.SWITCH, ops.TEST):
            if self.code[word] == ops.SWITCH:
                word = self.code[word + 1 + symbol]
            else:
                word = self.code[word + 1 if self.code[word + 2] == symbol else word + 3]
        return word

    def _literal(self, text: bytes, start: int) -> int:
        if len(text) == 1:
            return self._emit(ops.BYTE, start, text[0])
        return self._emit(ops.LITERAL, start, self._stored(text), len(text))

    def _stored(self, text: bytes) -> int:
        offset = self._literals.get(text)
        if offset is None:
            offset = self._literals[text] = len(self.text)
            self.text += text
        return offset

    def _slot(self, slot: Slot, start: int) -> int:
        if slot.op == ops.BOUNDED:
            return self._bounded(slot, start)
        words = [slot.op, start, slot.field]
        if slot.op == ops.FLAG:
            text = slot.arguments[0].encode()
            words += [self._stored(text), len(text)]
        elif slot.op == ops.ENUM:
            words.append(len(slot.arguments))
            for word in longest_first(slot.arguments):
                words += [self._stored(word.encode()), len(word.encode()), self.enum_code(word)]
        elif slot.op == ops.IP:
            words.append(slot.flags)
        elif slot.op == ops.TIME:
            words.append(times.FORMATS[slot.arguments[0]])
        return self._emit(*words)

    def _bounded(self, slot: Slot, start: int) -> int:
        if slot.stops == _END_ONLY:  # also when retried: there is only one end
            return self._emit(ops.REST, start, slot.field, slot.flags)
        if (
            not slot.flags & ~ops.NOT_EMPTY
            and len(slot.stops) == 1
            and len(slot.stops[0].text) == 1
            and not slot.stops[0].anchored
        ):
            return self._emit(ops.UNTIL, start, slot.field, slot.flags, slot.stops[0].text[0])
        stops = self._stop_list(slot.stops, slot.flags)
        if not slot.flags & ops.RETRIED:
            return self._emit(ops.BOUNDED, start, slot.field, slot.flags, stops)
        first = self._emit(ops.RETRY, start, slot.field, slot.flags, stops)
        self._emit(ops.AGAIN, start, slot.field, slot.flags, stops)
        return first

    def _stop_list(self, stops: tuple[Stop, ...], flags: int) -> int:
        forbidden = (b" \t" if flags & ops.NO_SPACE else b"") + (b"[" if flags & ops.NO_BRACKET else b"")
        known = self._stops.get((stops, forbidden))
        if known is None:
            real = [stop for stop in stops if stop.text]
            table = bytearray(256)
            for symbol in forbidden:
                table[symbol] |= ops.FORBIDDEN
            words = []
            for stop in real:
                table[stop.text[0]] |= ops.STOP_BEGINS
                words += [self._stored(stop.text), len(stop.text), int(stop.anchored)]
            longest = max((len(stop.text) for stop in real), default=0)
            known = self._store(
                len(real), int(len(real) < len(stops)), self._stored(bytes(table)), longest, *words
            )
            self._stops[stops, forbidden] = known
        return known


def _common_prefix(texts: list[bytes]) -> bytes:
    low, high = min(texts), max(texts)
    length = 0
    while length < len(low) and low[length] == high[length]:
        length += 1
    return low[:length]
