"""Delivery status notifications (RFC 3464): what a sender is told when mail is not delivered, or was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

from logscope.relay.queue.message import Message, Recipient
from logscope.relay.queue.schedule import Failure

_HEADERS_ONLY_FROM = 50_000
"""Bytes from which on a returned message is cut to its headers."""


def non_delivery(
    message: Message, failures: Sequence[Failure], host: str, queue_id: str, now: float
) -> Message:
    """The notice for failed recipients, as a message to the sender with an empty sender of its own."""
    lines = [f"<{failure.recipient.address}>: {failure.reason}" for failure in failures]
    reports = [_report(failure.recipient, "failed", failure.dsn, failure.reason) for failure in failures]
    return _notice(message, "Undelivered Mail Returned to Sender", lines, reports, host, queue_id, now)


def success(
    message: Message, recipients: Sequence[Recipient], host: str, queue_id: str, now: float
) -> Message:
    """The notice that `NOTIFY=SUCCESS` asks for."""
    lines = [f"<{recipient.address}>: delivered" for recipient in recipients]
    reports = [_report(recipient, "delivered", "2.0.0", "") for recipient in recipients]
    return _notice(message, "Successful Mail Delivery Report", lines, reports, host, queue_id, now)


def wanted(recipient: Recipient, event: str) -> bool:
    """Whether a sender asked to be told (RFC 3461 section 4.1): of failures unless it said otherwise."""
    return event in (recipient.notify or ("FAILURE",))


def _report(recipient: Recipient, action: str, dsn: str, reason: str) -> str:
    lines = [f"Final-Recipient: rfc822; {_line(recipient.address)}"]
    if recipient.original:
        lines.insert(0, f"Original-Recipient: {_line(recipient.original)}")
    lines += [f"Action: {action}", f"Status: {dsn}"]
    if reason:
        lines.append(f"Diagnostic-Code: X-Postfix; {_line(reason)}")
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    """Text that stays within its line, and within ASCII."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _notice(
    message: Message,
    subject: str,
    lines: Sequence[str],
    reports: Sequence[str],
    host: str,
    queue_id: str,
    now: float,
) -> Message:
    moment = datetime.fromtimestamp(now, UTC)
    notice = EmailMessage(policy=policy.SMTP)
    notice["From"] = f"Mail Delivery System <MAILER-DAEMON@{host}>"
    notice["To"] = f"<{message.sender}>"
    notice["Subject"] = subject
    notice["Date"] = format_datetime(moment)
    notice["Message-ID"] = f"<{moment:%Y%m%d%H%M%S}.{queue_id}@{host}>"
    notice["Auto-Submitted"] = "auto-replied"
    text = [f"This is the mail system at host {host}.", "", *map(_line, lines), ""]
    notice.set_content("\n".join(text))
    head, _, _ = message.content.partition(b"\r\n\r\n")
    whole = message.returned != "HDRS" and message.size <= _HEADERS_ONLY_FROM
    returned = message.content if whole else head + b"\r\n"
    status = _status(message, reports, host)
    content = _multipart(notice, status, returned, whole, queue_id)
    return Message(
        queue_id=queue_id,
        sender="",
        recipients=(Recipient(message.sender, ("NEVER",)),),
        content=content,
        arrived_at=now,
        queued_at=now,
        next_attempt_at=now,
    )


def _status(message: Message, reports: Sequence[str], host: str) -> bytes:
    arrived = format_datetime(datetime.fromtimestamp(message.arrived_at, UTC))
    first = [f"Reporting-MTA: dns; {host}", f"Arrival-Date: {arrived}"]
    if message.envelope_id:
        first.insert(0, f"Original-Envelope-Id: {_line(message.envelope_id)}")
    text = "\n".join(first) + "\n\n" + "\n".join(reports)
    return text.replace("\n", "\r\n").encode("ascii")


def _multipart(notice: EmailMessage, status: bytes, returned: bytes, whole: bool, queue_id: str) -> bytes:
    """The three parts of a report (RFC 6522). The returned message is put in byte by byte, never parsed."""
    boundary = f"{queue_id}.report"
    while boundary.encode() in returned:
        boundary += "="
    text = notice.get_content().replace("\r\n", "\n").replace("\n", "\r\n").encode("ascii", "replace")
    del notice["Content-Type"], notice["Content-Transfer-Encoding"], notice["MIME-Version"]
    head = notice.as_bytes().partition(b"\r\n\r\n")[0].rstrip(b"\r\n")
    kind = b"message/rfc822" if whole else b"text/rfc822-headers"
    mark = b"--" + boundary.encode()
    return b"\r\n".join(
        [
            head,
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/report; report-type=delivery-status; boundary="%s"' % boundary.encode(),
            b"",
            mark,
            b"Content-Type: text/plain; charset=us-ascii",
            b"",
            text.rstrip(b"\r\n"),
            mark,
            b"Content-Type: message/delivery-status",
            b"",
            status.rstrip(b"\r\n"),
            b"",
            mark,
            b"Content-Type: " + kind,
            b"Content-Transfer-Encoding: 8bit",
            b"",
            returned.removesuffix(b"\r\n"),
            mark + b"--",
            b"",
        ]
    )
