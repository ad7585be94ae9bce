"""`logscope tail --top`: the live screen on a terminal, and its keys.

The lines come from `report.screen`; those that changed are written at once, so nothing flickers and an idle
screen costs next to nothing. It is drawn by hand: a library for whole terminal programs brings its own loop,
which would have to take turns with this one, and takes longer to load than all other commands to run.
"""

from __future__ import annotations

import os
import shutil
import termios
import time
import tty
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logscope.errors import InputError, LogscopeError, UsageError
from logscope.report.board import READS, READS_OF_SERVERS, SORTS, Board, Row, Source, ranked
from logscope.report.screen import Look, drawn
from logscope.sources.lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from logscope.cli.loop import Stop
    from logscope.live import Live
    from logscope.sources.following import Following
    from logscope.where import Condition

DRAW_S = 0.25
"""From one picture to the next where something happens; REST_S: where nothing does."""
REST_S = 1.0
_MOST_REMARKS = 3
_KEY_NAMES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down",
    b"\r": "enter", b"\n": "enter", b"\x1b": "back", b"\x7f": "back", b"\x08": "back",
    b" ": "hold", b"p": "hold", b"q": "quit", b"s": "sort", b"/": "filter", b"?": "help", b"h": "help",
}  # fmt: skip


class Terminal:
    """A terminal that shows a whole screen, and the keys that are pressed on it."""

    def __init__(self, output: int, keyboard: int) -> None:
        self._output = output
        self.keyboard = keyboard
        self._shown: list[str] = []
        self._size = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        with suppress(OSError):
            found = os.get_terminal_size(self._output)
            if found.columns and found.lines:
                return found.columns, found.lines
        columns, rows = shutil.get_terminal_size()
        return columns, rows

    def show(self, lines: Sequence[str], size: tuple[int, int]) -> None:
        """Show lines; only those that are others than before are written."""
        if size != self._size or len(lines) != len(self._shown):
            self._size, self._shown = size, [""] * len(lines)
            self._write("\x1b[2J")
        changed = [
            f"\x1b[{row};1H{line}"
            for row, (line, before) in enumerate(zip(lines, self._shown, strict=True), 1)
            if line != before
        ]
        if changed:  # between marks that let a terminal draw it as one
            self._write("\x1b[?2026h" + "".join(changed) + "\x1b[?2026l")
        self._shown = list(lines)

    def keys(self) -> Iterator[bytes]:
        """What has been pressed: single characters and sequences of function keys."""
        with suppress(BlockingIOError):
            pressed = os.read(self.keyboard, 1024)
            while pressed:
                length = 1
                if pressed[:2] in (b"\x1b[", b"\x1bO"):
                    ends = [place for place in range(2, len(pressed)) if 0x40 <= pressed[place] <= 0x7E]
                    length = ends[0] + 1 if ends else len(pressed)
                yield pressed[:length]
                pressed = pressed[length:]

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            data = data[os.write(self._output, data) :]


