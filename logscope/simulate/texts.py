"""The words that numbers of the model stand for: names, addresses, mailboxes, replies.

Only documentation names (RFC 2606, RFC 6761).
"""

from __future__ import annotations

from logscope.simulate.chance import trait
from logscope.simulate.layout import BEHAVIOURS

SENDER_DOMAINS = ("mail.example", "sender.example", "example.net", "news.example", "lists.example.org")
LOCAL_DOMAIN = "example.com"
RELAY_DOMAIN = "example.org"
RELAY_HOST = "inner.example.org"
RELAY_ADDRESS = "172.20.5.30"
TLS_PROTOCOL = "TLSv1.3"
TLS_CIPHER = "TLS_AES_256_GCM_SHA384"
DNSBL = ("zen.dnsbl.example", "bl.list.example")


def host_name(client: int) -> str:
    """What the client's address resolves to, there and back; `unknown` where it does not."""
    kind = trait(client, 5) % 10
    return "unknown" if kind < 4 else f"mx{client}.{SENDER_DOMAINS[client % len(SENDER_DOMAINS)]}"


def helo(client: int) -> str:
    """What the client calls itself."""
    name = host_name(client)
    return f"host{client % 9973}.dyn.example" if name == "unknown" else name


def sender(number: int, domain: int) -> str:
    """An envelope sender; a negative number is the null sender."""
    return "" if number < 0 else f"user{number}@{SENDER_DOMAINS[domain]}"


def user(number: int) -> str:
    """A login name."""
    return f"user{number}@{LOCAL_DOMAIN}"


def destination(number: int) -> tuple[str, str]:
    """Host and address of a next hop; a negative one is home of a sender's domain."""
    if number < 0:
        return f"mx.{SENDER_DOMAINS[-1 - number]}", f"192.0.2.{100 - number}"
    return f"mx.partner{number}.example", f"192.0.2.{number + 1}"


def remote_domain(number: int) -> str:
    """The domain that a next hop takes mail for."""
    return SENDER_DOMAINS[-1 - number] if number < 0 else f"partner{number}.example"


def queue_id(number: int) -> str:
    """A short queue id from the model's microseconds << 32 | inode."""
    return f"{number >> 32:05X}{number & 0xFFFFFFFF:X}"


def next_queue_id(number: int) -> str:
    """The id under which the next hop queued it."""
    return f"{number:08X}F"


REJECT_TEXTS = (
    "",
    "Recipient address rejected: User unknown in virtual mailbox table",
    "Relay access denied",
    "Helo command rejected: need fully-qualified hostname",
    "Sender address rejected: Domain not found",
    "Service unavailable; client blocked using " + DNSBL[0],
    "Service currently unavailable",
    "Recipient address rejected: Temporary lookup failure",
    "Client host rejected: Access denied",
)
"""What is said after the codes, by the number of the refusal."""


def refused_recipient(code: int) -> str:
    """The recipient that was refused: code is the client's number * 16 + that of the refusal."""
    client, kind = code >> 4, code & 15
    if kind == 1:
        return f"nobody{client % 997}@{LOCAL_DOMAIN}"
    if kind == 2:
        return f"victim{client % 997}@elsewhere.example"
    return f"box{client % 61}@{LOCAL_DOMAIN}"


def recipient(number: int, agent: int, place: int) -> str:
    """The mailbox that an agent delivers to: 0 here, 1 behind the relay, 2 at a next hop."""
    if agent == 0:
        return f"box{number % 61}@{LOCAL_DOMAIN}"
    if agent == 1:
        return f"anyone{number}@{RELAY_DOMAIN}"
    if place < 0:
        return f"user{number}@{remote_domain(place)}"
    return f"person{number}@{remote_domain(place)}"


def reply(kind: int, next_id: int, place: int, agent: int, number: int) -> str:
    """What stands in the parentheses of a delivery line."""
    host, address = (RELAY_HOST, RELAY_ADDRESS) if agent == 1 else destination(place)
    if kind == 0:
        return "delivered to maildir"
    if kind == 1:
        return f"250 2.0.0 Ok: queued as {next_queue_id(next_id)}"
    if kind == 5:
        return f"connect to {host}[{address}]:25: Connection timed out"
    who = recipient(number, agent, place)
    if kind == 2:
        said = f"450 4.2.0 <{who}>: Recipient address rejected: Greylisted"
    elif kind == 3:
        said = f"550 5.1.1 <{who}>: Recipient address rejected: User unknown"
    else:
        return f"host {host}[{address}] said: 421 4.7.0 Try again later (in reply to MAIL FROM command)"
    return f"host {host}[{address}] said: {said} (in reply to RCPT TO command)"


def counters(
    behaviour: int, tls: int, login: int, messages: int, refused: int, recipients: int, service: int
) -> list[tuple[str, list[int]]] | None:
    """smtpd's counters at disconnect: command to [accepted, all]; None where smtpd never was."""
    name = BEHAVIOURS[behaviour]
    if behaviour < 0:
        return None
    if name == "lost_connect":
        return []
    found = [("ehlo", [1 + tls, 1 + tls])]
    if tls:
        found.append(("starttls", [1, 1]))
    if name == "bad_password":
        return [*found, ("auth", [0, refused]), ("quit", [1, 1])]
    if login:
        found.append(("auth", [1, 1]))
    if name == "delivered":
        return [
            *found, ("mail", [messages, messages]), ("rcpt", [recipients, recipients]),
            ("data", [messages, messages]), ("quit", [1, 1]),
        ]  # fmt: skip
    if name in REFUSED:
        return [*found, ("mail", [1, 1]), ("rcpt", [0, 1]), ("quit", [1, 1])]
    if name == "too_many_errors":
        return [*found, ("mail", [1, 1]), ("rcpt", [0, refused])]
    if name in ("quit", "hoard"):
        return [*found, ("quit", [1, 1])]
    if name == "lost_rcpt":
        return [*found, ("mail", [1, 1]), ("rcpt", [1, 1])]
    if name == "lost_data":
        return [*found, ("mail", [1, 1]), ("rcpt", [1, 1]), ("data", [0, 1])]
    return found


REFUSED = ("unknown_user", "relay_denied", "helo_rejected", "sender_rejected")
