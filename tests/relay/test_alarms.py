"""Alarms ring when they are due, not before, and not when they were cancelled."""

from __future__ import annotations

import asyncio

from logscope.relay.rim.alarms import Alarms


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose time goes on only when nothing else is to be done, and then as far as is waited for."""

    def __init__(self) -> None:
        self.passed_s = 1000.25
        super().__init__()
        wait = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> object:
            self.passed_s += timeout or 0.0
            return wait(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.passed_s


def rung(*delays_s: float, cancelled: tuple[int, ...] = (), cancel_after_s: float = 0.0) -> dict[int, float]:
    """Which alarms ring, by their place, and after how many seconds."""
    found: dict[int, float] = {}

    async def play() -> None:
        loop = asyncio.get_running_loop()
        alarms, began = Alarms(loop), loop.time()
        made = [
            alarms.after(delay_s, lambda place=place: found.update({place: loop.time() - began}))  # type: ignore[misc]
            for place, delay_s in enumerate(delays_s)
        ]
        await asyncio.sleep(cancel_after_s)
        for place in cancelled:
            made[place].cancel()
        await asyncio.sleep(max(delays_s) + 1)
        alarms.close()

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        runner.run(play())
    return found


def test_near_and_far_ones_ring_in_their_moment() -> None:
    delays_s = (0.0, 0.5, 1.99, 2.0, 2.75, 3.0, 60.1, 300.0, 300.0)
    found = rung(*delays_s)
    assert sorted(found) == list(range(len(delays_s)))
    for place, at_s in found.items():
        assert abs(at_s - delays_s[place]) < 0.001


def test_what_is_cancelled_does_not_ring_near_far_or_in_its_last_second() -> None:
    assert set(rung(0.5, 60, 60, 300, cancelled=(0, 1, 3))) == {2}
    assert set(rung(60, 60, cancelled=(0,), cancel_after_s=59.99)) == {1}


def test_nothing_rings_after_the_end_and_nothing_is_left_of_what_is_cancelled() -> None:
    async def play() -> tuple[int, list[str]]:
        loop, heard = asyncio.get_running_loop(), list[str]()
        alarms = Alarms(loop)
        for _ in range(1000):
            alarms.after(300, lambda: heard.append("cancelled")).cancel()
        alarms.after(300, lambda: heard.append("late"))
        noted = sum(map(len, alarms._by_second.values()))
        alarms.close()
        await asyncio.sleep(400)
        return noted, heard

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        assert runner.run(play()) == (1, [])
