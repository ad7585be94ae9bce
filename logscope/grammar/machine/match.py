"""The machine of `ops`; `interpret` is its plain-Python twin."""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.addresses import read_address
from logscope.grammar.machine.base import Bytes, Number, Numbers, Words, at_index, same_text
from logscope.grammar.machine.bounded import RESTRICTED, SPECIAL, find_end, find_rest, is_stop
from logscope.grammar.machine.layout import LOOKED, STAMP_BEGIN, STAMP_END, STAMP_FORM, STAMPS_READ, WENT_BACK
from logscope.grammar.machine.numbers import (
    read_counters,
    read_decimal,
    read_digits,
    read_dsn,
    read_hexadecimal,
    read_number,
    read_queue_id,
)
from logscope.grammar.machine.stamps import read_stamp
from logscope.grammar.ops import (
    AGAIN,
    BOUNDED,
    BYTE,
    CHOICE,
    CLOSE,
    CODE,
    COMMIT,
    COUNTERS,
    DECIMAL,
    DSN,
    END,
    ENUM,
    FLAG,
    FORBIDDEN,
    HEX,
    INT,
    IP,
    LITERAL,
    MAX_CAPTURES,
    MAX_DIGITS,
    NOT_EMPTY,
    OPEN,
    PORT,
    QUEUE_ID,
    REST,
    RETRY,
    STOP_BEGINS,
    SWITCH,
    TEST,
    TIME,
    UINT,
    UNTIL,
)

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
STACK_BASE = 3 * (MAX_CAPTURES + 2)
_STACK_START = np.uint64(STACK_BASE)
_LOOKED = np.uint64(LOOKED)
_WENT_BACK = np.uint64(WENT_BACK)
_STAMPS_READ = np.uint64(STAMPS_READ)
_STAMP_BEGIN = np.uint64(STAMP_BEGIN)
_STAMP_END = np.uint64(STAMP_END)
_STAMP_FORM = np.uint64(STAMP_FORM)