@contextmanager
def terminal() -> Iterator[Terminal]:
    """The terminal that the command was started on, as it was when the body is done.

    Raises:
        UsageError: there is none.
    """
    if not os.isatty(1):
        raise UsageError("--top needs a terminal", hint="Leave it out, or use -o jsonl for other programs.")
    try:
        keyboard = os.open("/dev/tty", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise UsageError("--top needs a keyboard, and there is no terminal") from None
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        mode = termios.tcgetattr(keyboard)
        mode[6][termios.VSUSP] = os.fpathconf(keyboard, "PC_VDISABLE").to_bytes(1, "big")
        termios.tcsetattr(keyboard, termios.TCSANOW, mode)
        os.write(1, b"\x1b[?1049h\x1b[?25l")
        yield Terminal(1, keyboard)
    finally:
        os.write(1, b"\x1b[?25h\x1b[?1049l")
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        os.close(keyboard)


class Top:
    """Shows a live run on a terminal; takes the place of `view.View`.

    Args:
        screen: the terminal.
        following: the inputs.
        stop: asked to end by a key.
        condition: of which sessions it has to hold that are counted, and `where`: as it was written.
        asked: what a condition means that somebody types.
    """

    wants_evidence = True
    wants_signals = True
    rest_s = DRAW_S

    def __init__(
        self,
        screen: Terminal,
        following: Following,
        stop: Stop,
        condition: Condition | None,
        where: str,
        asked: Callable[[str], Condition | None],
        *,
        colour: bool,
    ) -> None:
        self._screen, self._following, self._stop = screen, following, stop
        self._condition, self._asked, self._colour = condition, asked, colour
        self._look = Look(where=where)
        self._board = Board()
        self._remarks: list[str] = []
        self._next = 0.0
        self._signals_at = 0.0
        self._lines_before = 0
        self._inodes: dict[str, int] = {}
        self._rotated: set[str] = set()
        self.since: int | None = None
        following.wake_by(screen.keyboard)

    def remark(self, text: object) -> None:
        """Something that the user should know, shown with the findings."""
        self._remarks = [*self._remarks, str(text)][-_MOST_REMARKS:]

    def show(self, batch: Any, live: Live) -> None:
        """Take finished sessions."""
        if batch.count and not live.closing:
            self._board.add(_rows(self._wanted(batch), READS), time.monotonic())
            self._board.add_to_servers(_rows(self._since(batch, READS_OF_SERVERS), READS_OF_SERVERS))

    def show_open(self, batch: Any) -> None:
        """Take sessions that go on."""
        self._board.add_open(_rows(self._wanted(batch), READS), time.monotonic())

    def _wanted(self, batch: Any) -> Any:
        """The sessions that are counted and shown."""
        if self._condition is None:
            return self._since(batch, READS)
        return self._condition.select(self._since(batch, (*READS, *self._condition.columns)))

    def _since(self, batch: Any, columns: Sequence[str]) -> Any:
        """Sessions of the time that is shown."""
        from logscope.cli.view import after

        rows = batch.sessions(list(dict.fromkeys(columns)))
        return rows if self.since is None else after(rows, self.since)

    def pause(self, live: Live) -> None:
        """Draw, if it is time to, and look at the keys."""
        pressed = list(self._screen.keys())
        for key in pressed:
            self._press(key)
        now = time.monotonic()
        if pressed or now >= self._next:
            self._note(live, now)
            self._draw(now)

    # --- drawing --------------------------------------------------------------------------------------------

    def _draw(self, now: float) -> None:
        if self._look.paused and self._look.page == "all" and not self._look.message and now < self._next:
            return
        size = self._screen.size
        lines = drawn(self._board, self._look, *size, now, time.time(), self._colour)
        self._screen.show(lines, size)

    def _note(self, live: Live, now: float) -> None:
        quality = live.quality
        lines = quality["lines_read"]
        self._next = now + (DRAW_S if lines != self._lines_before else REST_S)
        self._lines_before = lines
        if self._look.paused:
            return
        self._board.note(now, lines, quality)
        self._board.sources = list(self._sources(live, now))
        self._board.remarks = self._remarks
        if now >= self._signals_at:
            self._board.states = live.signals.servers
            self._signals_at = now + REST_S
            self._look_for_rotation()

    def _sources(self, live: Live, now: float) -> Iterator[Source]:
        lost = {one.name: one.counts.lost + one.counts.dropped for one in self._following.received}
        today = time.time_ns()
        for state in live.sources():
            rate = self._board.source_rate(state.name, state.lines, now)
            lag = None if state.latest is None else (today - state.latest) / 1e9
            yield Source(state.name, state.lines, rate, lag, state.waiting, lost.get(state.name, 0))

    def _look_for_rotation(self) -> None:
        """Line numbers are those of a file; of another one at its path they tell nothing."""
        for source in self._following.inputs:
            with suppress(OSError):
                inode = Path(source.name).stat().st_ino
                if self._inodes.setdefault(source.name, inode) != inode:
                    self._rotated.add(source.name)

    # --- keys -----------------------------------------------------------------------------------------------

    def _press(self, key: bytes) -> None:
        look = self._look
        look.message = ""
        if look.prompt is not None:
            self._type(key)
            return
        name = _KEY_NAMES.get(key)
        if name == "quit":
            self._stop.ask()
        elif name == "hold":
            look.paused = not look.paused
        elif name == "sort":
            words = list(SORTS)
            look.sort, look.chosen = words[(words.index(look.sort) + 1) % len(words)], 0
        elif name == "filter":
            look.prompt = look.where
        elif name == "help":
            look.page = "help"
        elif name in ("up", "down"):
            look.chosen = max(0, min(look.chosen + (1 if name == "down" else -1), self._choices() - 1))
        elif name == "enter":
            self._enter()
        elif name == "back":
            self._back()

    def _choices(self) -> int:
        if self._look.page == "client":
            return len(self._board.of_client(self._look.client))
        return min(len(self._board.clients), self._screen.size[1])

    def _enter(self) -> None:
        look = self._look
        if look.page == "all":
            clients = ranked(self._board.clients, look.sort, look.chosen + 1)
            if len(clients) > look.chosen:
                look.page, look.client, look.chosen = "client", clients[look.chosen][0], 0
        elif look.page == "client":
            rows = self._board.of_client(look.client)
            if len(rows) > look.chosen:
                look.page, look.session = "session", rows[look.chosen]
                look.lines = self._evidence(rows[look.chosen])

    def _back(self) -> None:
        look = self._look
        look.page = "client" if look.page == "session" else "all"
        if look.page == "all":
            look.chosen = 0

    def _type(self, key: bytes) -> None:
        look = self._look
        assert look.prompt is not None
        if key in (b"\r", b"\n"):
            self._filter(look.prompt)
        elif key in (b"\x1b", b"\x03"):
            look.prompt = None
        elif key in (b"\x7f", b"\x08"):
            look.prompt = look.prompt[:-1]
        elif key.isascii() and key.decode().isprintable():
            look.prompt += key.decode()

    def _filter(self, text: str) -> None:
        """Count from now on what a condition holds of; one that makes no sense stays to be mended."""
        try:
            self._condition = self._asked(text)
        except LogscopeError as error:
            self._look.message = ". ".join(part for part in (error.message, error.hint) if part)
            return
        self._look.where, self._look.prompt, self._look.chosen, self._look.page = text, None, 0, "all"
        self._board = self._board.filtered_anew()

    def _evidence(self, row: Row) -> list[str]:
        """The lines of a session, as far as their files are still the same."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for place in row["events"] or ():
            numbers[place["source"]].append(place["line_number"])
        lines = []
        for source, wanted in numbers.items():
            known: dict[int, str] = {}
            if source not in self._rotated and Path(source).is_file():
                with suppress(InputError):
                    known = lines_of(Path(source), wanted)
            lines += [known.get(number, f"{source}:{number}") for number in wanted]
        return lines


def _rows(batch: Any, names: Sequence[str]) -> Iterator[Row]:
    """Rows as mappings, times in ns."""
    import pyarrow as pa

    columns = {}
    for name in names:
        column = batch.column(name)
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        columns[name] = column.to_pylist()
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
