"""How the kernel and its caller share arrays: words of `control`, columns of the row matrices, return
values.
"""

from __future__ import annotations

from logscope.grammar.ops import MAX_CAPTURES, MAX_STACK

# What the kernel returns.
DONE = 0
NEED_ROWS = 1
NEED_ARENA = 2
NEED_NAMES = 3
NEED_SERVICE = 4
"""The programs of a service name (its code is in control[SERVICE_CODE]) are not known yet."""
# Words of `control`: where the scan stands, and what stays the same.
POSITION = 0
LIMIT = 1
FINAL = 2
ROWS = 3
ARENA_USED = 4
NAMES_COUNT = 5
NAMES_USED = 6
SERVICE_CODE = 7
ENVELOPE_START = 8
STAMP = 9
HOST = 10
SERVICE = 11
PID = 12
REPEAT_COUNT = 13
MESSAGE = 14
WIDEST = 15
# The stamp read last and the line it is in, -1 for none.
STAMP_LINE = 16
STAMP_LENGTH = 17
STAMP_VALUE = 18
STAMP_VALUE_KIND = 19
STRUCTURED_DATA = 20
LEARNT = 21
"""For each first byte of a line: one more than the form of the stamp of such lines (0: not known), and in the
next byte how many blanks stand between stamp and message.
"""
NAMES_MOST = LEARNT + 256
"""How many names there may be; ROOM: of how many bytes; REFUSED: how often there was no room for one."""
NAMES_ROOM = LEARNT + 257
NAMES_REFUSED = LEARNT + 258
CONTROL_WORDS = LEARNT + 259
# Rows of the column matrices.
LINE_START = 0
LINE_END = 1
START = 2
STAMP_NS = 3
PID_NUMBER = 4
REPEATS = 5
MESSAGE_START = 6
MESSAGE_END = 7
WIDE_COLUMNS = 8
TEMPLATE = 0
HOST_NAME = 1
SERVICE_NAME = 2
NARROW_COLUMNS = 3
STAMP_KIND = 0
NOT_UTF8 = 1
SMALL_COLUMNS = 2
# Columns of `starts`, one row for each name code after row 0, which is for lines without a service.
KNOWN = 0
WHOSE = 1
DATA_START = 2
"""Where messages are matched together with the structured data before them; -1 for never."""
FIRST_START = 3
START_COLUMNS = 7
NAMES_A_LINE = MAX_CAPTURES
"""No line adds more names than this."""
# Words of `work` behind captures and stack: what `match` noted on its way, see `envelopes`.
NOTES = 3 * (MAX_CAPTURES + 2) + 3 * (MAX_STACK + 4)
LOOKED = NOTES
"""No byte from here on had a say."""
WENT_BACK = NOTES + 1
"""The first position it went back to."""
STAMPS_READ = NOTES + 2
STAMP_BEGIN = NOTES + 3
STAMP_END = NOTES + 4
STAMP_FORM = NOTES + 5
WORK_WORDS = NOTES + 6
# Columns of the memory of envelopes.
MEMORY_PLACES = 4096
SHAPE = 0
HOST_CODE = 1
SERVICE_CODE_SEEN = 2
PID_SEEN = 3
MESSAGE_BITS = 4
KEY = 8
KEY_WORDS = 8
MEMORY_COLUMNS = KEY + KEY_WORDS
