"""Text that ends where what follows can begin; `ops` describes stops and flags."""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.base import (
    AT_SIGN,
    BACKSLASH,
    BLANK,
    BRACKET,
    QUOTE,
    TAB,
    Bytes,
    Number,
    Words,
    at_index,
)
from logscope.grammar.ops import (
    FORBIDDEN,
    LAST,
    MAILBOX,
    NO_BRACKET,
    NO_SPACE,
    NOT_EMPTY,
    QUOTED,
    STOP_BEGINS,
    STOPS_HEAD,
)

RESTRICTED = NO_SPACE | NO_BRACKET
SPECIAL = QUOTED | MAILBOX | LAST


@kernel
def is_stop(buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number) -> Number:
    """Whether a stop begins here. `stops` is a word of `code`, see `ops`."""
    if position >= end:
        return at_index(code, stops + 1) == 1
    if at_index(text, at_index(code, stops + 2) + at_index(buffer, position)) & STOP_BEGINS == 0:
        return False
    for index in range(at_index(code, stops)):
        entry = stops + STOPS_HEAD + 3 * index
        offset = at_index(code, entry)
        length = at_index(code, entry + 1)
        if position + length > end or (at_index(code, entry + 2) and position + length != end):
            continue
        same = 1
        while same < length and at_index(buffer, position + same) == at_index(text, offset + same):
            same += 1
        if same >= length and at_index(buffer, position) == at_index(text, offset):
            return True
    return False


@kernel
def _is_forbidden(symbol: Number, flags: Number) -> Number:
    if flags & NO_SPACE and symbol in (BLANK, TAB):
        return True
    return flags & NO_BRACKET != 0 and symbol == BRACKET


@kernel
def find_rest(buffer: Bytes, position: Number, end: Number, flags: Number) -> Number:
    """End of a field that goes to the end of the line, or -1."""
    if flags & NOT_EMPTY and position == end:
        return np.int64(-1)
    if flags & RESTRICTED:
        for at in range(position, end):
            if _is_forbidden(at_index(buffer, at), flags):
                return -1
    return end


@kernel
def find_end(
    buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number, flags: Number
) -> Number:
    """Position where a bounded field ends, or -1."""
    if flags & SPECIAL == 0:
        after = _bounded_plain(buffer, position, end, code, text, stops)
    elif flags & LAST:
        after = _bounded_last(buffer, position, end, code, text, stops, flags)
    elif flags & MAILBOX:
        after = _bounded_mailbox(buffer, position, end, code, text, stops)
    else:
        after = _bounded_quoted(buffer, position, end, code, text, stops, flags)
    return after if after > position or flags & NOT_EMPTY == 0 else np.int64(-1)


@kernel
def _bounded_plain(
    buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number
) -> Number:
    """Position of the first place where a stop begins, or -1."""
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
            return at if at_index(code, stops + 1) == 1 and at == end else np.int64(-1)
        if kind & STOP_BEGINS and is_stop(buffer, at, end, code, text, stops):
            return at
        if kind & FORBIDDEN:
            return np.int64(-1)
        at += 1


@kernel
def _bounded_last(
    buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number, flags: Number
) -> Number:
    at = position
    while at < end and not _is_forbidden(at_index(buffer, at), flags):
        at += 1
    while at >= position:
        if is_stop(buffer, at, end, code, text, stops):
            return at
        at -= 1
    return -1


@kernel
def _closing_quote(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after the string that opens at `position`, or -1 when it is never closed."""
    at = position + 1
    while at < end:
        if at_index(buffer, at) == BACKSLASH:
            at += 1
        elif at_index(buffer, at) == QUOTE:
            return at + 1
        at += 1
    return -1


@kernel
def _bounded_quoted(
    buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number, flags: Number
) -> Number:
    closed = True
    at = position
    while not is_stop(buffer, at, end, code, text, stops):
        if at >= end or _is_forbidden(at_index(buffer, at), flags):
            return -1
        after = -1
        if closed and at_index(buffer, at) == QUOTE:
            after = _closing_quote(buffer, at, end)
            closed = after >= 0
        at = after if after >= 0 else at + 1
    return at


@kernel
def _bounded_mailbox(
    buffer: Bytes, position: Number, end: Number, code: Words, text: Bytes, stops: Number
) -> Number:
    at = position
    if at < end and at_index(buffer, at) == QUOTE and not is_stop(buffer, at, end, code, text, stops):
        after = _closing_quote(buffer, at, end)
        if after >= 0:
            local = after < end and at_index(buffer, after) == AT_SIGN
            if local or is_stop(buffer, after, end, code, text, stops):
                at = after
    return _bounded_plain(buffer, at, end, code, text, stops)
