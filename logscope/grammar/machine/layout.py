"""How the kernel and its caller share arrays: words of `control`, columns of the row matrices, return
values.
"""

from __future__ import annotations

from logscope.grammar.ops import MAX_CAPTURES

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
CONTROL_WORDS = 16
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
FIRST_START = 2
START_COLUMNS = 6
NAMES_A_LINE = MAX_CAPTURES
"""No line adds more names than this."""
