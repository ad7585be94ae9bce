"""The machine of `ops` in plain Python: what small inputs run on, what `explain` asks, and the oracle of
the kernel.

It decodes the very table that the kernel runs, once for each instruction, and uses slices, `find` and `re`
where the kernel has loops over bytes.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope.grammar import ops
from logscope.grammar.times import read_time

Log: TypeAlias = list[tuple[int, int, int]]
"""Captures: field number and one or two arena values."""

Instruction: TypeAlias = tuple[Any, ...]
_Finder: TypeAlias = Callable[[bytes, int, int], int]

_SIGN = 1 << 63
_WRAP = 1 << 64
_BLANK = re.compile(rb"[ \t]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DIGITS = re.compile(rb"[0-9]+")
_INTEGER = re.compile(rb"-?[0-9]+")
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_DECIMAL = re.compile(rb"([0-9]++)(?:\.([0-9]++))?+(?!\.[0-9])")
_DSN = re.compile(rb"([0-9])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9])")
_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]+")
_QUEUE_ID = re.compile(rb"[0-9A-Za-z]+")
_COUNTERS = re.compile(rb"(?: (?!commands=)[A-Za-z0-9_-]+=[0-9]+(?:/[0-9]+)?(?![0-9/]))*")


class Machine:
    """Runs a compiled table over bytes."""

    def __init__(self, code: NDArray[np.int32], text: NDArray[np.uint8]) -> None:
        self._code = np.ascontiguousarray(code).data  # indexed as quickly as a list, and much smaller
        self._text = text.tobytes()
        self._decoded: list[Instruction | None] = [None] * len(self._code)

    def match(self, data: bytes, position: int, end: int, start: int, log: Log) -> int:
        """Match data[position:end] from the word `start`; returns the template's id or UNPARSED, and
        fills `log`.
        """
        decoded = self._decoded
        stack: list[tuple[int, int, int]] = []
        word = start
        while True:
            instruction = decoded[word] or self._decode(word)
            opcode = instruction[0]
            if opcode > ops.COMMIT:
                after = instruction[2](data, position, end, instruction, log)
                if after >= 0:
                    if opcode == ops.RETRY or opcode == ops.AGAIN:
                        stack.append((instruction[6], after + 1, len(log)))
                    position = after
                    word = instruction[1]
                    continue
            elif opcode == ops.LITERAL:
                if data.startswith(instruction[2], position, end):
                    position += instruction[3]
                    word = instruction[1]
                    continue
            elif opcode == ops.SWITCH:
                word = instruction[1][data[position] if position < end else ops.END_OF_LINE]
                if word >= 0:
                    continue
            elif opcode == ops.TEST:
                word = (
                    instruction[1] if position < end and data[position] == instruction[2] else instruction[3]
                )
                continue
            elif opcode == ops.CHOICE:
                stack.append((instruction[2], position, len(log)))
                word = instruction[1]
                continue
            elif opcode == ops.COMMIT:
                stack.pop()
                word = instruction[1]
                continue
            elif opcode == ops.END and position == end:
                return int(instruction[1])
            if not stack:
                return ops.UNPARSED
            word, position, height = stack.pop()
            del log[height:]

    def every(self, data: bytes, start: int) -> dict[int, Log]:
        """All templates that match the whole of `data`, whatever their order, with their captures."""
        found: dict[int, Log] = {}
        self._walk(data, start, lambda template, log: found.setdefault(template, list(log)), None)
        return found

    def furthest(self, data: bytes, start: int) -> tuple[int, list[int]]:
        """How far any template came, and the words of the instructions that failed there."""
        failed: dict[int, list[int]] = {}
        self._walk(data, start, lambda _template, _log: None, failed)
        position = max(failed, default=0)
        return position, failed.get(position, [])

    def _walk(
        self, data: bytes, start: int, matched: Callable[[int, Log], Any], failed: dict[int, list[int]] | None
    ) -> None:
        """Like `match`, but go on to the remaining alternatives after each template that matches."""
        log: Log = []
        stack = [(start, 0, 0)]
        end = len(data)
        while stack:
            word, position, height = stack.pop()
            del log[height:]
            while word >= 0:
                instruction = self._decoded[word] or self._decode(word)
                if instruction[0] == ops.CHOICE:
                    stack.append((instruction[2], position, len(log)))
                elif instruction[0] == ops.COMMIT:
                    stack.pop()
                elif instruction[0] == ops.END and position == end:
                    matched(instruction[1], log)
                    break
                following, after = self._step(instruction, data, position, end, log)
                if following >= 0 and instruction[0] in (ops.RETRY, ops.AGAIN):
                    stack.append((instruction[6], after + 1, len(log)))
                if following < 0 and failed is not None:
                    failed.setdefault(position, []).append(word)
                word, position = following, after

    def _step(
        self, instruction: Instruction, data: bytes, position: int, end: int, log: Log
    ) -> tuple[int, int]:
        """One instruction: the next word (negative when it fails) and the position after it."""
        opcode = instruction[0]
        if opcode > ops.COMMIT:
            after = instruction[2](data, position, end, instruction, log)
            return (instruction[1], after) if after >= 0 else (-1, position)
        if opcode == ops.LITERAL:
            if data.startswith(instruction[2], position, end):
                return instruction[1], position + instruction[3]
            return -1, position
        if opcode == ops.SWITCH:
            return instruction[1][data[position] if position < end else ops.END_OF_LINE], position
        if opcode == ops.TEST:
            here = position < end and data[position] == instruction[2]
            return (instruction[1] if here else instruction[3]), position
        return (instruction[1] if opcode in (ops.CHOICE, ops.COMMIT) else -1), position

    # --- decoding --------------------------------------------------------------------------------

    def _decode(self, word: int) -> Instruction:
        code = self._code
        opcode = code[word]
        if opcode == ops.LITERAL:
            text = self._slice(code[word + 2], code[word + 3])
            instruction: Instruction = (opcode, code[word + 1], text, len(text))
        elif opcode == ops.BYTE:
            instruction = (ops.LITERAL, code[word + 1], bytes([code[word + 2]]), 1)
        elif opcode == ops.SWITCH:
            instruction = (opcode, code[word + 1 : word + 258])
        elif opcode in _OPERANDS:
            instruction = (opcode, *code[word + 1 : word + 1 + _OPERANDS[opcode]])
        else:
            instruction = self._decode_field(word)
        self._decoded[word] = instruction
        return instruction

    def _decode_field(self, word: int) -> Instruction:
        code = self._code
        opcode, following, number = code[word : word + 3]
        if opcode in _READERS:
            return (opcode, following, _READERS[opcode], number)
        if opcode == ops.IP or opcode == ops.TIME:
            return (opcode, following, _read_ip if opcode == ops.IP else _read_stamp, number, code[word + 3])
        if opcode == ops.FLAG:
            text = self._slice(code[word + 3], code[word + 4])
            return (opcode, following, _read_flag, number, text)
        if opcode == ops.ENUM:
            words = [code[at : at + 3] for at in range(word + 4, word + 4 + 3 * code[word + 3], 3)]
            return (
                opcode,
                following,
                _read_enum,
                number,
                [(self._slice(*item[:2]), item[2]) for item in words],
            )
        flags = code[word + 3]
        finder = self._finder(opcode, flags, code[word + 4] if opcode != ops.REST else 0)
        least = int(bool(flags & ops.NOT_EMPTY))
        if opcode == ops.AGAIN:
            return (opcode, following, _read_again, number, finder, least, word)
        return (opcode, following, _read_bounded, number, finder, least, word + 5)

    def _slice(self, offset: int, length: int) -> bytes:
        return self._text[offset : offset + length]

    def _finder(self, opcode: int, flags: int, operand: int) -> _Finder:
        if opcode == ops.REST:
            return _finder([], True, flags)
        if opcode == ops.UNTIL:
            return _finder([(bytes([operand]), False)], False, flags)
        count, line_end = self._code[operand : operand + 2]
        first = operand + ops.STOPS_HEAD
        words = [self._code[at : at + 3] for at in range(first, first + 3 * count, 3)]
        return _finder([(self._slice(*item[:2]), bool(item[2])) for item in words], bool(line_end), flags)


_OPERANDS = {ops.END: 1, ops.FAIL: 0, ops.TEST: 3, ops.CHOICE: 2, ops.COMMIT: 1}


# --- bounded text --------------------------------------------------------------------------------


def _finder(stops: list[tuple[bytes, bool]], line_end: bool, flags: int) -> _Finder:
    """A function that says where a bounded field ends, or -1."""
    forbidden = b" \t" if flags & ops.NO_SPACE else b""
    if flags & ops.NO_BRACKET:
        forbidden += b"["
    if flags & ops.LAST:
        return _last(stops, line_end, forbidden)
    plain = _first(stops, line_end, forbidden)
    if not flags & (ops.QUOTED | ops.MAILBOX):
        return plain
    return _first_unquoted(stops, line_end, forbidden, plain, bool(flags & ops.MAILBOX))


def _stop_pattern(stops: list[tuple[bytes, bool]], line_end: bool) -> bytes:
    alternatives = [re.escape(text) + (rb"\Z" if anchored else b"") for text, anchored in stops]
    return b"|".join([*alternatives, rb"\Z"] if line_end else alternatives)


def _first(stops: list[tuple[bytes, bool]], line_end: bool, forbidden: bytes) -> _Finder:
    if not forbidden and not stops:
        return lambda _data, _position, end: end
    if not forbidden and len(stops) == 1 and not line_end and not stops[0][1]:
        text = stops[0][0]
        return lambda data, position, end: data.find(text, position, end)
    allowed = b"[^" + re.escape(forbidden) + b"]" if forbidden else b"."
    pattern = re.compile(allowed + b"*?(?=" + _stop_pattern(stops, line_end) + b")", re.DOTALL).match

    def find(data: bytes, position: int, end: int) -> int:
        found = pattern(data, position, end)
        return found.end() if found else -1

    return find


def _last(stops: list[tuple[bytes, bool]], line_end: bool, forbidden: bytes) -> _Finder:
    is_stop = re.compile(_stop_pattern(stops, line_end)).match
    stopper = re.compile(b"[" + re.escape(forbidden) + b"]").search if forbidden else None

    def find(data: bytes, position: int, end: int) -> int:
        blocked = stopper(data, position, end) if stopper else None
        at = blocked.start() if blocked else end
        while at >= position:
            if is_stop(data, at, end):
                return at
            at -= 1
        return -1

    return find


def _first_unquoted(
    stops: list[tuple[bytes, bool]], line_end: bool, forbidden: bytes, plain: _Finder, mailbox: bool
) -> _Finder:
    is_stop = re.compile(_stop_pattern(stops, line_end)).match

    def find_mailbox(data: bytes, position: int, end: int) -> int:
        quoted = _STRING.match(data, position, end) if data.startswith(b'"', position, end) else None
        if quoted is None or is_stop(data, position, end):
            return plain(data, position, end)
        after = quoted.end()
        if data.startswith(b"@", after, end) or is_stop(data, after, end):
            return plain(data, after, end)
        return plain(data, position, end)

    def find_text(data: bytes, position: int, end: int) -> int:
        closed = True
        at = position
        while not is_stop(data, at, end):
            if at >= end or data[at] in forbidden:
                return -1
            quoted = _STRING.match(data, at, end) if closed and data[at] == 0x22 else None
            if quoted:
                at = quoted.end()
            else:
                # A quote that is never closed is an ordinary character, and so are those after it.
                closed = closed and data[at] != 0x22
                at += 1
        return at

    return find_mailbox if mailbox else find_text


# --- fields: position after the field or -1 ------------------------------------------------------


def _read_bounded(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    after: int = instruction[4](data, position, end)
    if after < position + instruction[5]:
        return -1
    log.append((instruction[3], position << ops.SPAN_SHIFT | after - position, 0))
    return after


def _read_again(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    """The text of a RETRY, whose capture is still the last of the log, up to a later stop."""
    start = log.pop()[1] >> ops.SPAN_SHIFT
    after: int = instruction[4](data, position, end) if position <= end else -1
    if after >= 0:
        log.append((instruction[3], start << ops.SPAN_SHIFT | after - start, 0))
    return after


def _read_open(_data: bytes, position: int, _end: int, instruction: Instruction, log: Log) -> int:
    log.append((instruction[3], position << ops.SPAN_SHIFT, 0))
    return position


def _read_close(_data: bytes, position: int, _end: int, instruction: Instruction, log: Log) -> int:
    opened = max(index for index, capture in enumerate(log) if capture[0] == instruction[3])
    start = log[opened][1] >> ops.SPAN_SHIFT
    log[opened] = (instruction[3], start << ops.SPAN_SHIFT | position - start, 0)
    return position


def _read_flag(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    text = instruction[4]
    here = data.startswith(text, position, end)
    log.append((instruction[3], int(here), 0))
    return position + len(text) if here else position


def _read_enum(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    for text, number in instruction[4]:
        if data.startswith(text, position, end):
            log.append((instruction[3], number, 0))
            return position + len(text)
    return -1


def _read_stamp(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    read = read_time(instruction[4], data, position, end)
    if read is None:
        return -1
    log.append((instruction[3], read[1], read[2]))
    return read[0]


def _read_ip(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _ADDRESS.match(data, position, end)
    if found is None:
        return -1
    run = found.group()
    number = None
    if instruction[4] != 1:
        number = _address(run)
    if number is None and instruction[4]:
        run = run[: max(run.rfind(b":"), 0)]
        number = _address(run)
    if number is None:
        return -1
    log.append((instruction[3], _word(number >> 64), _word(number & _WRAP - 1)))
    return position + len(run)


def _address(text: bytes) -> int | None:
    try:
        if b":" in text:
            return int.from_bytes(socket.inet_pton(socket.AF_INET6, text.decode()), "big")
        return 0xFFFF_0000_0000 | int.from_bytes(socket.inet_pton(socket.AF_INET, text.decode()), "big")
    except OSError:
        return None


def _word(bits: int) -> int:
    return bits - _WRAP if bits >= _SIGN else bits


def _read_number(pattern: re.Pattern[bytes], digits: int, base: int, most: int) -> Callable[..., int]:
    def read(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
        found = pattern.match(data, position, end)
        if found is None:
            return -1
        text = found.group()
        if len(text) > digits + (text[0] == 0x2D):
            return -1
        number = int(text, base)
        if number > most:
            return -1
        log.append((instruction[3], number, 0))
        return found.end()

    return read


def _read_code(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _DIGITS.match(data, position, end)
    if found is None or found.end() - position != 3:
        return -1
    log.append((instruction[3], int(found.group()), 0))
    return found.end()


def _read_decimal(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _DECIMAL.match(data, position, end)
    if found is None:
        return -1
    whole, fraction = found.groups()
    if len(whole) > 12 or len(fraction or b"") > 6:
        return -1
    log.append((instruction[3], int(whole) * 1_000_000 + int((fraction or b"").ljust(6, b"0")), 0))
    return found.end()


def _read_dsn(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _DSN.match(data, position, end)
    if found is None:
        return -1
    status, subject, detail = found.groups()
    log.append((instruction[3], int(status) * 1_000_000 + int(subject) * 1000 + int(detail), 0))
    return found.end()


def _read_queue_id(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _QUEUE_ID.match(data, position, end)
    if found is None:
        return -1
    text = found.group()
    if len(text) < 5 or (text.isalpha() and text.strip(b"ABCDEF")):
        return -1
    log.append((instruction[3], position << ops.SPAN_SHIFT | len(text), 0))
    return found.end()


def _read_counters(data: bytes, position: int, end: int, instruction: Instruction, log: Log) -> int:
    found = _COUNTERS.match(data, position, end)
    assert found is not None, "no counters at all is a match too"
    log.append((instruction[3], position << ops.SPAN_SHIFT | found.end() - position, 0))
    return found.end()


_READERS: dict[int, Callable[..., int]] = {
    ops.INT: _read_number(_INTEGER, ops.MAX_DIGITS, 10, 10**18),
    ops.UINT: _read_number(_DIGITS, ops.MAX_DIGITS, 10, 10**18),
    ops.PORT: _read_number(_DIGITS, ops.MAX_DIGITS, 10, 65535),
    ops.HEX: _read_number(_HEX, 15, 16, 1 << 60),
    ops.CODE: _read_code,
    ops.DECIMAL: _read_decimal,
    ops.DSN: _read_dsn,
    ops.QUEUE_ID: _read_queue_id,
    ops.COUNTERS: _read_counters,
    ops.OPEN: _read_open,
    ops.CLOSE: _read_close,
}
