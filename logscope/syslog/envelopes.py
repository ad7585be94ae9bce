"""Names of what can stand before a message, and why a line has nothing that could be read."""

from __future__ import annotations

import re
from typing import Final

JSON: Final = "json"
CONTAINER: Final = "container"
NAMES: Final = {
    "bsd": "RFC 3164, as in most files",
    "rfc3339": "the same with stamps of RFC 3339",
    "rfc5424": "RFC 5424",
    "journal": "journalctl -o short-full and short-unix (its other forms are bsd, rfc3339 and json)",
    CONTAINER: "Kubernetes' own files (CRI), docker logs -t",
    "short": "HAProxy, `log … format short`",
    "timed": "HAProxy, `log … format timed`",
    "iso": "HAProxy, `log … format iso`",
    "tag": "a program's tag and nothing else",
    "raw": "nothing: the line is the message",
    JSON: "an object a line, whose message has no envelope of its own",
}
"""Envelopes by the names that users give them; all but `json` and `raw` are kinds of line in
`grammars/syslog.toml`.
"""

NOT_RECOGNISED: Final = "no syslog envelope was recognised"
FOREIGN_MONTH: Final = "its month is not in English (write it with LC_ALL=C, or journalctl -o short-iso)"

_PRI = rb"(?:<\d{1,3}>)?"
_WORD = rb"[^\s\d<>\[\]:]{2,12}\.?"
_CLOCK = rb"(?: \d{4})? \d\d:\d\d:\d\d"
_DAY = rb"\d{1,2}\.?"
_LOCALISED: Final = re.compile(
    _PRI
    + rb"(?:"
    + _WORD
    + rb" {1,2}"
    + _DAY
    + rb"|"
    + _DAY
    + rb" "
    + _WORD
    + rb"|\d{1,2}\D{3} {1,2}"
    + _DAY
    + rb"),?"
    + _CLOCK
)  # `M\u00e4r 22`, `22. Okt.`, `11\u6708 22`, each with a clock behind
_ENGLISH: Final = re.compile(_PRI + rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} ")


def why_unread(line: bytes) -> str:
    """Why a line without a readable envelope has none, in a few words.

    >>> why_unread("Mär 22 09:20:30 mx-a postfix/qmgr[9]: 4BcDeF12345: removed".encode()) == FOREIGN_MONTH
    True
    """
    if _LOCALISED.match(line) and not _ENGLISH.match(line):
        return FOREIGN_MONTH
    return NOT_RECOGNISED
