"""The instructions of the matching machine.

A compiled grammar is one flat array of 32-bit words, `code`, and one array of bytes, `text`, which holds
the literals. An instruction is an opcode and its operands; NEXT is the word where matching goes on. The
machine keeps a position in the line, a log of captured fields, and a stack of (word, position, height of
the log) to come back to. When an instruction does not match, the top of that stack is where the machine
goes on; when the stack is empty, the line does not match. So a field is never asked to give something back,
and the work for a line stays proportional to its length.

    END t                           the line must end here; it is template t FAIL LITERAL NEXT offset length
    bytes text[offset:offset+length] BYTE    NEXT byte SWITCH  257 words               where to go for each
    first byte, the last one at the end of the line; -1 fails TEST    NEXT byte other         look, do not
    take: NEXT when the next byte is this one, else `other` CHOICE  NEXT other              remember `other`
    to come back to COMMIT  NEXT                    forget what was remembered last REST    NEXT field flags
    everything up to the end of the line UNTIL   NEXT field flags byte   everything up to the first such
    byte (no flag but NOT_EMPTY) BOUNDED NEXT field flags stops  up to the first (or last) place where one
    of `stops` begins RETRY   NEXT field flags stops  the same, and come back for the next stop when the
    rest does not match; AGAIN   NEXT field flags stops  the come-back of a RETRY, which stands right before
    it OPEN    NEXT field              a group begins here CLOSE   NEXT field              the group that
    began last under this number ends here FLAG    NEXT field offset length ENUM    NEXT field count (offset
    length value)...   the first of these that is there IP      NEXT field colon        colon: 1 a colon
    must follow, 2 may follow TIME    NEXT field format       one of the formats below INT UINT PORT HEX
    DECIMAL CODE DSN QUEUE_ID COUNTERS   NEXT field

A list of stops, at the word an instruction names, is: count, 1 if the end of the line is one, offset of a
table of 256 bytes in `text` (bit 1: a stop can begin with this byte, bit 2: the field cannot hold it), length
of the longest stop, then (offset, length, anchored) for each stop; an anchored stop counts only at the very
end of the line.
"""

from __future__ import annotations

from typing import Final

NULL: Final = -(2**63)
"""The arena value of a field that the line does not have."""

UNPARSED: Final = -1
FOREIGN: Final = -2

END: Final = 0
FAIL: Final = 1
LITERAL: Final = 2
BYTE: Final = 3
SWITCH: Final = 4
TEST: Final = 5
CHOICE: Final = 6
COMMIT: Final = 7
REST: Final = 8
UNTIL: Final = 9
BOUNDED: Final = 10
FLAG: Final = 11
ENUM: Final = 12
IP: Final = 13
TIME: Final = 14
INT: Final = 15
UINT: Final = 16
PORT: Final = 17
HEX: Final = 18
DECIMAL: Final = 19
CODE: Final = 20
DSN: Final = 21
QUEUE_ID: Final = 22
COUNTERS: Final = 23
RETRY: Final = 24
AGAIN: Final = 25
OPEN: Final = 26
CLOSE: Final = 27

END_OF_LINE: Final = 256
"""The symbol after the last byte in a SWITCH."""

STOP_BEGINS: Final = 1
FORBIDDEN: Final = 2
"""Bits of the table of a list of stops."""
STOPS_HEAD: Final = 4
"""Words of a list of stops before the first stop."""

# Flags of REST, UNTIL and BOUNDED.
NO_SPACE: Final = 1
"""Neither blank nor tab inside."""
NO_BRACKET: Final = 2
"""No `[` inside."""
NOT_EMPTY: Final = 4
QUOTED: Final = 8
"""A stop inside double quotes does not count."""
MAILBOX: Final = 16
"""The same, but only for quotes that open the field, as in a quoted local part."""
LAST: Final = 32
"""Ends at the last place where a stop begins instead of the first."""
RETRIED: Final = 64
"""Ends at the first stop from which the rest of the template matches."""

# Formats of TIME.
BSD: Final = 0
RFC3339: Final = 1
HAPROXY: Final = 2
CLF: Final = 3
EPOCH: Final = 4

# Bits of the kind of a time stamp.
YEARLESS: Final = 1
ZONED: Final = 2
MILLISECONDS: Final = 4
MICROSECONDS: Final = 8

# Columns of a line's end in `widths`: how a field's capture goes into the arena.
PLAIN: Final = 0
WIDE: Final = 1
INTERNED: Final = 2

SPAN_SHIFT: Final = 32
SPAN_LENGTH: Final = (1 << 32) - 1

MAX_STACK: Final = 96
MAX_CAPTURES: Final = 256
MAX_DIGITS: Final = 18
"""More digits than this could overflow 64 bits: such a number does not match."""
