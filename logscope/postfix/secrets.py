r"""What clients say to log in, where Postfix quotes them: it is shown to nobody.

postscreen and smtpd log what a client said out of turn (`PREGREET`, `COMMAND PIPELINING`, `NON-SMTP COMMAND`,
`improper command pipelining`), escaped as in C; a bot that says `AUTH PLAIN …` before it is asked leaves its
password in the log. What follows an AUTH command in such text is left out to its end, because the lines after
`AUTH LOGIN` are user name and password; so is all of what was said after an AUTH command.

    >>> redacted(r"EHLO x\r\nAUTH PLAIN AGFsaWNlAHMzY3JldA==\r\n")
    'EHLO x\\r\\nAUTH PLAIN [redacted]'
"""

from __future__ import annotations

import re

HIDDEN = "[redacted]"

_END = r"(?:\s|\\[rn])"
_COMMAND = r"(?:(?<![A-Za-z])|(?<=\\[rn]))(AUTH[ \t]+[A-Za-z][\w-]*)"
_LOGIN = re.compile(rf"{_COMMAND}{_END}+(?!{_END}|$).*", re.IGNORECASE | re.DOTALL)
_AFTER_LOGIN = re.compile(r"( after AUTH(?: from \S+)?:\s+)\S.*", re.IGNORECASE | re.DOTALL)
_QUOTING = re.compile(
    r"PREGREET|PIPELINING|NON-SMTP COMMAND|BARE NEWLINE|sent non-SMTP command|haproxy read"
    r"|command pipelining|replacing (?:client )?command|Illegal address syntax",
    re.IGNORECASE,
)
_CODED = re.compile(rf"{_COMMAND}{_END}+[A-Za-z0-9+/]{{8,}}.*", re.IGNORECASE | re.DOTALL)
"""In text that may not be a client's: what looks like base64; servers say `AUTH LOGIN first`, too."""


def redacted(text: str, stage: str | None = None) -> str:
    """What a client said, without what it logs in with.

    Args:
        stage: the command after which it was said, if that is known.
    """
    if stage is not None and stage.upper() == "AUTH" and text.strip():
        return HIDDEN
    return _LOGIN.sub(rf"\1 {HIDDEN}", text)


def redacted_line(line: str) -> str:
    """A line of a log, or its message, in which a client may be quoted."""
    if "AUTH" not in line.upper():
        return line
    if _QUOTING.search(line) is None:
        return _CODED.sub(rf"\1 {HIDDEN}", line)
    return redacted(_AFTER_LOGIN.sub(rf"\1{HIDDEN}", line))
