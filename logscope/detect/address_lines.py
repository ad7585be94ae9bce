"""Lines in which a mail server holds something against an address, or for it: limits, failed logins, lists.

Only so many of a kind are looked at, for an attack writes millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from logscope.detect.header_lines import MOST_EXAMPLES, Example

LIMIT, LOGIN, ALLOWLISTED, DENYLISTED, LISTED = (
    "limit", "login", "allowlisted", "denylisted", "listed",
)  # fmt: skip
"""What a line tells: a limit of anvil(8) was exceeded; a login failed; postscreen's lists or DNSBL score "
"decided."""

KINDS = {
    "smtpd.connection_concurrency_limit": LIMIT,
    "smtpd.connection_rate_limit": LIMIT,
    "smtpd.message_rate_limit": LIMIT,
    "smtpd.recipient_rate_limit": LIMIT,
    "smtpd.new_tls_rate_limit": LIMIT,
    "smtpd.auth_rate_limit": LIMIT,
    "postscreen.reject_connect": LIMIT,
    "smtpd.sasl_failed": LOGIN,
    "postscreen.allowlisted": ALLOWLISTED,
    "postscreen.denylisted": DENYLISTED,
    "postscreen.dnsbl_rank": LISTED,
}
"""By kind of line."""
MOST_LOOKED_AT = {LIMIT: 10_000, LOGIN: 10_000, ALLOWLISTED: 500, DENYLISTED: 500, LISTED: 500}
"""Lines of one source; of those that sessions tell, too, only an example is wanted."""
FIELDS = frozenset({"client_address", "sasl_username", "observed_count", "dnsbl_rank"})
"""What is read of a line."""
MOST_ADDRESSES = 4096
MOST_USERS = 64


@dataclass
class AddressLines:
    """What one host told of one address.

    Attributes:
        count: lines that were looked at, each as often as it says that it was repeated.
        users: names whose login failed, as far as lines have them (Postfix 3.8 and later), up to
            `MOST_USERS`.
        largest: the largest score or count told.
    """

    what: str
    mta_host: str | None
    address: str
    count: int = 0
    users: set[str] = field(default_factory=set)
    largest: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str | None, str]:
        """What it is found by."""
        return self.what, self.mta_host, self.address

    @property
    def wants_examples(self) -> bool:
        """Whether there is room for one more."""
        return len(self.examples) < MOST_EXAMPLES

    def add(self, values: Mapping[str, Any], repeats: int) -> None:
        """Take in one line with its fields."""
        self.count += repeats
        if (user := values.get("sasl_username")) and len(self.users) < MOST_USERS:
            self.users.add(str(user))
        self.largest = max(self.largest, values.get("observed_count") or values.get("dnsbl_rank") or 0)

    def join(self, other: AddressLines) -> None:
        """Take in what another source told."""
        self.count += other.count
        self.users |= other.users
        self.largest = max(self.largest, other.largest)
        self.examples = (self.examples + other.examples)[:MOST_EXAMPLES]
