from __future__ import annotations

import threading

import pytest

from logscope.beside import Beside


def test_what_fails_is_told() -> None:
    """To whoever asks for the next thing, and once."""
    done: list[int] = []
    with Beside() as beside:
        beside.do(done.append, 1)
        beside.do(lambda: done.append(1 // 0))
        with pytest.raises(ZeroDivisionError):
            beside.do(done.append, 2)
        beside.do(done.append, 3)
        beside.finish()
    assert done == [1, 3]


def test_so_many_things_wait_and_no_more() -> None:
    """Whoever asks for one more waits until the first is done."""
    first_may_end, asked = threading.Event(), []
    with Beside(waiting=2) as beside:
        beside.do(lambda: asked.append(first_may_end.wait(60)))
        beside.do(asked.append, 2)
        threading.Timer(0.01, first_may_end.set).start()
        beside.do(asked.append, 3)
        assert asked[0] is True
        beside.finish()
    assert asked == [True, 2, 3]
