"""Messages on paper: their files, their schedule, what is returned, and the client that hands them on."""

from __future__ import annotations

import email
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.queue.message import DamagedError, Message, QueueIds, Recipient, pack, unpack
from logscope.relay.queue.notices import non_delivery, success, wanted
from logscope.relay.queue.schedule import Failure, Patience, Schedule, judge
from logscope.relay.smtp.client import SmtpClient

from .memory import START

ALICE, BOB = Recipient("alice@example.com"), Recipient("bob@example.com", ("NEVER",))
MESSAGE = Message(
    queue_id="A1B2C22A001",
    sender="carol@sender.example",
    recipients=(ALICE, BOB),
    content=b"Subject: x\r\n\r\n.dot\r\nend\r\n",
    arrived_at=START,
    queued_at=START,
    next_attempt_at=START,
)


@given(
    st.binary(max_size=300),
    st.lists(st.text(max_size=20), max_size=3),
    st.text(max_size=20),
    st.booleans(),
)
def test_a_queue_file_is_read_back(content: bytes, addresses: list[str], sender: str, flag: bool) -> None:
    message = replace(
        MESSAGE,
        content=content,
        sender=sender,
        recipients=tuple(Recipient(entry, ("FAILURE", "DELAY")) for entry in addresses),
        smtputf8=flag,
    )
    assert unpack(pack(message)) == message


def test_a_cut_queue_file_is_noticed() -> None:
    data = pack(MESSAGE)
    for length in range(len(data)):
        with pytest.raises(DamagedError):
            unpack(data[:length])


@given(st.binary(max_size=200))
def test_no_file_does_harm(data: bytes) -> None:
    with pytest.raises(DamagedError):
        unpack(data)


def test_queue_ids_are_unique() -> None:
    ids = QueueIds(0x22A000)
    found = {ids.new(START) for _ in range(1000)}
    assert len(found) == 1000


# --- schedule


def test_all_delivered() -> None:
    verdict = judge(MESSAGE, (), Patience(), START + 1)
    assert verdict.kept is None
    assert verdict.returned == ()


def test_what_failed_for_now_is_kept_and_the_pause_grows() -> None:
    message, now, pauses = MESSAGE, START, []
    failure = Failure(ALICE, "4.4.1", "connection refused")
    for _ in range(6):
        verdict = judge(message, (failure,), Patience(), now)
        assert verdict.kept is not None
        message = verdict.kept
        assert message.recipients == (ALICE,)
        pauses.append(message.next_attempt_at - now)
        now = message.next_attempt_at
    assert pauses == [300, 300, 600, 1200, 2400, 4000]
    assert message.attempts == 6


def test_old_mail_is_given_up() -> None:
    failure = Failure(ALICE, "4.4.1", "connection refused")
    verdict = judge(MESSAGE, (failure,), Patience(lifetime_s=1000), START + 1000)
    assert verdict.expired
    assert verdict.kept is None
    assert verdict.returned == (failure,)


def test_final_failures_are_returned_while_the_rest_waits() -> None:
    final, later = Failure(ALICE, "5.1.1", "no such user"), Failure(BOB, "4.4.1", "refused")
    verdict = judge(MESSAGE, (final, later), Patience(), START)
    assert verdict.kept is not None
    assert verdict.kept.recipients == (BOB,)
    assert verdict.returned == (final,)


def test_messages_are_due_in_order() -> None:
    schedule = Schedule()
    for delay in (30, 10, 20):
        schedule.add(replace(MESSAGE, queue_id=f"A{delay}", next_attempt_at=START + delay))
    assert schedule.next_at == START + 10
    assert schedule.take_due(START + 25, 10) == ["A10", "A20"]
    assert schedule.take_due(START + 25, 10) == []
    assert schedule.take_due(START + 99, 0) == []
    assert len(schedule) == 1


# --- notices


def test_a_bounce_is_a_report() -> None:
    original = replace(MESSAGE, envelope_id="job-7")
    failures = [Failure(replace(ALICE, original="rfc822;Alice@example.com"), "5.1.1", "no such\r\nBcc: user")]
    notice = non_delivery(original, failures, "mx-a.example.com", "F00D22A002", START + 5)
    assert notice.sender == ""
    assert [entry.address for entry in notice.recipients] == ["carol@sender.example"]
    parsed = email.message_from_bytes(notice.content)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["Bcc"] is None
    text, status, returned = parsed.get_payload()  # type: ignore[misc]
    assert "<alice@example.com>: no such??Bcc: user" in text.get_payload()  # type: ignore[union-attr]
    per_message, per_recipient = status.get_payload()  # type: ignore[union-attr]
    assert per_message["Original-Envelope-Id"] == "job-7"
    assert per_recipient["Action"] == "failed"
    assert per_recipient["Status"] == "5.1.1"
    assert per_recipient["Original-Recipient"] == "rfc822;Alice@example.com"
    assert returned.get_payload()[0]["Subject"] == "x"  # type: ignore[union-attr, index]