@kernel
def match(
    buffer: Bytes, position: Number, end: Number, start: Number, code: Words, text: Bytes, work: Numbers
) -> Number:
    """Match a range from the word `start`: the template's id or -1, and how many captures there are.

    work: int64, first the captures (field and two values each), from STACK_BASE on the stack (word,
    position, number of captures each), then what `envelopes` wants to know. All lie in one array, and the
    arrays are few, because each of them is seven words at every call.

    One long chain of comparisons with `opcode`: the compiler makes a jump table of it. What runs for nearly
    every line is written out here, the rest is in functions.
    """
    word = np.int64(start)
    height = np.uint64(0)
    depth = _STACK_START
    while True:
        opcode = at_index(code, word)
        after = np.int64(-1)
        first = np.int64(0)
        second = np.int64(0)
        looked = end + 1  # where the bytes begin that have no say
        if opcode == LITERAL:
            length = at_index(code, word + 3)
            looked = position + length
            if position + length <= end and same_text(
                buffer, position, text, at_index(code, word + 2), length
            ):
                position += length
                word = at_index(code, word + 1)
                continue
        elif opcode == SWITCH:
            symbol = at_index(buffer, position) if position < end else np.int64(256)
            looked = position + 1
            word = at_index(code, word + 1 + symbol)
            if word >= 0:
                continue
        elif opcode == BYTE:
            looked = position + 1
            if position < end and at_index(buffer, position) == at_index(code, word + 2):
                position += 1
                word = at_index(code, word + 1)
                continue
        elif opcode == TEST:
            here = position < end and at_index(buffer, position) == at_index(code, word + 2)
            word = at_index(code, word + 1) if here else at_index(code, word + 3)
            continue
        elif opcode == CHOICE:
            work[depth] = at_index(code, word + 2)
            work[depth + _ONE] = position
            work[depth + _TWO] = np.int64(height)
            depth += _THREE
            word = at_index(code, word + 1)
            continue
        elif opcode == COMMIT:
            depth -= _THREE
            word = at_index(code, word + 1)
            continue
        elif opcode == END:
            if position == end:
                return at_index(code, word + 1), np.int64(height) // 3
        elif opcode == UNTIL:
            symbol = at_index(code, word + 4)
            at = position
            while at < end and at_index(buffer, at) != symbol:
                at += 1
            looked = at + 1
            if at < end and (at > position or at_index(code, word + 3) & NOT_EMPTY == 0):
                after = at
                first = position << 32 | (after - position)
        elif opcode == BOUNDED:
            flags = at_index(code, word + 3)
            stops = at_index(code, word + 4)
            if flags & SPECIAL:
                after = find_end(buffer, position, end, code, text, stops, flags)
            else:
                table = at_index(code, stops + 2)
                at = position
                while True:
                    kind = np.int64(0)
                    while at < end:
                        kind = at_index(text, table + at_index(buffer, at))
                        if kind:
                            break
                        at += 1
                    if at >= end:
                        if at_index(code, stops + 1) == 1:
                            after = end
                        break
                    if kind & STOP_BEGINS and is_stop(buffer, at, end, code, text, stops):
                        after = at
                        break
                    if kind & FORBIDDEN:
                        break
                    at += 1
                looked = at + 1 + at_index(code, stops + 3)
                if flags & NOT_EMPTY and after == position:
                    after = np.int64(-1)
            first = position << 32 | (after - position)
        elif opcode == UINT:
            at, first = read_digits(buffer, position, end)
            looked = at + 1
            if position < at <= position + MAX_DIGITS:
                after = at
        elif opcode == IP:
            after, first, second = read_address(buffer, position, end, at_index(code, word + 3))
        elif opcode == QUEUE_ID:
            after = read_queue_id(buffer, position, end)
            first = position << 32 | (after - position)
        elif opcode == REST:
            after = find_rest(buffer, position, end, at_index(code, word + 3))
            if at_index(code, word + 3) & RESTRICTED == 0:
                looked = position
            first = position << 32 | (after - position)
        elif opcode == TIME:
            after, first, second = read_stamp(buffer, position, end, at_index(code, word + 3))
            work[_STAMPS_READ] += 1
            if after >= 0:
                looked = after + 1
                work[_STAMP_BEGIN] = position
                work[_STAMP_END] = after
                work[_STAMP_FORM] = at_index(code, word + 3)
        elif opcode in (INT, PORT, CODE):
            after, first = read_number(buffer, position, end, opcode)
        elif opcode == FLAG:
            length = at_index(code, word + 4)
            after = position
            if position + length <= end and same_text(
                buffer, position, text, at_index(code, word + 3), length
            ):
                after = position + length
                first = np.int64(1)
        elif opcode == ENUM:
            after, first = _enum(buffer, position, end, code, text, word)
        elif opcode == DECIMAL:
            after, first = read_decimal(buffer, position, end)
        elif opcode == DSN:
            after, first = read_dsn(buffer, position, end)
        elif opcode == COUNTERS:
            after = read_counters(buffer, position, end)
            first = position << 32 | (after - position)
        elif opcode == HEX:
            after, first = read_hexadecimal(buffer, position, end)
        elif opcode == OPEN:
            after = position
            first = position << 32
        elif opcode == CLOSE:
            opened = height - _THREE
            while work[opened] != at_index(code, word + 2):
                opened -= _THREE
            begin = work[opened + _ONE] >> 32
            work[opened + _ONE] = begin << 32 | (position - begin)
            word = at_index(code, word + 1)
            continue
        elif opcode == RETRY:
            after = find_end(
                buffer, position, end, code, text, at_index(code, word + 4), at_index(code, word + 3)
            )
            first = position << 32 | (after - position)
        elif opcode == AGAIN:
            height -= _THREE
            begin = work[height + _ONE] >> 32
            if position <= end:
                after = find_end(
                    buffer, position, end, code, text, at_index(code, word + 4), at_index(code, word + 3)
                )
            first = begin << 32 | (after - begin)
        work[_LOOKED] = max(work[_LOOKED], looked)
        if after >= 0:
            work[height] = at_index(code, word + 2)
            work[height + _ONE] = first
            work[height + _TWO] = second
            height += _THREE
            if opcode >= RETRY and opcode <= AGAIN:
                work[depth] = word if opcode == AGAIN else word + 5
                work[depth + _ONE] = after + 1
                work[depth + _TWO] = np.int64(height)
                depth += _THREE
            position = after
            word = at_index(code, word + 1)
            # What follows a field is most often one byte: here it costs no jump.
            if (
                at_index(code, word) == BYTE
                and position < end
                and at_index(buffer, position) == at_index(code, word + 2)
            ):
                position += 1
                word = at_index(code, word + 1)
            continue
        if depth == _STACK_START:
            return np.int64(-1), np.int64(0)
        depth -= _THREE
        word = work[depth]
        position = work[depth + _ONE]
        work[_WENT_BACK] = min(work[_WENT_BACK], position)
        height = np.uint64(work[depth + _TWO])


@kernel
def _enum(buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, word: Number) -> Number:
    """Position after the first word of an ENUM that is here (-1 when none is), and its number."""
    for index in range(at_index(code, word + 3)):
        entry = word + 4 + 3 * index
        length = at_index(code, entry + 1)
        if position + length <= end and same_text(buffer, position, text, at_index(code, entry), length):
            return position + length, at_index(code, entry + 2)
    return np.int64(-1), np.int64(0)
