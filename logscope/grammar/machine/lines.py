"""The machine of `ops` as one kernel that scans a chunk of bytes into rows.

It knows no log format: lines, an envelope program, and for each service name the programs to try, all of it
data. The plain-Python twin is `interpret`; both read the same table and must give the same rows.

Nothing grows inside: before each line the kernel makes sure that whatever the line may need is there, else
it returns and says what is short, and is called again to go on with that same line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel
from logscope.grammar.machine.base import BLANK, CR, LF, SPARE, TAB, Bytes, Number, Numbers, Words, at_index
from logscope.grammar.machine.envelopes import recall, remember
from logscope.grammar.machine.layout import (
    ARENA_USED,
    DATA_START,
    DONE,
    ENVELOPE_START,
    FINAL,
    FIRST_START,
    HOST,
    HOST_CODE,
    HOST_NAME,
    KNOWN,
    LIMIT,
    LINE_END,
    LINE_START,
    LOOKED,
    MESSAGE,
    MESSAGE_END,
    MESSAGE_START,
    NAMES_A_LINE,
    NAMES_COUNT,
    NAMES_USED,
    NEED_ARENA,
    NEED_NAMES,
    NEED_ROWS,
    NEED_SERVICE,
    NOT_UTF8,
    PID,
    PID_NUMBER,
    PID_SEEN,
    POSITION,
    REPEAT_COUNT,
    REPEATS,
    ROWS,
    SERVICE,
    SERVICE_CODE,
    SERVICE_CODE_SEEN,
    SERVICE_NAME,
    STAMP,
    STAMP_KIND,
    STAMP_NS,
    STAMP_VALUE,
    STAMP_VALUE_KIND,
    STAMPS_READ,
    START,
    START_COLUMNS,
    STRUCTURED_DATA,
    TEMPLATE,
    WENT_BACK,
    WHOSE,
    WIDEST,
)
from logscope.grammar.machine.match import match
from logscope.grammar.machine.names import intern_name
from logscope.grammar.ops import FOREIGN, INTERNED, NULL, SPAN_LENGTH, WIDE

_ZERO = np.uint64(0)
_ONES = np.uint64(0x0101010101010101)
_LINE_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)
_HIGH_BITS = np.uint64(0x8080808080808080)


@kernel
def _is_utf8(buffer: Bytes, start: Number, end: Number) -> Number:
    """Whether a range is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing past
    U+10FFFF).
    """
    at = start
    while at < end:
        lead = at_index(buffer, at)
        at += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else (2 if lead < 0xF0 else 3)
        if at + more > end:
            return False
        second = at_index(buffer, at)
        low = 0xA0 if lead == 0xE0 else (0x90 if lead == 0xF0 else 0x80)
        high = 0x9F if lead == 0xED else (0x8F if lead == 0xF4 else 0xBF)
        if second < low or second > high:
            return False
        for index in range(1, more):
            if at_index(buffer, at + index) & 0xC0 != 0x80:
                return False
        at += more
    return True


@kernel
def _line_end(buffer: Bytes, words: NDArray[np.uint64], position: Number, limit: Number) -> Number:
    """Position of the next line feed (or `limit`), and whether a byte above 127 is before it.

    words: the same bytes, eight at a time; bytes past its end are looked at one by one.
    """
    at = position
    seen = 0
    while at < limit and at & 7:
        if at_index(buffer, at) == LF:
            return at, seen >= 128
        seen |= at_index(buffer, at)
        at += 1
    index = at >> 3
    last = min(limit >> 3, len(words))
    high = _ZERO
    while index < last:
        word = words[np.uint64(index)]
        # A byte of `zeros` is zero where the word has a line feed; the subtraction borrows into its highest
        # bit.
        zeros = word ^ _LINE_FEEDS
        if (zeros - _ONES) & ~zeros & _HIGH_BITS != _ZERO:
            break
        high |= word
        index += 1
    at = max(at, index << 3)
    while at < limit and at_index(buffer, at) != LF:
        seen |= at_index(buffer, at)
        at += 1
    return at, seen >= 128 or high & _HIGH_BITS != _ZERO


@kernel
def scan(
    buffer: Bytes,
    words: NDArray[np.uint64],
    code: Words,
    text: Bytes,
    slot_of: NDArray[np.int16],
    widths: Numbers,
    captures: NDArray[np.int8],
    control: Numbers,
    wide: Numbers,
    narrow: Words,
    small: NDArray[np.int8],
    arena: Numbers,
    table: Words,
    offsets: Numbers,
    names: Bytes,
    starts: Words,
    work: Numbers,
    memory: Numbers,
) -> Number:
    """Scan lines from control[POSITION] on into rows; see the module for what is returned when there is
    no room.
    """
    limit = control[LIMIT]
    position = control[POSITION]
    capacity = wide.shape[1]
    while position < limit:
        line_end, high = _line_end(buffer, words, position, limit)
        if line_end == limit and control[FINAL] == 0:
            break
        row = control[ROWS]
        if row >= capacity:
            return NEED_ROWS
        if control[ARENA_USED] + control[WIDEST] > len(arena):
            return NEED_ARENA
        many = control[NAMES_COUNT] + NAMES_A_LINE
        if many >= len(offsets) - 1 or 2 * many >= len(table):
            return NEED_NAMES
        if control[NAMES_USED] + 2 * (line_end - position) + SPARE > len(names):
            return NEED_NAMES
        end = line_end
        while end > position and (
            at_index(buffer, end - 1) == CR
            or at_index(buffer, end - 1) == BLANK
            or at_index(buffer, end - 1) == TAB
        ):
            end -= 1

        stamp = NULL
        stamp_kind = 0
        host = np.int64(-1)
        service = np.int64(-1)
        pid = NULL
        repeats = np.int64(1)
        message = position
        message_end = end
        data = np.int64(-1)
        place, after_envelope = recall(buffer, position, end, control, memory)
        if place >= 0:
            message = after_envelope
            stamp = control[STAMP_VALUE]
            stamp_kind = control[STAMP_VALUE_KIND]
            host = memory[place, HOST_CODE]
            service = memory[place, SERVICE_CODE_SEEN]
            pid = memory[place, PID_SEEN]
            template = np.int64(-1)
            count = np.int64(0)
        else:
            work[LOOKED] = 0
            work[WENT_BACK] = end
            work[STAMPS_READ] = 0
            template, count = match(buffer, position, end, control[ENVELOPE_START], code, text, work)
        if template >= 0:
            for index in range(count):
                field = at_index(work, 3 * index)
                value = at_index(work, 3 * index + 1)
                if field == control[MESSAGE]:
                    message = value >> 32
                    message_end = message + (value & SPAN_LENGTH)
                elif field == control[STAMP]:
                    stamp = value
                    stamp_kind = at_index(work, 3 * index + 2)
                elif field == control[HOST]:
                    begin = value >> 32
                    host = intern_name(
                        buffer, begin, begin + (value & SPAN_LENGTH), table, offsets, names, control
                    )
                elif field == control[SERVICE]:
                    begin = value >> 32
                    service = intern_name(
                        buffer, begin, begin + (value & SPAN_LENGTH), table, offsets, names, control
                    )
                elif field == control[PID]:
                    pid = value
                elif field == control[REPEAT_COUNT]:
                    repeats = value
                elif field == control[STRUCTURED_DATA]:
                    data = (value >> 32) - 1  # the bracket before it
        if service + 1 >= len(starts) or starts[service + 1, KNOWN] == 0:
            control[SERVICE_CODE] = service
            return NEED_SERVICE
        if starts[service + 1, DATA_START] < 0:
            data = np.int64(-1)
        if template >= 0 and stamp != NULL and repeats == 1 and message_end == end and data < 0:
            remember(buffer, position, end, message, host, service, pid, control, memory, work)

        template = np.int64(-1)
        attempt = FIRST_START
        if data >= 0:
            template, count = match(
                buffer, data, message_end, np.int64(starts[service + 1, DATA_START]), code, text, work
            )
        while template < 0 and attempt < START_COLUMNS and starts[service + 1, attempt] >= 0:
            template, count = match(
                buffer, message, message_end, np.int64(starts[service + 1, attempt]), code, text, work
            )
            attempt += 1

        used = control[ARENA_USED]
        if template >= 0:
            for index in range(at_index(widths, template)):
                arena[np.uint64(used + index)] = NULL
            for index in range(count):
                field = at_index(work, 3 * index)
                value = at_index(work, 3 * index + 1)
                slot = used + np.int64(slot_of[np.uint64(template), np.uint64(field)])
                how = at_index(captures, field)
                if how == INTERNED:
                    begin = value >> 32
                    value = intern_name(
                        buffer, begin, begin + (value & SPAN_LENGTH), table, offsets, names, control
                    )
                elif how == WIDE:
                    arena[np.uint64(slot + 1)] = at_index(work, 3 * index + 2)
                arena[np.uint64(slot)] = value
            control[ARENA_USED] = used + at_index(widths, template)
        elif starts[service + 1, WHOSE] == 0:
            template = np.int64(FOREIGN)

        at_row = np.uint64(row)
        wide[LINE_START, at_row] = position
        wide[LINE_END, at_row] = line_end
        wide[START, at_row] = used
        wide[STAMP_NS, at_row] = stamp
        wide[PID_NUMBER, at_row] = pid
        wide[REPEATS, at_row] = repeats
        wide[MESSAGE_START, at_row] = message
        wide[MESSAGE_END, at_row] = message_end
        narrow[TEMPLATE, at_row] = template
        narrow[HOST_NAME, at_row] = host
        narrow[SERVICE_NAME, at_row] = service
        small[STAMP_KIND, at_row] = stamp_kind
        small[NOT_UTF8, at_row] = 1 if high and not _is_utf8(buffer, position, end) else 0
        control[ROWS] = row + 1
        position = line_end + 1 if line_end < limit else limit
        control[POSITION] = position
    return DONE
