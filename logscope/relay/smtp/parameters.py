"""The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from logscope.relay.smtp.words import xtext


class ParameterError(ValueError):
    """A parameter is unknown or malformed; the text is the whole reply."""


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL says beside the sender.

    Attributes:
        envelope_id, returned: ENVID and RET.
    """

    eight_bit: bool = False
    smtputf8: bool = False
    envelope_id: str = ""
    returned: str = ""


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What RCPT says beside the recipient: NOTIFY, and ORCPT as it stands."""

    notify: tuple[str, ...] = ()
    original: str = ""


def of_mail(parameters: Sequence[str], size_limit: int) -> MailParameters:
    """Read the parameters of MAIL.

    Args:
        size_limit: bytes of a message; 0 for no limit.

    Raises:
        ParameterError: one of them is wrong, or the message is too large.
    """
    found = MailParameters()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        match name.upper():
            case "SIZE":
                _check_size(value, size_limit)
            case "BODY" if value.upper() in ("7BIT", "8BITMIME"):
                found = replace(found, eight_bit=value.upper() == "8BITMIME")
            case "SMTPUTF8" if not value:
                found = replace(found, smtputf8=True)
            case "AUTH":
                pass  # nobody is trusted to say who submitted the message (RFC 4954 section 5)
            case "RET":
                if value.upper() not in ("FULL", "HDRS") or found.returned:
                    raise ParameterError("501 5.5.4 Bad RET parameter syntax")
                found = replace(found, returned=value.upper())
            case "ENVID":
                envelope_id = xtext(value)
                if not envelope_id or found.envelope_id:
                    raise ParameterError("501 5.5.4 Bad ENVID parameter syntax")
                found = replace(found, envelope_id=envelope_id)
            case _:
                raise ParameterError(f"555 5.5.4 Unsupported option: {parameter}")
    return found


def _check_size(value: str, limit: int) -> None:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ParameterError("501 5.5.4 Bad message size syntax")
    if limit and int(value) > limit:
        raise ParameterError("552 5.3.4 Message size exceeds fixed limit")


def of_rcpt(parameters: Sequence[str]) -> RcptParameters:
    """Read the parameters of RCPT.

    Raises:
        ParameterError: one of them is wrong.
    """
    found = RcptParameters()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        match name.upper():
            case "NOTIFY":
                notify = tuple(value.upper().split(","))
                if found.notify or not _is_notify(notify):
                    raise ParameterError("501 5.5.4 Error: Bad NOTIFY parameter syntax")
                found = replace(found, notify=notify)
            case "ORCPT":
                kind, semicolon, address = value.partition(";")
                if found.original or not kind or not semicolon or xtext(address) is None:
                    raise ParameterError("501 5.5.4 Error: Bad ORCPT parameter syntax")
                found = replace(found, original=value)
            case _:
                raise ParameterError(f"555 5.5.4 Unsupported option: {parameter}")
    return found


def _is_notify(notify: tuple[str, ...]) -> bool:
    """`NEVER`, or some of the three events, each once."""
    events = {"SUCCESS", "FAILURE", "DELAY"}
    return notify == ("NEVER",) or (len(set(notify)) == len(notify) and set(notify) <= events)
