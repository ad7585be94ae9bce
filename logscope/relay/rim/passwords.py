"""Passwords, as scrypt hashes (RFC 7914) in a file: `alice@example.com:scrypt$16384$8$1$SALT$HASH` on each
line."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from logscope.errors import InputError, Place
from logscope.unreadable import reason

_COST, _BLOCK, _PARALLEL = 16384, 8, 1
_MEMORY = 64 * 1024 * 1024


def hashed(password: str, salt: bytes | None = None) -> str:
    """A password as it may be kept."""
    salt = os.urandom(16) if salt is None else salt
    digest = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    parts = [base64.b64encode(part).decode() for part in (salt, digest)]
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *parts])


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one that was hashed."""
    _, cost, block, parallel, salt, digest = kept.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY, dklen=32)


class Users:
    """Those who may log in."""

    def __init__(self, path: Path) -> None:
        self._kept = _read(path)
        self._nobody = hashed("")

    def check(self, username: str, password: str) -> bool:
        """Whether this is a user's password. Takes as long for a name that does not exist."""
        kept = self._kept.get(username)
        correct = matches(password, kept or self._nobody)
        return correct and kept is not None


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {reason(error)}", place=Place(str(path))) from None
    kept = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, digest = line.strip().partition(":")
        parts = digest.split("$")
        if not colon or len(parts) != 6 or parts[0] != "scrypt":
            hint = "Write NAME:HASH; `logscope relay password` makes the hash."
            raise InputError("no hashed password", place=Place(str(path), number), hint=hint)
        kept[name] = digest
    return kept
