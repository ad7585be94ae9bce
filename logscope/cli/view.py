"""What a live run shows: finished sessions, or lines, in the format that was asked for."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from logscope.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.cli.streams import Target
    from logscope.grammar.catalogue import Catalogue
    from logscope.live import Live
    from logscope.report.writers import Canvas, TableWriter
    from logscope.where import Condition


class View:
    """Writes what a live run hands out.

    Args:
        target, stream, canvas: where it goes.
        catalogue: its fields are the columns that events can have.
        events: lines are shown, not sessions.
        condition: of which rows it has to hold that are shown; None for all.
        continues: rows have been written before, with what stands above them.

    Attributes:
        shown: sessions that were shown when they were over, each once.
    """

    rest_s = 60.0

    def __init__(
        self,
        target: Target,
        stream: IO[bytes],
        canvas: Canvas,
        catalogue: Catalogue,
        *,
        events: bool,
        condition: Condition | None = None,
        continues: bool = False,
    ) -> None:
        self._stream = stream
        self._events = events
        self._for_people = target.output == "table"
        self._on_terminal = target.width is not None
        self._continues = continues
        self._writer, self._columns = self._prepared(target.output, stream, canvas, catalogue)
        self._condition = condition
        needed = condition.columns if condition else ()
        self._needed = tuple(dict.fromkeys((*self._columns, *needed)))
        self.since: int | None = None
        self.shown = 0

    def _prepared(
        self, output: str, stream: IO[bytes], canvas: Canvas, catalogue: Catalogue
    ) -> tuple[TableWriter, tuple[str, ...]]:
        from logscope.report.stream import READS, SessionLines
        from logscope.report.writers import table_writer

        if self._events:
            from logscope import events

            schema = events.schema(catalogue)
            continues = self._continues
            return table_writer(output, "events", stream, canvas, schema, continues=continues, live=True), ()
        if self._for_people:
            return SessionLines(stream, canvas), READS
        continues = self._continues
        writer = table_writer(output, "live_sessions", stream, canvas, continues=continues, live=True)
        return writer, tuple(column.name for column in TABLES["live_sessions"])

    @property
    def wants_signals(self) -> bool:
        """Nothing is said of servers."""
        return False

    @property
    def wants_evidence(self) -> bool:
        """Whether the lines of a session are shown with it."""
        return "events" in self._needed

    def show(self, batch: Any, live: Live) -> None:
        """Show finished sessions. Those that have not ended when the run does are none on a terminal."""
        if self._events or not batch.count:
            return
        rows = batch.sessions(self._needed)
        ended = live.closing and self._for_people and self._on_terminal
        wanted = ~batch.unended if ended else None
        self.shown += self._write(self._recent(rows if wanted is None else rows.filter(wanted)))
        if batch.amendments:
            again = batch.is_amendment if wanted is None else batch.is_amendment & wanted
            self.shown -= self._selected(self._recent(rows.filter(again))).num_rows

    def _recent(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows if self.since is None else after(rows, self.since)

    def show_open(self, batch: Any) -> None:
        """Show sessions that go on."""
        if not self._events:
            self._write(self._recent(batch.sessions(self._needed)))

    def pause(self, live: Live) -> None:
        """Everything that has arrived has been shown."""
        if self._events:
            for rows in live.take_lines():
                self._write(rows if self.since is None else _later(rows, self.since))
        self._stream.flush()

    def _selected(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows if self._condition is None else self._condition.select(rows)

    def _write(self, rows: pa.RecordBatch) -> int:
        """Write those that are wanted; returns how many they are."""
        rows = self._selected(rows)
        if rows.num_rows:
            self._writer.write(rows.select(list(self._columns)) if self._columns else rows)
        return int(rows.num_rows)


def after(rows: pa.RecordBatch, moment: int) -> pa.RecordBatch:
    """Sessions of which something happened after a moment: it ended, or brought mail that was delivered."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ended = rows.column("ended_at").cast(pa.int64())
    later = pc.fill_null(pc.greater(ended, moment), True)
    return rows.filter(pc.or_(later, pc.greater(rows.column("message_count"), 0)))


def _later(rows: pa.RecordBatch, moment: int) -> pa.RecordBatch:
    """Lines that were written after a moment."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.fill_null(pc.greater(rows.column("logged_at").cast(pa.int64()), moment), True))
