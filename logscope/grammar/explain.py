"""Why a line was read the way it was, or why it was not.

The scanner says which template matched; when none did, the reference matcher is asked how far each template
that was tried came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.dispatch import HAPROXY_LINE, POSTFIX_LINE, Dispatcher
from logscope.grammar.fields import text_of
from logscope.grammar.interpret import Log
from logscope.grammar.model import ENVELOPE, HAPROXY, Template
from logscope.grammar.reference import Mismatch, Reference
from logscope.grammar.surface import captured

NO_MESSAGE = (b"", b"-")
"""What stands where a line of RFC 5424 says nothing."""
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Attempt:
    """A template that was tried and how far it came."""

    template: Template
    mismatch: Mismatch


@dataclass(frozen=True, slots=True)
class Explanation:
    """What logscope sees in one line.

    Attributes:
        envelope: the envelope's template, or None; `envelope_values` are its fields.
        message: the text after the envelope.
        column: where the message begins in the line, from 1.
        template: the template that matched the message, or None; `values` are its fields.
        kind: its kind, `unparsed` or `foreign`.
        reason: why nothing matched; empty when something did.
        nearest: the templates that came furthest, when none matched; columns count from the beginning of
            the message.
    """

    line: str
    envelope: Template | None
    envelope_values: dict[str, Any]
    message: str
    column: int
    template: Template | None
    values: dict[str, Any]
    kind: str
    reason: str = ""
    nearest: list[Attempt] = field(default_factory=list)


def explain(line: str | bytes, catalogue: Catalogue) -> Explanation:
    """Explain one line (without its line feed)."""
    data = (line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line).rstrip(b" \t\r\n")
    dispatcher = Dispatcher(catalogue)
    envelope, outer = _match(catalogue, data, [dispatcher.envelope])
    service = outer.get("service")
    whose, words, structured = (
        dispatcher.without_service() if service is None else dispatcher.programs(service)
    )
    spans = _spans(catalogue, data, dispatcher)
    start, end = spans.get("message", (0, len(data)))
    message = data[start:end]
    template: Template | None = None
    values: dict[str, Any] = {}
    if structured >= 0 and "structured_data" in spans:
        from_bracket = spans["structured_data"][0] - 1
        template, values = _match(catalogue, data[from_bracket:end], [structured])
    if template is None:
        template, values = _match(catalogue, message, words)
    common = (text_of(data), envelope, outer, text_of(message), start + 1, template, values)
    if template is not None:
        return Explanation(*common, kind=template.kind)
    if whose not in (POSTFIX_LINE, HAPROXY_LINE):
        return Explanation(
            *common, kind="foreign", reason=f"{service} is neither HAProxy nor a Postfix daemon"
        )
    tried = list(_tried(catalogue, service, dispatcher))
    nearest = _nearest(catalogue, message, tried)
    reason = "no syslog envelope; " if envelope is None else ""
    is_data = envelope is not None and envelope.kind == "envelope.rfc5424" and "structured_data" not in spans
    if message in NO_MESSAGE or (is_data and message.startswith(b"[")):
        reason += "it has no message; "
    reason += f"none of {len(tried)} templates of {_daemon(service)} matches"
    return Explanation(*common, kind="unparsed", reason=reason, nearest=nearest)


def _daemon(service: str | None) -> str:
    return service.rpartition("/")[2] if service else HAPROXY


def _match(catalogue: Catalogue, data: bytes, words: list[int]) -> tuple[Template | None, dict[str, Any]]:
    for word in words:
        log: Log = []
        number = catalogue.machine.match(data, 0, len(data), word, log)
        if number >= 0:
            return catalogue.templates[number], captured(catalogue, log, data)
    return None, {}


def _spans(catalogue: Catalogue, data: bytes, dispatcher: Dispatcher) -> dict[str, tuple[int, int]]:
    """Where the message, and the structured data before it, begin and end."""
    log: Log = []
    catalogue.machine.match(data, 0, len(data), dispatcher.envelope, log)
    numbers = {catalogue.field_id(name): name for name in ("message", "structured_data")}
    return {
        numbers[number]: (value >> 32, (value >> 32) + (value & 0xFFFF_FFFF))
        for number, value, _ in log
        if number in numbers
    }


def _tried(catalogue: Catalogue, service: str | None, dispatcher: Dispatcher) -> Iterator[Template]:
    programs = dispatcher.names(service)
    for template in catalogue.templates:
        if ENVELOPE not in template.programs and programs.intersection(template.programs):
            yield template


def _nearest(catalogue: Catalogue, message: bytes, templates: list[Template]) -> list[Attempt]:
    attempts = []
    for template in templates:
        found = Reference(catalogue.details[template.id].sequence).match(message)
        if isinstance(found, Mismatch):
            attempts.append(Attempt(template, found))
    attempts.sort(key=lambda attempt: (-attempt.mismatch.column, not attempt.template.structured))
    return attempts[:_NEAREST]
