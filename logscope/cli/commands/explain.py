"""`logscope explain LINE`: why a line was read the way it was, or why it was not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli.options import with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from logscope.grammar.catalogue import Catalogue
    from logscope.grammar.explain import Explanation
    from logscope.grammar.suggest import Suggestion


@with_run("grammar", "haproxy_cfg", "log_format", "output", "to", "color")
def explain(
    run: Run,
    lines: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LINE...", help="Log lines, each quoted; `-` or nothing reads them from standard input."
        ),
    ] = None,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="Draft a template, as a grammar file, for a line nothing understood."),
    ] = False,
) -> int:
    """The kind of a line and its fields, or the wordings that came nearest and the column where each failed.

    Exit code 1 when a line of HAProxy or Postfix is not understood.
    """
    given = [
        line.encode("utf-8", "surrogateescape") for line in lines or () if line != "-"
    ] or _standard_input()
    from logscope.grammar.explain import explain as explained
    from logscope.grammar.fields import text_of
    from logscope.postfix.secrets import redacted_line
    from logscope.report.explain import explain_report
    from logscope.sources.reading import prepare

    catalogue = prepare(run.settings).catalogue
    found = [explained(redacted_line(text_of(line)), catalogue) for line in given]
    run.write(explain_report(found, _drafts(found, catalogue) if suggest else {}))
    return ExitCode.FINDING if any(one.kind == "unparsed" for one in found) else ExitCode.FINE


def _drafts(found: Sequence[Explanation], catalogue: Catalogue) -> dict[int, Suggestion]:
    """A draft for each line that has no kind of its own, by its place."""
    from logscope.grammar.suggest import suggest

    rough = {
        place: one
        for place, one in enumerate(found)
        if one.message.strip()
        and (one.kind == "unparsed" or (one.template is not None and not one.template.structured))
    }
    return {
        place: suggest(
            one.message, one.envelope_values.get("service", "haproxy").rpartition("/")[2], catalogue
        )
        for place, one in rough.items()
    }


def _standard_input() -> list[bytes]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "no line given", hint="Quote the line: logscope explain 'Jul 26 10:00:00 mx-a postfix/…'"
        )
    return [line for line in sys.stdin.buffer.read().splitlines() if line.strip()]
