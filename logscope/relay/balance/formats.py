"""A session's line in a `log-format` of one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from logscope.errors import SettingsError
from logscope.grammar.errors import RenderError
from logscope.grammar.language import parse
from logscope.grammar.render import SequenceWriter
from logscope.haproxy.log_format import translate
from logscope.relay.balance.session import Session
from logscope.relay.header import Endpoint


class SessionFormat:
    """One log-format.

    Args:
        log_format: as HAProxy sees it, without the quoting of its configuration file.

    Raises:
        LogFormatError: it is none.
        SettingsError: it asks for what the relay does not know.
    """

    def __init__(self, log_format: str) -> None:
        translated = translate(log_format)
        self._writer = SequenceWriter("haproxy.tcp_session", [parse(translated.text)])
        # A field that is written twice has a number behind its name the second time.
        self._fields = {name: re.sub(r"_\d+$", "", name) for name in translated.fields}
        try:
            self.write(_sample())
        except RenderError as error:
            hint = "HTTP, TLS and sample expressions have no meaning here."
            problem = error.message.partition(": ")[2]
            raise SettingsError(f"the relay cannot write this format: {problem}", hint=hint) from None

    def write(self, values: Mapping[str, Any]) -> bytes:
        """The line for these values; those that the format does not name are left out."""
        chosen = {
            name: values[name if name in values else plain]
            for name, plain in self._fields.items()
            if name in values or plain in values
        }
        return self._writer.write(chosen)


COUNTS = ("process_connections", "frontend_connections", "backend_connections", "server_connections")
"""What a line says of other sessions."""
OTHERS = ("process_id", "log_counter")
"""What it may say of the process: its number, and that of the line."""


def _sample() -> dict[str, Any]:
    """The values of a session of which everything is known."""
    client, server = Endpoint("192.0.2.10", 41522), Endpoint("192.0.2.25", 25)
    session = Session("ft", "bk", client, server, 0.0, source=client, server_end=server)
    moment = "2026-11-22T09:18:54.965"
    dates = {"accepted_at": moment, "accepted_at_utc": moment}
    return session.values(0.0) | session.further_values() | dates | dict.fromkeys((*COUNTS, *OTHERS), 1)
