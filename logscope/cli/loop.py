"""The loop of a live run: look at the inputs, join what can be joined, show it, wait."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from logscope.cli.last_words import crowds

if TYPE_CHECKING:
    from logscope.cli.compiling import Compiling
    from logscope.cli.keep import Keeper
    from logscope.live import Live
    from logscope.sources.following import Following
    from logscope.sources.reading import Preparation

GATHER_S = 0.1
"""From one look at what has come to the next: lines that come one by one are taken together. With the grace
it is as long as it takes to show a session."""
REST_S = 1.0
"""How long nothing is done where nothing wakes the loop, and nothing is due."""
_LEAST_REST_S = 0.002
_LAST_WORDS_S = 5.0
"""How long what was received before the end may take to arrive."""
OPEN_S = 2.0
"""From one look for sessions that have been open for long to the next."""
_OPEN_SHARE = 200
"""Looking for them may take one part in so many of the time."""
MACHINE_CODE_FROM = 1 << 20
"""Bytes read in plain Python from which machine code pays where it is on disk already, and six times as many
where it has to be compiled.
"""


class Shows(Protocol):
    """What shows a live run.

    Attributes:
        since: only what happened after this time is shown, ns since 1970; None for all.
        wants_evidence: whether the lines of a session are shown with it.
        wants_signals: whether `Live.signals` is looked at.
        rest_s: how long it may be left alone at most where nothing happens.
    """

    since: int | None

    @property
    def wants_evidence(self) -> bool: ...

    @property
    def wants_signals(self) -> bool: ...

    @property
    def rest_s(self) -> float: ...

    def show(self, batch: Any, live: Live) -> None: ...

    def show_open(self, batch: Any) -> None: ...

    def pause(self, live: Live) -> None: ...


class Together:
    """Several views of one run."""

    def __init__(self, views: list[Shows]) -> None:
        self.views = views

    @property
    def since(self) -> int | None:
        """See `Shows`; the same for all."""
        return self.views[0].since

    @since.setter
    def since(self, moment: int | None) -> None:
        for view in self.views:
            view.since = moment

    @property
    def wants_evidence(self) -> bool:
        """Whether one of them does."""
        return any(view.wants_evidence for view in self.views)

    @property
    def wants_signals(self) -> bool:
        """Whether one of them does."""
        return any(view.wants_signals for view in self.views)

    @property
    def rest_s(self) -> float:
        """How long the most restless of them may be left alone."""
        return min(view.rest_s for view in self.views)

    def show(self, batch: Any, live: Live) -> None:
        """Finished sessions for all."""
        for view in self.views:
            view.show(batch, live)

    def show_open(self, batch: Any) -> None:
        """Sessions that go on, for all."""
        for view in self.views:
            view.show_open(batch)

    def pause(self, live: Live) -> None:
        """Everything that has arrived has been shown."""
        for view in self.views:
            view.pause(live)


class Stop:
    """Notes signals that ask for the end, or to read the configuration anew, and wakes whoever waits."""

    def __init__(self) -> None:
        self.asked = False
        self.reread = False
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ask(self) -> None:
        """Ask for the end."""
        self.asked = True
        os.write(self._writer, b"\0")

    def ask_to_reread(self) -> None:
        """Ask for the configuration to be read anew."""
        self.reread = True
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def take_reread(self) -> bool:
        """Whether that was asked for since it was last taken."""
        asked, self.reread = self.reread, False
        if asked:
            with suppress(BlockingIOError):
                os.read(self.reader, 1 << 16)
            if self.asked:
                self.ask()
        return asked

    def _ask_to_reread(self, _number: int, _frame: Any) -> None:
        self.ask_to_reread()

    def _ask(self, number: int, _frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.ask()

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take SIGINT, SIGTERM and SIGHUP until the body is done; a second Ctrl-C interrupts it."""
        before = [(one, signal.signal(one, self._ask)) for one in (signal.SIGINT, signal.SIGTERM)]
        before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, self._ask_to_reread)))
        try:
            yield self
        finally:
            for one, handler in before:
                signal.signal(one, handler)
            os.close(self.reader)
            os.close(self._writer)


