"""What clients do, one small function for each behaviour, with the outcome that is to be expected."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from logscope.relay.traffic.talk import LineEndedError, Talk

Act = Callable[[Talk], Awaitable[None]]


@dataclass(frozen=True)
class Behaviour:
    """One of them.

    Attributes:
        expected: what should become of such a connection.
        is_bot: it comes from an address of the bots', some of which are on lists.
    """

    act: Act
    expected: str
    is_bot: bool = False


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(expected: str, is_bot: bool = False) -> Callable[[Act], Act]:
    """Give a function its place in the table."""

    def keep(act: Act) -> Act:
        BEHAVIOURS[act.__name__] = Behaviour(act, expected, is_bot)
        return act

    return keep


# --- mail ---------------------------------------------------------------------------------------------------


@behaviour("delivered")
async def clean(talk: Talk) -> None:
    await talk.hello()
    await talk.deliver()
    await talk.quit()


@behaviour("delivered")
async def several(talk: Talk) -> None:
    """Several messages over one connection."""
    await talk.hello()
    for _ in range(talk.rng.randint(2, 5)):
        await talk.deliver()
    await talk.quit()


@behaviour("delivered")
async def many_recipients(talk: Talk) -> None:
    await talk.hello()
    recipients = talk.rng.sample(talk.recipients, min(4, len(talk.recipients)))
    await talk.deliver(*recipients, f"nobody-{talk.id}@example.com")
    await talk.quit()


@behaviour("delivered")
async def pipelined(talk: Talk) -> None:
    """Commands in groups, as PIPELINING allows it after EHLO."""
    await talk.hello()
    recipient = talk.rng.choice(talk.recipients)
    message = {"from": talk.sender, "to": [recipient], "rejected_to": []}
    talk.record["messages"].append(message)
    await talk.send(f"MAIL FROM:<{talk.sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
    replies = [await talk.reply() for _ in range(3)]
    if replies[2].startswith("354"):
        await talk.content(message)
    await talk.quit()


@behaviour("delivered")
async def encrypted(talk: Talk) -> None:
    await talk.hello()
    await talk.start_tls()
    await talk.deliver()
    await talk.quit()


@behaviour("delivered")
async def slow(talk: Talk) -> None:
    """A client that takes its time."""
    await talk.greeting()
    await talk.pause(0.3, 2)
    await talk.say(f"EHLO {talk.helo}")
    await talk.pause(0.3, 2)
    await talk.deliver()
    await talk.pause(0.3, 2)
    await talk.quit()


@behaviour("no-mail")
async def look_in(talk: Talk) -> None:
    await talk.hello()
    await talk.quit()


# --- refused ------------------------------------------------------------------------------------------------


@behaviour("rejected-550-unknown-recipient")
async def unknown_recipient(talk: Talk) -> None:
    await talk.hello()
    await talk.deliver(f"nobody-{talk.id}@example.com")
    await talk.quit()


@behaviour("rejected-554-relay-denied", is_bot=True)
async def relaying(talk: Talk) -> None:
    await talk.hello()
    await talk.deliver(f"victim-{talk.id}@elsewhere.example")
    await talk.quit()


@behaviour("rejected-450-unknown-sender-domain")
async def unknown_sender(talk: Talk) -> None:
    await talk.hello()
    await talk.mail(talk.rng.choice(talk.recipients), sender=f"{talk.id}@nowhere.example")
    await talk.quit()


@behaviour("rejected-504-helo", is_bot=True)
async def bad_helo(talk: Talk) -> None:
    await talk.greeting()
    await talk.say(f"EHLO {talk.id}")
    await talk.deliver()
    await talk.quit()


@behaviour("rejected-550-content")
async def forbidden_content(talk: Talk) -> None:
    await talk.hello()
    await talk.deliver(subject="forbidden fruit")
    await talk.quit()


@behaviour("auth-failed", is_bot=True)
async def guessing(talk: Talk) -> None:
    """Tries passwords, under TLS where it is to be had."""
    await talk.hello()
    await talk.start_tls()
    for number in range(talk.rng.randint(1, 4)):
        response = base64.b64encode(f"\0alice@example.com\0{talk.id}-{number}".encode()).decode()
        if not (await talk.say(f"AUTH PLAIN {response}")).startswith("535"):
            break
    await talk.quit()


# --- bots ---------------------------------------------------------------------------------------------------


@behaviour("pregreet", is_bot=True)
async def early(talk: Talk) -> None:
    """Speaks before the server has."""
    await talk.pause(0, 0.3)
    await talk.send(f"EHLO {talk.helo}\r\n".encode())
    await talk.pause(0, 1)
    if (await talk.reply()).startswith("220"):  # somebody who is known already, and let through
        await talk.reply()
    await talk.deliver()
    await talk.leave()


@behaviour("early-pipelining", is_bot=True)
async def all_at_once(talk: Talk) -> None:
    """Sends the whole envelope as soon as the server has spoken."""
    await talk.greeting()
    recipient = talk.rng.choice(talk.recipients)
    await talk.send(
        f"HELO {talk.helo}\r\nMAIL FROM:<{talk.sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    )
    for _ in range(4):
        await talk.reply()
    await talk.leave()


@behaviour("non-smtp", is_bot=True)
async def http(talk: Talk) -> None:
    await talk.greeting()
    await talk.send(f"GET /{talk.id} HTTP/1.1\r\nHost: {talk.helo}\r\n\r\n".encode())
    await talk.reply()
    await talk.leave()


@behaviour("too-many-errors", is_bot=True)
async def rubbish(talk: Talk) -> None:
    await talk.greeting()
    for number in range(25):
        await talk.say(f"XYZZY{number} {talk.id}")
        if talk.record.get("got_421"):
            break
    await talk.wait_for_the_end()


@behaviour("no-mail", is_bot=True)
async def port_scan(talk: Talk) -> None:
    await talk.leave()


@behaviour("timeout", is_bot=True)
async def drip(talk: Talk) -> None:
    """Sends a byte now and then, to keep the server busy."""
    await talk.greeting()
    for byte in f"EHLO {talk.helo}"[:12].encode():
        await talk.send(bytes([byte]))
        await talk.pause(0.3, 0.9)
    await talk.leave()


# --- who leaves ---------------------------------------------------------------------------------------------


def _leaving(stage: str, reset: bool) -> None:
    async def act(talk: Talk) -> None:
        if stage == "before_greeting":
            await talk.pause(0, 1)
        else:
            await talk.greeting()
        if stage in ("after_helo", "in_envelope", "in_content"):
            await talk.say(f"EHLO {talk.helo}")
        if stage in ("in_envelope", "in_content"):
            message = await talk.mail(talk.rng.choice(talk.recipients))
        if stage == "in_content" and (await talk.say("DATA")).startswith("354"):
            await talk.send(talk.text(message, "half a message")[:200])
            await talk.pause(0, 0.3)
        await talk.leave(reset)

    how = "reset" if reset else "closed"
    BEHAVIOURS[f"{how}_{stage}"] = Behaviour(act, f"client-{how}-{stage.replace('_', '-')}")


for _stage in ("before_greeting", "after_greeting", "after_helo", "in_envelope", "in_content"):
    _leaving(_stage, reset=False)
    _leaving(_stage, reset=True)


async def perform(name: str, talk: Talk) -> None:
    """Let a client do what it does, to its end or to the server's."""
    try:
        await BEHAVIOURS[name].act(talk)
    except LineEndedError:
        pass
    await talk.leave()
