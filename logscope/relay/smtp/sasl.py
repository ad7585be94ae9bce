"""AUTH PLAIN (RFC 4616) and LOGIN: from responses to a name and a password.

A dialogue is a generator: it yields what the client is to be shown, is sent the client's answer, and
returns the name and the password.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client claims to be, unproven."""

    username: str
    password: str


class SaslError(ValueError):
    """The exchange is not one of this mechanism."""


class AbortedError(SaslError):
    """The client gave up, with `*`."""


Exchange = Generator[str, str, Credentials]


def plain(initial: str | None) -> Exchange:
    """One response: authorization identity, name and password, separated by NUL."""
    response = initial if initial is not None else (yield "")
    parts = _decoded(response).split("\0")
    if len(parts) != 3 or not parts[1]:
        raise SaslError("Invalid authentication response")
    if parts[0] not in ("", parts[1]):
        raise SaslError("Authorization identity differs from the user")
    return Credentials(parts[1], parts[2])


def login(initial: str | None) -> Exchange:
    """Asks for `Username:` and `Password:`; an initial response is the name."""
    username = _decoded(initial if initial is not None else (yield _encoded("Username:")))
    password = _decoded((yield _encoded("Password:")))
    if not username:
        raise SaslError("Invalid authentication response")
    return Credentials(username, password)


MECHANISMS = {"PLAIN": plain, "LOGIN": login}


def _decoded(response: str) -> str:
    if response == "*":
        raise AbortedError
    try:
        return base64.b64decode("" if response == "=" else response, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise SaslError("Invalid base64 data in response") from None


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
