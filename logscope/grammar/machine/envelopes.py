"""Remembers what stood before messages: the lines of one host, program and process differ in the stamp alone.

What `match` finds out about an envelope depends on its bytes only as far as it looked. So when it looked no
further than the first byte of the message, never went back to before the stamp, and the message is all the
rest, then another line with a stamp of the same form, the same bytes up to the message and the same first
byte of the message has the same outcome, whatever the grammars say. `work` has what `match` noted: how far it
looked, how far it went back, and where the stamp was.

A place of the memory is a row of it: how long the envelope is behind the stamp, the line's first byte and the
stamp's form; the codes of host and service, and the process id; as four words of bits, what messages were
seen to begin with; and the bytes of the envelope behind the stamp.
"""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.base import (
    BLANK,
    Bytes,
    Number,
    Numbers,
    at_index,
    bit_count,
    same_text,
    word_at,
)
from logscope.grammar.machine.layout import (
    HOST_CODE,
    KEY,
    KEY_WORDS,
    LEARNT,
    LOOKED,
    MESSAGE_BITS,
    PID_SEEN,
    SERVICE_CODE_SEEN,
    SHAPE,
    STAMP_BEGIN,
    STAMP_END,
    STAMP_FORM,
    STAMP_LENGTH,
    STAMP_LINE,
    STAMP_VALUE,
    STAMP_VALUE_KIND,
    STAMPS_READ,
    WENT_BACK,
)
from logscope.grammar.machine.stamps import read_stamp

_SHORTEST = 8
_LONGEST = 8 * KEY_WORDS
_REACH = 128
"""So many bytes are in the buffer from the start of a line that is remembered: stamp, key, and some."""
_BLANKS = np.uint64(0x2020202020202020)
_LOW_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_HIGH_BITS = np.uint64(0x8080808080808080)
_GATHER = np.uint64(0x0102040810204080)
_SEVEN = np.uint64(7)
_TOP_BYTE = np.uint64(56)
_TOP_BITS = np.uint64(52)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@kernel
def recall(buffer: Bytes, position: Number, end: Number, control: Numbers, memory: Numbers) -> Number:
    """The place of the memory that has a line's envelope, or -1, and where the message begins; `control` has
    the stamp then.
    """
    if position + _REACH > len(buffer) or position >= end:
        return np.int64(-1), np.int64(0)
    first = at_index(buffer, position)
    learnt = control[LEARNT + first]
    if learnt == 0:
        return np.int64(-1), np.int64(0)
    after = _stamp(buffer, position, end, (learnt & 255) - 1, control)
    if after < 0:
        return np.int64(-1), np.int64(0)
    length = _through_blank(buffer, after, learnt >> 8)
    if length < _SHORTEST or after + length >= end:
        return np.int64(-1), np.int64(0)
    place = _place(buffer, after, length)
    if not _holds(buffer, after, length, memory, place, first << 16 | learnt):
        return np.int64(-1), np.int64(0)
    symbol = at_index(buffer, after + length)
    if (memory[place, MESSAGE_BITS + (symbol >> 6)] >> (symbol & 63)) & 1 == 0:
        return np.int64(-1), np.int64(0)
    return place, after + length


