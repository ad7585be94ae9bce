"""SMTP commands taken apart: words, paths and parameters (RFC 5321 sections 4.1.1 and 4.1.2).

Like Postfix's own tokenizer this is generous: blanks after the colon, a path without angle brackets, quoted
local parts and source routes are understood. An address comes out without its brackets and quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_WORD = re.compile(
    r"""\s*(
        <(?:"(?:[^"\\]|\\.)*"|[^">\\]|\\.)*>    # <path>, with quoted parts inside
      | (?i:from|to):                           # MAIL FROM: and RCPT TO: end in their colon
      | (?:"(?:[^"\\]|\\.)*"|[^\s<"])+          # anything else, up to a blank
      | [<"]                                    # an opening that is never closed
    )""",
    re.VERBOSE,
)
_ATOM = re.compile(r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+")
_DOMAIN = re.compile(
    r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9_.\u0080-\U0010ffff-]*[A-Za-z0-9\u0080-\U0010ffff])?\.?"
)
_LITERAL = re.compile(r"\[[0-9A-Za-z:.]{2,60}\]")
_QUOTED = re.compile(r'"((?:[^"\\\r\n\x00]|\\[^\r\n\x00])*)"')


def words(line: str) -> list[str]:
    """The words of a command line; the path of MAIL and RCPT is one of them, brackets included.

    >>> words('MAIL FROM:<"a b"@example.com> SIZE=10')
    ['MAIL', 'FROM:', '<"a b"@example.com>', 'SIZE=10']
    """
    if "<" not in line and '"' not in line and ":" not in line:
        return line.split()
    return _WORD.findall(line)


@dataclass(frozen=True, slots=True)
class Address:
    """An envelope address in two parts, unquoted. The empty sender has neither."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def external(self) -> str:
        """As it stands in MAIL and RCPT: the local part quoted where it must be."""
        local = self.local
        if local and not all(_ATOM.fullmatch(atom) for atom in local.split(".")):
            local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
        return f"{local}@{self.domain}" if self.domain else local


@lru_cache(maxsize=4096)
def address(path: str) -> Address | None:
    """The address of a path, with or without angle brackets; None when it is none.

    >>> str(address("<@relay.example,@b.example:user@example.com>"))
    'user@example.com'
    """
    text = path[1:-1] if path.startswith("<") and path.endswith(">") else path
    text = text.strip(" ")
    if len(text) > 512:
        return None
    if text.startswith("@") and ":" in text:
        route, _, text = text.partition(":")
        if "<" in route:
            return None
    if not text:
        return Address("", "")
    local, rest = _local_part(text)
    if local is None:
        return None
    if not rest:
        return Address(local, "")
    domain = rest.removeprefix("@")
    if rest == domain or not (_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain)) or ".." in domain:
        return None
    return Address(local, domain.rstrip("."))


def _local_part(text: str) -> tuple[str | None, str]:
    quoted = _QUOTED.match(text)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :]
    local, at, domain = text.rpartition("@")
    local, rest = (local, at + domain) if at else (text, "")
    return (local, rest) if all(map(_ATOM.fullmatch, local.split("."))) else (None, "")


def xtext(value: str) -> str | None:
    """Undo the `+3D` escapes of RFC 3461 section 4; None when it is no xtext."""
    if not re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", value):
        return None
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), value)
