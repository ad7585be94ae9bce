"""Sockets that are ready are told, in whatever order things happen to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from logscope.relay.rim.watch import READ, WRITE, RelayLoop, Watch
from logscope.relay.rim.wire import Wire

T = TypeVar("T")
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.SelectorEventLoop, RelayLoop])
def loop(request: pytest.FixtureRequest) -> Loop:
    """Any loop, with an `epoll` of its own beside the relay's, and the one that shares it."""
    found: Loop = request.param
    return found


def run(loop: Loop, playing: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(playing)


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


class Closer(Ear):
    """Closes another wire when it is told something."""

    other: Wire

    def received(self, data: bytes) -> None:
        super().received(data)
        self.other.close()


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


def test_what_was_sent_before_the_end_comes_before_it(loop: Loop) -> None:
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

    assert run(loop, play()) == [b"bye", "ended"]


def test_a_reset_behind_the_last_bytes_is_no_end(loop: Loop) -> None:
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

    assert run(loop, play())[-1] == ("lost", False)


def test_more_than_one_piece_before_the_end(loop: Loop) -> None:
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

    heard = run(loop, play())
    assert heard[-1] == "ended"
    assert b"".join(entry for entry in heard if isinstance(entry, bytes)) == b"x" * 300_000


def test_who_pauses_is_told_nothing(loop: Loop) -> None:
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

    assert run(loop, play()) == ([], [b"bye", "ended"])


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_what_is_said_before_closing_goes_out_whole(loop: Loop, size: int) -> None:
    """Also where the other side takes it slowly."""

    async def play() -> tuple[bytes, list[object]]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        wire = Wire(watch, one, ear)
        wire.send(b"first ")
        wire.send(b"x" * size)
        wire.close()
        wire.send(b"too late")
        taken = await asyncio.to_thread(lambda: b"".join(iter(lambda: other.recv(65536), b"")))
        await until(lambda: bool(ear.heard))
        watch.close()
        other.close()
        return taken, ear.heard

    taken, heard = run(loop, play())
    assert taken == b"first " + b"x" * size
    assert heard == [("lost", True)]


def test_who_says_no_more_is_still_told_what_comes(loop: Loop) -> None:
    async def play() -> tuple[bytes, list[object]]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        wire = Wire(watch, one, ear)
        wire.send(b"last")
        wire.finish()
        taken = await asyncio.to_thread(lambda: b"".join(iter(lambda: other.recv(65536), b"")))
        other.sendall(b"answer")
        await until(lambda: b"answer" in ear.heard)
        wire.drop()
        await until(lambda: ("lost", True) in ear.heard)
        watch.close()
        other.close()
        return taken, ear.heard

    assert run(loop, play()) == (b"last", [b"answer", ("lost", True)])


def test_who_is_closed_in_the_moment_in_which_something_comes_is_not_told_it(loop: Loop) -> None:
    async def play() -> list[list[object]]:
        watch = Watch(asyncio.get_running_loop())
        ears = [Closer(), Closer()]
        ends = [pair() for _ in ears]
        wires = [Wire(watch, one, ear) for (one, _), ear in zip(ends, ears, strict=True)]
        ears[0].other, ears[1].other = wires[1], wires[0]
        for _, other in ends:
            other.sendall(b"now")
        await until(lambda: any(("lost", True) in ear.heard for ear in ears))
        for wire in wires:
            wire.drop()
        await until(lambda: all(("lost", True) in ear.heard for ear in ears))
        watch.close()
        for _, other in ends:
            other.close()
        return sorted((ear.heard for ear in ears), key=len)

    assert run(loop, play()) == [[("lost", True)], [b"now", ("lost", True)]]


def test_a_call_that_fails_is_reported_and_the_others_are_made(loop: Loop) -> None:
    async def play() -> tuple[list[str], list[str]]:
        running = asyncio.get_running_loop()
        watch = Watch(running)
        reported, told = [], []
        running.set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
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

    assert run(loop, play()) == (["no"], ["told"])


def test_a_file_that_is_ended_in_the_same_moment_is_told_nothing(loop: Loop) -> None:
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

    assert len(run(loop, play())) == 1


def test_the_loop_has_its_own_files_beside() -> None:
    """Streams and threads work in the shared loop while a relay's sockets are told, and after it."""

    def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    async def play() -> tuple[bytes, str, list[object]]:
        watch, ear = Watch(asyncio.get_running_loop()), Ear()
        one, other = pair()
        wire = Wire(watch, one, ear)
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        other.sendall(b"beside")
        line = await reader.readline()
        said = await asyncio.to_thread(lambda: "done")
        await until(lambda: bool(ear.heard))
        wire.drop()
        watch.close()
        second = Watch(asyncio.get_running_loop())
        again, third = pair()
        Wire(second, again, ear)
        third.sendall(b"again")
        await until(lambda: b"again" in ear.heard)
        second.close()
        for sock in (again, third, other):
            sock.close()
        writer.close()
        await writer.wait_closed()
        server.close()
        return line, said, ear.heard

    line, said, heard = run(RelayLoop, play())
    assert (line, said) == (b"hello\n", "done")
    assert [entry for entry in heard if isinstance(entry, bytes)] == [b"beside", b"again"]


def test_two_relays_in_one_loop_do_not_disturb_each_other() -> None:
    async def play() -> list[list[object]]:
        watches = [Watch(asyncio.get_running_loop()) for _ in range(2)]
        ears = [Ear(), Ear()]
        pairs = [pair(), pair()]
        for watch, ear, (one, other) in zip(watches, ears, pairs, strict=True):
            Wire(watch, one, ear)
            other.sendall(b"for %d" % len(ear.heard))
        await until(lambda: all(ear.heard for ear in ears))
        for watch in watches:
            watch.close()
        for one, other in pairs:
            one.close()
            other.close()
        return [ear.heard for ear in ears]

    assert run(RelayLoop, play()) == [[b"for 0"], [b"for 0"]]