@kernel
def remember(
    buffer: Bytes,
    position: Number,
    end: Number,
    message: Number,
    host: Number,
    service: Number,
    pid: Number,
    control: Numbers,
    memory: Numbers,
    work: Numbers,
) -> Number:
    """Keep what `match` has just found out about an envelope, if it can be kept."""
    after = work[STAMP_END]
    length = message - after
    if (
        work[STAMPS_READ] != 1
        or work[STAMP_BEGIN] != position
        or work[WENT_BACK] < after
        or work[LOOKED] > message + 1
        or message >= end
        or position + _REACH > len(buffer)
        or message > position + _REACH - 8
        or length < _SHORTEST
        or length > _LONGEST
        or at_index(buffer, after) != BLANK
        or at_index(buffer, message - 1) != BLANK
    ):
        return False
    blanks = 0
    for at in range(after, message):
        blanks += at_index(buffer, at) == BLANK
    first = at_index(buffer, position)
    learnt = blanks << 8 | work[STAMP_FORM] + 1
    if control[LEARNT + first] != learnt:
        control[LEARNT + first] = learnt
        control[STAMP_LINE] = -1
    shape = first << 16 | learnt
    place = _place(buffer, after, length)
    if not _holds(buffer, after, length, memory, place, shape):
        memory[place, SHAPE] = shape << 8 | length
        memory[place, HOST_CODE] = host
        memory[place, SERVICE_CODE_SEEN] = service
        memory[place, PID_SEEN] = pid
        for index in range(KEY - MESSAGE_BITS):
            memory[place, MESSAGE_BITS + index] = 0
        last = (length - 1) >> 3
        for index in range(last):
            memory[place, KEY + index] = np.int64(word_at(buffer, after + 8 * index))
        memory[place, KEY + last] = np.int64(word_at(buffer, message - 8))
    symbol = at_index(buffer, message)
    memory[place, MESSAGE_BITS + (symbol >> 6)] |= np.int64(1) << (symbol & 63)
    return True


@kernel
def _stamp(buffer: Bytes, position: Number, end: Number, form: Number, control: Numbers) -> Number:
    """Position after the stamp that a line begins with, or -1; it goes into `control`. A blank has to follow
    it, which ends stamps of every form.
    """
    last = control[STAMP_LINE]
    length = control[STAMP_LENGTH]
    if (
        last >= 0
        and position + length < end
        and at_index(buffer, position + length) == BLANK
        and same_text(buffer, position, buffer, last, length)
    ):
        return position + length
    after, value, kind = read_stamp(buffer, position, end, form)
    if after < position + _SHORTEST or after >= end or at_index(buffer, after) != BLANK:
        return np.int64(-1)
    control[STAMP_LINE] = position
    control[STAMP_LENGTH] = after - position
    control[STAMP_VALUE] = value
    control[STAMP_VALUE_KIND] = kind
    return after


@kernel
def _through_blank(buffer: Bytes, start: Number, blanks: Number) -> Number:
    """How many bytes there are up to and with the blank of this number, 0 when it is too far away."""
    mask = _ZERO
    for index in range(KEY_WORDS):
        word = word_at(buffer, start + 8 * index) ^ _BLANKS
        others = (((word & _LOW_BITS) + _LOW_BITS) | word) & _HIGH_BITS
        mask |= (((others ^ _HIGH_BITS) >> _SEVEN) * _GATHER >> _TOP_BYTE) << np.uint64(8 * index)
    for _ in range(1, blanks):
        mask &= mask - _ONE
    if mask == _ZERO:
        return np.int64(0)
    return bit_count(~mask & (mask - _ONE)) + 1


@kernel
def _place(buffer: Bytes, start: Number, length: Number) -> Number:
    """Where an envelope is remembered, by some of its bytes: those of host, service and process number."""
    word = word_at(buffer, start) * _ODD
    word = (word ^ word_at(buffer, start + min(8, length - 8))) * _ODD
    word = (word ^ word_at(buffer, start + min(16, length - 8))) * _ODD
    word = (word ^ word >> np.uint64(29) ^ word_at(buffer, start + length - 8)) * _ODD
    return np.int64(word >> _TOP_BITS)


@kernel
def _holds(
    buffer: Bytes, start: Number, length: Number, memory: Numbers, place: Number, shape: Number
) -> Number:
    """Whether a place has these bytes of such a line."""
    if memory[place, SHAPE] != shape << 8 | length:
        return False
    last = (length - 1) >> 3
    index = 0
    while index < last:
        if word_at(buffer, start + 8 * index) != np.uint64(memory[place, KEY + index]):
            return False
        index += 1
    return word_at(buffer, start + length - 8) == np.uint64(memory[place, KEY + last])