def test_only_headers_are_returned_if_that_was_asked_for() -> None:
    notice = non_delivery(
        replace(MESSAGE, returned="HDRS"), [Failure(ALICE, "5.1.1", "no")], "mx-a", "F00D22A002", START
    )
    assert b"text/rfc822-headers" in notice.content
    assert b"dot" not in notice.content


def test_success_is_reported_if_that_was_asked_for() -> None:
    asked = replace(ALICE, notify=("SUCCESS", "FAILURE"))
    assert [wanted(entry, "SUCCESS") for entry in (ALICE, BOB, asked)] == [False, False, True]
    assert [wanted(entry, "FAILURE") for entry in (ALICE, BOB, asked)] == [True, False, True]
    assert b"Action: delivered" in success(MESSAGE, [asked], "mx-a", "F00D22A002", START).content


# --- handing on


def handed_on(*replies: bytes, message: Message = MESSAGE) -> tuple[SmtpClient, list[bytes]]:
    """A client whose next hop says these things, each when it is its turn; what the client sent."""
    client = SmtpClient(message, "mx-a.example.com", "127.0.0.1[127.0.0.1]:2525")
    client.start(START)
    sent = []
    for reply in replies:
        client.receive(reply, START)
        sent.append(bytes(client.out))
        client.out.clear()
    return client, sent


HELLO = b"250-next.example\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 DSN\r\n"


def test_a_message_is_handed_on() -> None:
    client, sent = handed_on(
        b"220 next.example ESMTP\r\n", HELLO, b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n",
        b"550 5.1.1 no such user\r\n", b"354 go\r\n", b"250 2.0.0 Ok: queued as 9C0DE\r\n",
    )  # fmt: skip
    assert sent == [
        b"EHLO mx-a.example.com\r\n",
        b"MAIL FROM:<carol@sender.example> SIZE=25\r\n",
        b"RCPT TO:<alice@example.com>\r\n",
        b"RCPT TO:<bob@example.com> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n",
        b"QUIT\r\n",
    ]
    assert [(entry.recipient, entry.dsn, entry.reply) for entry in client.outcomes] == [
        (
            BOB,
            "5.1.1",
            ("host 127.0.0.1[127.0.0.1]:2525 said: 550 5.1.1 no such user (in reply to RCPT TO command)"),
        ),
        (ALICE, "2.0.0", "250 2.0.0 Ok: queued as 9C0DE"),
    ]


def test_an_old_next_hop_is_greeted_again() -> None:
    _, sent = handed_on(b"220 x\r\n", b"502 what\r\n", b"250 x\r\n")
    assert sent[1:] == [b"HELO mx-a.example.com\r\n", b"MAIL FROM:<carol@sender.example>\r\n"]


@pytest.mark.parametrize(
    ("replies", "dsn", "text"),
    [
        ([b"421 busy\r\n"], "4.0.0", "refused to talk to me: 421 busy"),
        ([b"554 5.7.1 go away\r\n"], "5.7.1", "refused to talk to me: 554 5.7.1 go away"),
        ([b"220 x\r\n", HELLO, b"452 4.3.1 full\r\n"], "4.3.1", "in reply to MAIL FROM command"),
        ([b"220 x\r\n", HELLO, b"250 ok\r\n", *[b"250 ok\r\n"] * 2, b"451 no\r\n"], "4.0.0", "DATA command"),
        ([b"SSH-2.0-OpenSSH\r\n"], "4.5.0", "said what is no reply"),
        ([b"220-" + b"x" * 9000], "4.4.0", "a reply without end"),
    ],
)
def test_a_next_hop_that_refuses(replies: list[bytes], dsn: str, text: str) -> None:
    client, _ = handed_on(*replies)
    assert client.ended
    assert [entry.recipient for entry in client.outcomes] == [ALICE, BOB]
    assert {entry.dsn for entry in client.outcomes} == {dsn}
    assert all(text in entry.reply for entry in client.outcomes)


@pytest.mark.parametrize(
    ("replies", "doing"),
    [
        ([], "receiving the initial server greeting"),
        ([b"220 x\r\n"], "performing the EHLO handshake"),
        ([b"220 x\r\n", HELLO, b"250 ok\r\n"], "sending RCPT TO"),
        (
            [b"220 x\r\n", HELLO, b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"],
            "sending end of data -- message may be sent more than once",
        ),
    ],
)
def test_a_next_hop_that_breaks_off_is_tried_again(replies: list[bytes], doing: str) -> None:
    client, _ = handed_on(*replies)
    client.closed(START)
    expected = f"lost connection with 127.0.0.1[127.0.0.1]:2525 while {doing}"
    assert [(entry.dsn, entry.reply) for entry in client.outcomes] == [("4.4.2", expected)] * 2
    silent, _ = handed_on(*replies)
    assert silent.deadline == START + 300
    silent.wake(START + 300)
    assert {entry.dsn for entry in silent.outcomes} == {"4.4.2"}


def test_what_the_next_hop_cannot_carry_is_returned() -> None:
    client, _ = handed_on(b"220 x\r\n", HELLO, message=replace(MESSAGE, smtputf8=True))
    assert {entry.dsn for entry in client.outcomes} == {"5.6.7"}
