"""A report as text for a terminal, a pipe or a file.

Text from logs never reaches rich as markup: every cell becomes a `Text` of visible characters. On a narrow
terminal the least important columns of a table are left out, then the growing one is cut.
"""

from __future__ import annotations

import io
import re
import textwrap
from itertools import chain, repeat
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from logscope.report.model import Bars, Cell, Column, Facts, Note, Report, Series, Table
from logscope.report.text import cut, visible
from logscope.report.tones import STYLES, Tone
from logscope.report.wording import moment, number, share, span

if TYPE_CHECKING:
    from logscope.report.writers import Canvas

PROSE_WIDTH = 100
"""Columns of sentences where lines may have any length (pipes, files); tables are as wide as they are."""
_ANY_WIDTH = 1 << 14

_HANGING = re.compile(r" *(?:\d+\. )?")
_BLANKS = re.compile(" +$", re.MULTILINE)
_GAP = 2
_INDENT = 2
_WIDEST_GROWING = 44
_NARROWEST_GROWING = 14
_BLOCKS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_MARKS: dict[Tone, str] = {"good": "✓", "bad": "✗", "warn": "!", "quiet": "·", "plain": "·", "strong": "·"}


def drawn(report: Report, canvas: Canvas) -> str:
    """A report as text, without blanks at the ends of lines."""
    text = io.StringIO()
    width = canvas.width or canvas.page
    to = Console(
        file=text,
        width=width or _ANY_WIDTH,
        force_terminal=canvas.colour,
        color_system="standard" if canvas.colour else None,
        no_color=not canvas.colour,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    _draw(report, to, width or PROSE_WIDTH)
    return _BLANKS.sub("", text.getvalue())


def _draw(report: Report, to: Console, prose_width: int) -> None:
    for position, section in enumerate(report.sections):
        if position:
            to.print()
        if section.title:
            to.print(_text(Cell(section.title, "strong")))
        indent = _INDENT if section.title else 0
        for place, item in enumerate(section.items):
            if place and not (isinstance(item, Note) and isinstance(section.items[place - 1], Note)):
                to.print()
            if isinstance(item, Note):
                for line in _note(item, prose_width - indent):
                    to.print(Text(" " * indent).append_text(line), soft_wrap=True)
            else:
                width = to.width if isinstance(item, Table) else prose_width
                to.print(Padding(_drawn(item, width - indent), (0, 0, 0, indent), expand=False), width=width)


def _drawn(item: Table | Bars | Facts | Series, width: int) -> RenderableType:
    if isinstance(item, Table):
        return _table(item, width)
    if isinstance(item, Bars):
        return _bars(item, width)
    if isinstance(item, Facts):
        return _facts(item)
    return _series(item, width)


def _text(cell: Cell) -> Text:
    return Text(visible(cell.text), style=STYLES[cell.tone], no_wrap=True, overflow="ellipsis")


def _note(note: Note, width: int) -> list[Text]:
    """Its lines: no wider, but for those that must not be broken."""
    tone = STYLES[note.tone]
    prefixes = chain([f"{_MARKS[note.tone]} "], repeat("  "))
    lines = [
        Text(prefix + line, tone)
        for prefix, line in zip(prefixes, _wrapped(note.text, width - 2), strict=False)
    ]
    # Line breaks in a step are its author's; what it quotes from a log has been made visible before.
    parts = [part for step in note.steps for part in step.split("\n")]
    for part in parts:
        if _VERBATIM.match(part):
            lines.append(Text(f"  {visible(part)}"))
        else:
            lines += [Text(f"  {line}") for line in _wrapped(part, width - 2)]
    return lines


_VERBATIM = re.compile(r" {4}[-+@$ ]")
"""Within a step: what is to be put into a file or typed, and must not be broken."""


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width`; what follows the first is indented as its text is, behind a number if it has
    one.
    """
    text = visible(text)
    hang = _HANGING.match(text)
    indent = " " * min(len(hang[0]) if hang else 0, width // 2)
    return textwrap.wrap(
        text, max(width, 8), subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False
    ) or [""]


def _facts(facts: Facts) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=STYLES["quiet"], no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in facts.pairs:
        grid.add_row(Text(visible(name)), Text(visible(cell.text), style=STYLES[cell.tone]))
    return grid


def _table(table: Table, width: int) -> RenderableType:
    if not table.rows:
        return Text(visible(table.empty), style=STYLES["quiet"])
    widths = _widths(table, width)
    drawn = RichTable(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for position, size in widths.items():
        column = table.columns[position]
        justify = "right" if column.right else "left"
        drawn.add_column(column.title, justify=justify, width=size, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for row in table.rows:
        cells = (
            Cell(cut(visible(row[position].text), size), row[position].tone)
            for position, size in widths.items()
        )
        drawn.add_row(*map(_text, cells))
    if not table.note:
        return drawn
    return Group(drawn, Text(visible(table.note), style=STYLES["quiet"]))


def _widths(table: Table, width: int) -> dict[int, int]:
    """The columns that are shown and how wide each is."""
    widths: dict[int, int] = {}
    for position, column in enumerate(table.columns):
        texts = [column.title, *(visible(row[position].text) for row in table.rows)]
        widths[position] = max(map(cell_len, texts))
    natural = dict(widths)
    if _total(widths) <= width:
        return widths
    growing = [position for position in widths if table.columns[position].grow]
    for position in growing:
        widths[position] = min(widths[position], _WIDEST_GROWING)
    for position in sorted(widths, key=lambda place: _kept(table.columns[place])):
        for other in growing:
            excess = max(0, _total(widths) - width)
            if other in widths:
                widths[other] = max(widths[other] - excess, min(widths[other], _NARROWEST_GROWING))
        if _total(widths) <= width or len(widths) == 1:
            break
        del widths[position]
    for position in growing:
        if position in widths:
            widths[position] = min(natural[position], widths[position] + max(0, width - _total(widths)))
    return widths


def _kept(column: Column) -> int:
    return column.keep


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _bars(bars: Bars, width: int) -> RenderableType:
    grid = RichTable.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    name_width = max((cell_len(visible(name)) for name, _, _ in bars.rows), default=0)
    count_width = max((len(number(count)) for _, count, _ in bars.rows), default=0)
    room = min(40, max(4, width - name_width - count_width - 6 - 3 * _GAP))
    most = max((count for _, count, _ in bars.rows), default=1)
    for name, count, tone in bars.rows:
        grid.add_row(
            _text(Cell(name)),
            _text(Cell(number(count))),
            _text(Cell(share(count, bars.whole), "quiet")),
            Text(_bar(count / most * room), style=STYLES[tone]),
        )
    return grid


def _bar(length: float) -> str:
    """A bar of eighths of a cell; never invisible."""
    eighths = max(1, round(length * 8))
    return "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")


def _series(series: Series, width: int) -> RenderableType:
    counts, step = _coarser(series, max(8, min(width - 2, 72)))
    most = max(counts, default=0)
    line = "".join(_LEVELS[min(7, count * 8 // (most + 1))] if count else " " for count in counts)
    each, start = span(step / 1_000_000), moment(series.start)[:16]
    caption = f"{series.title} each {each} from {start} UTC, at most {number(most)}"
    return Group(Text(line, style=STYLES["good"], no_wrap=True), Text(caption, style=STYLES["quiet"]))


def _coarser(series: Series, room: int) -> tuple[list[int], int]:
    """The counts in few enough steps to draw, and how long a step then is."""
    together = max(1, -(-len(series.counts) // room))
    counts = [
        sum(series.counts[start : start + together]) for start in range(0, len(series.counts), together)
    ]
    return counts, series.step * together