class Loop:
    """Runs the stage over its inputs until nothing can come any more, or until it is told to stop.

    Args:
        live: the stage.
        following: its inputs.
        view: shows what the stage hands out.
        tell: takes remarks for the user.
        complain: takes inputs that cannot be read.
        keeper: keeps what was done; None where nothing is kept.
        open_after: see `Wishes`.
    """

    def __init__(
        self,
        live: Live,
        following: Following,
        view: Shows,
        *,
        tell: Callable[[str], None],
        complain: Callable[[Any], None],
        keeper: Keeper | None = None,
        open_after: int | None = None,
    ) -> None:
        self._live = live
        self._following = following
        self._view = view
        self.tell = tell
        self.reread: Callable[[], None] | None = None
        """Reads the configuration anew."""
        self._complain = complain
        self._keeper = keeper
        self._open_after = open_after
        self._look_for_open = time.monotonic() + OPEN_S
        self._machine_code_from = _machine_code_from()
        self._unsaved = False
        self._crowded = False
        self._compiling: Compiling | None = None

    def warm_up(self, stop: Stop) -> None:
        """Read what the files have already, to know what is open; nothing of it is shown."""
        following, live = self._following, self._live
        files, others = following.look_first(time.monotonic_ns())
        live.add(files, time.monotonic_ns(), time.time_ns())
        live.eager = False
        while not stop.asked:
            self._consider_machine_code()
            for _ in live.pump(time.monotonic_ns()):
                pass
            if not live.busy:
                break
        live.eager = True
        self._view.since = max((one.latest or 0 for one in live.sources()), default=0)
        live.count_anew()
        live.add(others, time.monotonic_ns(), time.time_ns())

    def go_on(self) -> None:
        """Take up what an earlier run left."""
        now = time.monotonic_ns()
        new = self._live.go_on(self._following.look(now, at_once=True), now)
        self._live.add(new, now, time.time_ns())

    def run(self, stop: Stop, *, follow: bool = True) -> bool:
        """Go on until the end; whether that came because somebody asked for it.

        Args:
            follow: wait for more; else what is there now is all.
        """
        following, live = self._following, self._live
        following.wake_by(stop.reader)
        self._begin()
        if not follow:
            following.stop()
        while not stop.asked:
            now = time.monotonic_ns()
            if stop.take_reread() and self.reread is not None:
                self.reread()
            self._look(now)
            self._say()
            self._consider_machine_code()
            for batch in live.pump(now):
                self._view.show(batch, live)
            self._show_open(now)
            self._view.pause(live)
            self._keep()
            if following.over and not live.busy:
                return False
            if not live.busy:
                self._rest(now)
        return True

    def _rest(self, began_at: int) -> None:
        """Wait until something comes or is due, after a turn that began at a time."""
        live = self._live
        if live.heard_at == began_at:
            self._unsaved = True
            time.sleep(max(0.0, GATHER_S - (time.monotonic_ns() - began_at) / 1e9))
        rest = min(REST_S, self._view.rest_s)
        due_at = live.due_at(began_at)
        if due_at is not None:
            rest = min(rest, (due_at - time.monotonic_ns()) / 1e9)
        if self._keeper is not None and self._unsaved:
            rest = min(rest, self._keeper.due_s)
        self._following.wait(max(rest, _LEAST_REST_S))

    def _show_open(self, now: int) -> None:
        """Show what has been open for long, now and then."""
        started = time.monotonic()
        if self._open_after is None or self._live.busy or started < self._look_for_open:
            return
        for batch in self._live.still_open(now, self._open_after):
            self._view.show_open(batch)
        ended = time.monotonic()
        self._look_for_open = ended + max(OPEN_S, _OPEN_SHARE * (ended - started))

    def _begin(self) -> None:
        """From here on nothing is lost."""
        self._look(time.monotonic_ns(), at_once=True)
        self._keep(at_once=True)

    def _look(self, now: int, *, at_once: bool = False) -> None:
        new = self._following.look(now, at_once=at_once)
        if new:
            self._live.add(new, now, time.time_ns())

    def reconfigure(self, ready: Preparation) -> None:
        """Go on with other grammars and options."""
        for batch in self._live.reconfigure(ready.catalogue, ready.options, time.monotonic_ns()):
            self._view.show(batch, self._live)

    def finish(self) -> None:
        """Read what inputs have in hand, and hand out all that is open."""
        live = self._live
        self._look(time.monotonic_ns(), at_once=True)
        self._following.stop()
        self._hear_out()
        self._following.look(time.monotonic_ns(), at_once=True)
        for batch in live.finish(time.monotonic_ns()):
            self._view.show(batch, live)
        self._view.pause(live)
        self._keep(at_once=True, over=True)
        self._say()

    def pause(self) -> None:
        """Keep what is open for another run. What endpoints have received is read, as nobody has it later."""
        self._following.stop_receiving()
        self._hear_out()
        self._view.pause(self._live)
        self._keep(at_once=True)
        self._say()

    def _hear_out(self) -> None:
        """Read what endpoints have received."""
        until = time.monotonic() + _LAST_WORDS_S
        while any(one.follows for one in self._following.received) and time.monotonic() < until:
            for batch in self._live.pump(time.monotonic_ns()):
                self._view.show(batch, self._live)
            self._following.wait(GATHER_S)

    def _keep(self, *, at_once: bool = False, over: bool = False) -> None:
        if self._keeper is not None and (at_once or self._keeper.is_due()):
            self._live.settle(time.monotonic_ns())
            self._keeper.keep(self._live, self._following, self._view.since, over=over)
            self._unsaved = False

    def _say(self) -> None:
        for note in self._following.notes():
            self.tell(note)
        if not self._crowded:
            for note in crowds(self._live):
                self._crowded = True
                self.tell(note)
        problems, self._following.problems = self._following.problems, []
        for problem in problems:
            self._complain(problem)

    def _consider_machine_code(self) -> None:
        """Go over to machine code where there is much to read, once it is there."""
        if self._live.machine_code or self._live.options.machine_code is False:
            return
        if self._compiling is not None:
            if self._compiling.is_over:
                self._end_compiling()
        elif self._following.known_bytes >= self._machine_code_from:
            self._begin_compiling()

    def _begin_compiling(self) -> None:
        from logscope.cli.compiling import Compiling
        from logscope.pipeline import can_keep_machine_code, has_machine_code

        if has_machine_code() or not can_keep_machine_code():
            self._live.use_machine_code()
        else:
            self._compiling = Compiling()

    def _end_compiling(self) -> None:
        assert self._compiling is not None
        if self._compiling.failed:
            self.tell("machine code could not be compiled; lines are read in plain Python")
            self._machine_code_from = sys.maxsize
            self._compiling = None
        else:
            self._live.use_machine_code()

    def close(self) -> None:
        """End what is done beside the run."""
        if self._compiling is not None:
            self._compiling.close()


def _machine_code_from() -> int:
    from logscope.pipeline import has_machine_code

    return MACHINE_CODE_FROM if has_machine_code() else 6 * MACHINE_CODE_FROM
