"""IPv4 and IPv6 addresses (RFC 4291 section 2.2, RFC 5952), and which part of a run of characters is one."""

from __future__ import annotations

from logscope.engine import kernel
from logscope.grammar.machine.base import ADDRESS, CLASSES, DIGIT, HEXDIGIT, Bytes, Number, at_index


@kernel
def _ipv4(buffer: Bytes, position: Number, end: Number) -> Number:
    """Four decimal numbers without leading zeros, which must fill the range; -1 when it is no address."""
    value = 0
    parts = 0
    at = position
    while True:
        number = 0
        first = at
        while at < end and at_index(CLASSES, at_index(buffer, at)) & DIGIT:
            number = number * 10 + at_index(buffer, at) - 48
            at += 1
            if number > 255:
                return -1
        if at == first or (at_index(buffer, first) == 48 and at > first + 1):
            return -1
        value = value << 8 | number
        parts += 1
        if parts == 4:
            return value if at == end else -1
        if at >= end or at_index(buffer, at) != 46:
            return -1
        at += 1


@kernel
def _ipv6(buffer: Bytes, position: Number, end: Number) -> Number:
    """An IPv6 address that fills the range: whether it is one, high and low half (RFC 4291 section 2.2)."""
    high = 0
    low = 0
    groups = 0
    gap = -1
    at = position
    if at + 1 < end and at_index(buffer, at) == 58:
        if at_index(buffer, at + 1) != 58:
            return False, 0, 0
        gap = 0
        at += 2
    while at < end:
        if groups == 8:
            return False, 0, 0
        number = 0
        first = at
        while at < end and at_index(CLASSES, at_index(buffer, at)) & HEXDIGIT:
            symbol = at_index(buffer, at)
            number = number << 4 | (symbol - 48 if symbol <= 57 else (symbol | 32) - 87)
            at += 1
            if at - first > 4:
                return False, 0, 0
        if at < end and at_index(buffer, at) == 46:
            number = _ipv4(buffer, first, end)
            if number < 0 or groups > 6:
                return False, 0, 0
            high = high << 32 | (low >> 32 & 0xFFFFFFFF)
            low = low << 32 | number
            groups += 2
            at = end
            break
        if at == first:
            return False, 0, 0
        high = high << 16 | (low >> 48 & 0xFFFF)
        low = low << 16 | number
        groups += 1
        if at == end:
            break
        if at_index(buffer, at) != 58:
            return False, 0, 0
        at += 1
        if at == end:
            return False, 0, 0
        if at_index(buffer, at) == 58:
            if gap >= 0:
                return False, 0, 0
            gap = groups
            at += 1
    if gap < 0:
        return groups == 8, high, low
    if groups > 7:
        return False, 0, 0
    # Groups after the gap stay at the right end; those before it move up by the missing ones.
    after = groups - gap
    shift = (8 - groups) * 16
    tail = after * 16
    return True, *_spread(high, low, tail, shift)


@kernel
def _spread(high: Number, low: Number, tail: Number, shift: Number) -> Number:
    """Keep the lowest `tail` bits of a 128-bit number and move the others up by `shift`; 0 < tail + shift
    <= 128.
    """
    kept_high = 0
    kept_low = 0
    if tail >= 64:
        kept_low = low
        kept_high = high & ((1 << (tail - 64)) - 1)
        high = high & ~((1 << (tail - 64)) - 1)
        low = 0
    elif tail > 0:
        kept_low = low & ((1 << tail) - 1)
        low = low & ~((1 << tail) - 1)
    while shift > 0:
        high = high << 16 | (low >> 48 & 0xFFFF)
        low = low << 16
        shift -= 16
    return high | kept_high, low | kept_low


@kernel
def _address(buffer: Bytes, position: Number, end: Number) -> Number:
    """An address of either family that fills the range: whether it is one, high and low half."""
    at = position
    while at < end and at_index(buffer, at) != 58:
        at += 1
    if at < end:
        return _ipv6(buffer, position, end)
    number = _ipv4(buffer, position, end)
    return number >= 0, 0, 0xFFFF_0000_0000 | number


@kernel
def _plain_ipv4(buffer: Bytes, position: Number, end: Number, colon: Number) -> Number:
    """The usual case in one pass: an IPv4 address that ends where its run of characters does, or with a colon
    where the run has no other. Position after it (-1 when it is not so plain), and its number.
    """
    at = position
    value = 0
    for part in range(4):
        number = 0
        first = at
        while at < end and at < first + 4:
            digit = at_index(buffer, at) - 48
            if digit < 0 or digit > 9:
                break
            number = number * 10 + digit
            at += 1
        if at == first or number > 255 or (at_index(buffer, first) == 48 and at > first + 1):
            return -1, 0
        value = value << 8 | number
        if part < 3:
            if at >= end or at_index(buffer, at) != 46:
                return -1, 0
            at += 1
    if at == end or at_index(CLASSES, at_index(buffer, at)) & ADDRESS == 0:
        return (at if colon != 1 else -1), value
    if at_index(buffer, at) != 58 or colon == 0:
        return -1, 0
    behind = at + 1
    while behind < end and at_index(CLASSES, at_index(buffer, behind)) & ADDRESS:
        if at_index(buffer, behind) == 58:
            return -1, 0
        behind += 1
    return at, value


@kernel
def read_address(buffer: Bytes, position: Number, end: Number, colon: Number) -> Number:
    """Position after an address (-1 when it is none), high and low half."""
    after, number = _plain_ipv4(buffer, position, end, colon)
    if after >= 0:
        return after, 0, 0xFFFF_0000_0000 | number
    at = position
    last_colon = -1
    while at < end and at_index(CLASSES, at_index(buffer, at)) & ADDRESS:
        if at_index(buffer, at) == 58:
            last_colon = at
        at += 1
    if at == position:
        return -1, 0, 0
    if colon != 1:
        good, high, low = _address(buffer, position, at)
        if good:
            return at, high, low
    if colon != 0 and last_colon > position:
        good, high, low = _address(buffer, position, last_colon)
        if good:
            return last_colon, high, low
    return -1, 0, 0
