"""Addresses as haproxy.cfg writes them (section 11 of the configuration manual)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from logscope.errors import Place
from logscope.haproxy.sections import Directive
from logscope.haproxy.words import ConfigError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address as HAProxy writes them: `192.0.2.1:25`, `:::25`, `*:25`, `unix@/run/x`,
    `mx1.example.org:25`.

    Attributes:
        address: host or address without brackets or family prefix; empty for any address.
        port: None when none is given; for a range its first.
        last_port: the last port of a range, otherwise the same as `port`.
        offset: the port is relative to the client's destination port (`+1000`), as a server's may be.
        family: `ipv4@`, `unix@` and so on without the sign; empty when not written (a path is `unix`).
    """

    address: str
    port: int | None = None
    last_port: int | None = None
    offset: bool = False
    family: str = ""


_FAMILY = re.compile(r"(?P<family>[a-z0-9+]+)@(?P<rest>.*)")
_PORT = re.compile(r"(?P<rest>.*):(?P<sign>[+-])?(?P<port>\d+)(?:-(?P<last>\d+))?")
_WITHOUT_PORT = ("unix", "abns", "abnsz", "fd", "sockpair", "rhttp", "rev")


def endpoint(text: str, directive: Directive) -> Endpoint:
    """Read an address; `directive` is where it stands.

    Raises:
        ConfigError: its port is none.
    """
    with_family = _FAMILY.fullmatch(text)
    family, rest = (with_family["family"], with_family["rest"]) if with_family else ("", text)
    if rest.startswith("/"):
        return Endpoint(rest, family=family or "unix")
    if family.rpartition("+")[2] in _WITHOUT_PORT:
        return Endpoint(rest, family=family)
    with_port = _PORT.fullmatch(rest)
    if not with_port:
        return Endpoint(_host(rest.removesuffix(":")), family=family)
    first = int(with_port["port"])
    last = int(with_port["last"] or first)
    if last > 65535 or first > last:
        number = next(at for at, word in enumerate(directive.words) if text in word.text) - 1
        hint = "Ports go from 0 to 65535, a range from the lower to the higher."
        raise ConfigError(f"{with_port.group()!r} has no port", place=place_of(directive, number), hint=hint)
    sign = -1 if with_port["sign"] == "-" else 1
    return Endpoint(_host(with_port["rest"]), first * sign, last * sign, bool(with_port["sign"]), family)


def _host(text: str) -> str:
    """A host without brackets; `*` and nothing stand for any address, `::` for any of IPv6."""
    return "" if text == "*" else text.removeprefix("[").removesuffix("]")


def port(text: str, directive: Directive) -> int:
    """A port number.

    Raises:
        ConfigError: it is none.
    """
    if not text.isdigit() or int(text) > 65535:
        number = directive.arguments.index(text) if text in directive.arguments else -1
        raise ConfigError(
            f"{text!r} is no port", place=place_of(directive, number), hint="Write a number up to 65535."
        )
    return int(text)


def place_of(directive: Directive, number: int) -> Place:
    """The place of an argument, from 0; -1 is the keyword."""
    word = directive.words[number + 1]
    return replace(directive.place, column=word.column, width=max(1, len(word.text)))
