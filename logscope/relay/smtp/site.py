"""What an SMTP server knows of itself and of its client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from logscope.relay.header import Endpoint
from logscope.relay.smtp.clients import ClientLimits
from logscope.relay.smtp.rules import Rules


@dataclass(frozen=True)
class Site:
    """What a server is told about itself.

    Attributes:
        hostname: in the banner, EHLO and Received.
        origin: domain of recipients that name none: `postmaster`.
        tls: whether STARTTLS is offered.
        tls_required: nothing else is served before it.
        auth: whether clients may log in; only ever under TLS.
        port_logging: `smtpd_client_port_logging`.
        soft_errors, hard_errors: replies are delayed from the first on; the session ends at the second.
        error_sleep_s: that delay.
        timeout_s: how long a client may be silent.
        junk_limit: commands that do nothing, before each is an error.
        service: name of the service in warnings.
    """

    hostname: str
    rules: Rules = field(default_factory=Rules)
    limits: ClientLimits = field(default_factory=ClientLimits)
    origin: str = ""
    tls: bool = False
    tls_required: bool = False
    auth: bool = False
    port_logging: bool = False
    soft_errors: int = 10
    hard_errors: int = 20
    error_sleep_s: float = 1.0
    timeout_s: float = 300.0
    junk_limit: int = 100
    service: str = "smtpd"

    @property
    def banner(self) -> str:
        return f"220 {self.hostname} ESMTP Postfix"


class Client(NamedTuple):
    """Who is connected, as far as it is known; `destination` is what it connected to."""

    name: str
    endpoint: Endpoint
    destination: Endpoint

    @property
    def address(self) -> str:
        return self.endpoint.address
