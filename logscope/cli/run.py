"""What all commands do around their work: settings, inputs, warnings, progress, output, exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from logscope import settings as configuration
from logscope.cli import heap
from logscope.cli.boundary import complain, folded
from logscope.cli.streams import Target, choose_target, opened
from logscope.errors import ExitCode, InputError, LogscopeError, UsageError
from logscope.report.text import visible

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.pipeline import Result
    from logscope.report.model import Report
    from logscope.report.writers import Canvas
    from logscope.settings import Settings
    from logscope.sources import Source


@dataclass
class Run:
    """One run of a command.

    Args:
        settings: what it was told.
        target: where its data goes.
        flags: what the command line said.

    Attributes:
        problems: inputs that could not be read, or not to their end; each has been told to the user.
        paths: the sources that are files, by name.
    """

    settings: Settings
    target: Target
    flags: Mapping[str, Any] = field(default_factory=dict)
    problems: list[LogscopeError] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)

    def reread(self) -> None:
        """Read the settings anew, from where they came.

        Raises:
            LogscopeError: they make no sense; those before stay.
        """
        self.settings = configuration.load(self.flags, os.environ, Path.cwd(), datetime.now(UTC))

    @property
    def canvas(self) -> Canvas:
        """The place where text is shown."""
        from logscope.report.writers import Canvas

        return Canvas(self.target.width, self.target.colour, self.target.page)

    def note(self, text: str) -> None:
        """Tell the user something, unless told to be quiet."""
        if not self.settings.quiet:
            print(folded(visible(f"logscope: {text}"), sys.stderr), file=sys.stderr)

    def note_compiling(self) -> None:
        """Tell why nothing happens at first."""
        self.note(
            "making machine code for this computer, once for each kind of work; this takes about a minute"
        )

    def complain(self, problem: LogscopeError) -> None:
        """Tell the user about an input that cannot be read, and remember it for the exit code."""
        self.problems.append(problem)
        complain(problem, sys.stderr)

    def complain_of(self, sources: Sequence[Source]) -> None:
        """Tell the user which sources ended early."""
        for source in sources:
            if source.problem is not None:
                self.complain(source.problem)

    @property
    def on_terminal(self) -> bool:
        """Whether data goes to a terminal, where a progress bar would only disturb it."""
        return self.target.width is not None

    def exit_code(self, otherwise: ExitCode = ExitCode.FINE) -> ExitCode:
        """The exit code: unreadable input outweighs whatever else is to be said."""
        return ExitCode.UNUSABLE if self.problems else otherwise

    @contextmanager
    def output(self) -> Iterator[IO[bytes]]:
        """The stream for data."""
        with opened(self.target) as stream:
            yield stream

    def write(self, report: Report) -> None:
        """Write a report."""
        from logscope.report.output import write_report

        with self.output() as stream:
            write_report(report, self.target.output, stream, self.canvas)

    @contextmanager
    def inputs(self, files: Sequence[str] | None) -> Iterator[Sequence[Source]]:
        """The sources that the files are; what cannot be read has been told, and leaves the others.

        Raises:
            UsageError: nothing is left to read.
        """
        from logscope.sources import open_inputs

        with open_inputs(self.named(files)) as found:
            for note in found.notes:
                self.note(note)
            for problem in found.problems:
                self.complain(problem)
            if not found.sources:
                raise UsageError("nothing to read")
            self.paths = {one.name: one.path for one in found.sources if one.path is not None and one.is_file}
            yield found.sources

    def named(self, files: Sequence[str] | None) -> Sequence[str]:
        """The files that were named, or those at the usual places.

        Raises:
            UsageError: there are none.
        """
        return files or self._usual_files()

    def _usual_files(self) -> list[str]:
        from logscope.sources import usual_files
        from logscope.sources.find import USUAL_PLACES

        found = usual_files()
        if not found:
            hint = "Give log files, such as: logscope haproxy.log mail.log"
            raise UsageError(
                "no files given, and none at the usual places: " + ", ".join(USUAL_PLACES), hint=hint
            )
        self.note("reading " + " ".join(found))
        return found

    def tables(
        self,
        files: Sequence[str] | None,
        tables: Mapping[str, Sequence[str]],
        sink: Callable[[str, pa.RecordBatch], None],
        *,
        tell: bool = True,
        coded: bool = False,
        with_mta_only: bool = False,
        signals: bool = True,
    ) -> Result:
        """Read files and hand the batches of the wanted tables to the sink.

        Args:
            files: as the command line names them.
            tables: the tables wanted, and of each the columns; no column means all.
            sink: takes the name of a table and rows of it.
            tell: whether to tell the user the result's notes; a report that shows them need not.
            coded: columns of sessions whose values repeat may be dictionary-coded.
            with_mta_only, signals: see `read_tables`.
        """
        from logscope.cli.progress import progress
        from logscope.pipeline import has_machine_code, wants_machine_code
        from logscope.sources.reading import read_tables

        with self.inputs(files) as sources:
            if wants_machine_code(sources, None) and not has_machine_code():
                self.note_compiling()
            with progress(sources, wanted=not self.settings.quiet):
                result = read_tables(
                    sources,
                    self.settings,
                    tables,
                    sink,
                    coded=coded,
                    with_mta_only=with_mta_only,
                    signals=signals,
                )
            self.complain_of(sources)
        if result.counts.lines_read and not result.counts.parsed:
            self.complain(nothing_understood(result.counts.lines_read))
        for note in result.notes if tell else ():
            self.note(note)
        return result


def nothing_understood(lines: int) -> InputError:
    """What to say of input in which no line means anything to us."""
    from logscope.report.wording import plural

    return InputError(
        f"none of {plural(lines, 'line')} is one of HAProxy or Postfix",
        hint="`logscope parse` says what each was taken for, `logscope explain LINE` why.",
    )


def start(flags: Mapping[str, Any], to: str | None, default: str) -> Run:
    """Begin a run.

    Args:
        flags: what the command line said, by key of the settings.
        to: the file to write to, if any.
        default: the format, where nothing was said.
    """
    heap.keep_small()
    environ = os.environ
    settings = configuration.load(flags, environ, Path.cwd(), datetime.now(UTC))
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # A configured format is a wish for standard output; the suffix of a file named on the command line is
    # newer.
    output = flags.get("output") or (None if to else settings.output)
    target = choose_target(output, to, settings.color, default, environ, terminal=terminal)
    return Run(settings, target, flags)
