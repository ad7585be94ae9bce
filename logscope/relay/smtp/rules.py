"""Who may send what to whom: the restrictions of smtpd(8), and their replies.

As with `smtpd_delay_reject = yes` they are all evaluated when a recipient is given, in the order client,
helo, sender, relay, recipient. Mail is taken for configured domains from everybody, and for other domains
only from a client that has logged in: no network address ever earns the right to relay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from logscope.relay.smtp.words import Address

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LITERAL = re.compile(r"\[(?:IPv6:[0-9A-Fa-f:.]+|\d{1,3}(?:\.\d{1,3}){3})\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply in its parts."""

    code: int
    dsn: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.dsn} {self.text}"


@dataclass(frozen=True)
class Rules:
    """What is accepted.

    Attributes:
        domains: domain → the local parts it has, or None when it takes every one (as `relay_domains` do).
        helo_required: a client must introduce itself.
        check_helo: refuse host names that are malformed or not fully qualified.
        check_sender: refuse sender addresses without a full domain.
        unknown_domains: sender domains that are taken not to exist, as a resolver would say.
        forbidden_headers: beginnings of header lines that are refused, each with the text of its reply.
        message_limit: bytes of a message; 0 for no limit.
        recipient_limit: recipients of a message.
    """

    domains: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    helo_required: bool = True
    check_helo: bool = True
    check_sender: bool = True
    unknown_domains: frozenset[str] = frozenset()
    forbidden_headers: Mapping[str, str] = field(default_factory=dict)
    message_limit: int = 10_240_000
    recipient_limit: int = 1000

    def refuses(self, helo: str, sender: Address, recipient: Address, logged_in: bool) -> Reply | None:
        """Why a recipient is refused; None when it is accepted."""
        return (
            (None if logged_in else self._helo(helo))
            or self._sender(sender)
            or self._relay(recipient, logged_in)
            or self._recipient(recipient)
        )

    def _helo(self, helo: str) -> Reply | None:
        if not helo or not self.check_helo:
            return None
        if helo.startswith("["):
            valid = bool(_LITERAL.fullmatch(helo))
        else:
            labels = helo.rstrip(".").split(".")
            valid = len(helo) <= 255 and all(_LABEL.fullmatch(label) for label in labels)
            if valid and len(labels) < 2:
                text = f"<{helo}>: Helo command rejected: need fully-qualified hostname"
                return Reply(504, "5.5.2", text)
        return None if valid else Reply(501, "5.5.2", f"<{helo}>: Helo command rejected: Invalid name")

    def _sender(self, sender: Address) -> Reply | None:
        if not self.check_sender or not sender.local:
            return None
        if "." not in sender.domain and not sender.domain.startswith("["):
            text = f"<{sender}>: Sender address rejected: need fully-qualified address"
            return Reply(504, "5.5.2", text)
        if sender.domain.lower() in self.unknown_domains:
            return Reply(450, "4.1.8", f"<{sender}>: Sender address rejected: Domain not found")
        return None

    def _relay(self, recipient: Address, logged_in: bool) -> Reply | None:
        if logged_in or self.is_local(recipient):
            return None
        return Reply(554, "5.7.1", f"<{recipient}>: Relay access denied")

    def _recipient(self, recipient: Address) -> Reply | None:
        mailboxes = self.domains.get(recipient.domain.lower())
        if (
            mailboxes is None
            or recipient.local.lower() in mailboxes
            or recipient.local.lower() == "postmaster"
        ):
            return None
        text = f"<{recipient}>: Recipient address rejected: User unknown in virtual mailbox table"
        return Reply(550, "5.1.1", text)

    def is_local(self, recipient: Address) -> bool:
        """Whether mail for this address is taken from anybody."""
        return recipient.domain.lower() in self.domains

    def forbidden_header(self, content: bytes) -> tuple[str, str] | None:
        """The first header line that is refused, and the text for it."""
        if not self.forbidden_headers:
            return None
        head = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        for line in head.split("\r\n"):
            for beginning, text in self.forbidden_headers.items():
                if line.lower().startswith(beginning.lower()):
                    return line, text
        return None
