"""Sockets that are ready are told, in whatever order things happen to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from logscope.relay.rim.watch import READ, WRITE, Watch
from logscope.relay.rim.wire import Wire


class Ear:
    """Notes what is said of a wire."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def ended(self) -> None:
        self.heard.append("ended")

    def lost(self, error: OSError | None) -> None:
        self.heard.append(("lost", error is None))

    def stuck(self) -> None:
        self.heard.append("stuck")

    def flowing(self) -> None:
        self.heard.append("flowing")


def pair() -> tuple[socket.socket, socket.socket]:
    server = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    server.close()
    one.setblocking(False)
    return one, other


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_what_was_sent_before_the_end_comes_before_it() -> None:
    """The last bytes and the end arrive at once, and are two things."""

    async def play() -> list[object]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        other.sendall(b"bye")
        other.close()
        Wire(watch, one, ear)
        await until(lambda: "ended" in ear.heard)
        watch.close()
        one.close()
        return ear.heard

    assert asyncio.run(play()) == [b"bye", "ended"]


def test_a_reset_behind_the_last_bytes_is_no_end() -> None:
    async def play() -> list[object]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        other.sendall(b"half")
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        Wire(watch, one, ear)
        await until(lambda: len(ear.heard) > 1 or ("lost", False) in ear.heard)
        watch.close()
        return ear.heard

    assert asyncio.run(play())[-1] == ("lost", False)


def test_more_than_one_piece_before_the_end() -> None:
    """The end is not taken for granted while there is more to be read."""

    async def play() -> list[object]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        sending = asyncio.to_thread(lambda: (other.sendall(b"x" * 300_000), other.close()))
        Wire(watch, one, ear)
        await sending
        await until(lambda: "ended" in ear.heard)
        watch.close()
        one.close()
        return ear.heard

    heard = asyncio.run(play())
    assert heard[-1] == "ended"
    assert b"".join(entry for entry in heard if isinstance(entry, bytes)) == b"x" * 300_000


def test_who_pauses_is_told_nothing() -> None:
    """Not even of the end, which is there when reading goes on."""

    async def play() -> tuple[list[object], list[object]]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        wire = Wire(watch, one, ear)
        wire.pause()
        other.sendall(b"bye")
        other.close()
        for _ in range(50):
            await asyncio.sleep(0)
        before = list(ear.heard)
        wire.resume()
        await until(lambda: "ended" in ear.heard)
        watch.close()
        one.close()
        return before, ear.heard

    assert asyncio.run(play()) == ([], [b"bye", "ended"])


def test_a_call_that_fails_is_reported_and_the_others_are_made() -> None:
    async def play() -> tuple[list[str], list[str]]:
        loop = asyncio.get_running_loop()
        watch = Watch(loop)
        reported, told = [], []
        loop.set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
        sockets = [pair() for _ in range(2)]

        def fail(_ready: int) -> None:
            watch.end(sockets[0][0].fileno())
            raise RuntimeError("no")

        watch.begin(sockets[0][0].fileno(), READ | WRITE, fail)
        watch.begin(sockets[1][0].fileno(), READ | WRITE, lambda _ready: told.append("told"))
        await until(lambda: bool(told and reported))
        watch.close()
        for one, other in sockets:
            one.close()
            other.close()
        return reported, told[:1]

    assert asyncio.run(play()) == (["no"], ["told"])


def test_a_file_that_is_ended_in_the_same_moment_is_told_nothing() -> None:
    """Both are ready; the first one told closes the other."""

    async def play() -> list[int]:
        watch = Watch(asyncio.get_running_loop())
        sockets = [pair() for _ in range(2)]
        numbers = [entry.fileno() for entry, _ in sockets]
        told: list[int] = []

        def close_other(own: int) -> Callable[[int], None]:
            def call(_ready: int) -> None:
                told.append(own)
                for number in numbers:
                    watch.end(number)

            return call

        for own, number in enumerate(numbers):
            watch.begin(number, WRITE, close_other(own))
        for _ in range(10):
            await asyncio.sleep(0)
        watch.close()
        for one, other in sockets:
            one.close()
            other.close()
        return told

    assert len(asyncio.run(play())) == 1
