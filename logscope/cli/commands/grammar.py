"""`logscope grammar`: which lines are understood, where their wording is documented, and whether the grammars
hold.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli.options import with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, UsageError, did_you_mean

if TYPE_CHECKING:
    from logscope.grammar.model import Template

app = typer.Typer(help="The catalogue of log lines, its documentation, its self test.", no_args_is_help=True)

_More = Annotated[
    list[str] | None, typer.Option("--grammar", metavar="FILE", help="Grammars of your own, besides.")
]


@app.command("list")
@with_run("grammar", "output", "to", "color", grammar=_More)
def list_grammars(
    run: Run,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="How many known wordings have a kind of their own, by daemon and severity.",
        ),
    ] = False,
) -> int:
    """All grammars and how many kinds of line each understands."""
    from logscope.grammar import wordings
    from logscope.report.grammars import coverage_report, grammars_report
    from logscope.sources.reading import prepare

    catalogue = prepare(run.settings).catalogue
    if coverage:
        run.write(coverage_report(list(wordings.coverage(catalogue, wordings.wordings()))))
    else:
        run.write(grammars_report(catalogue.templates))
    return run.exit_code()


@app.command()
@with_run("grammar", "output", "to", "color", grammar=_More)
def show(
    run: Run,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A grammar, a kind of line, or the program that logs it.")
    ],
) -> int:
    """The templates of a grammar, a kind or a program: wording, releases, source."""
    from logscope.report.grammars import templates_report

    templates = _templates(run)
    chosen = [one for one in templates if name in (one.grammar, one.kind, *one.programs)]
    if not chosen:
        known = Counter(word for one in templates for word in (one.grammar, one.kind, *one.programs))
        raise UsageError(
            f"no grammar, kind or program {name!r}",
            hint=did_you_mean(name, known) or "See: logscope grammar list",
        )
    run.write(templates_report(name, chosen))
    return run.exit_code()


@app.command()
@with_run("color", "quiet")
def check(
    run: Run,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES...", help="Grammar files; all without any.")
    ] = None,
) -> int:
    """Test grammars against their own samples: both matchers, both directions, near misses."""
    from logscope.grammar.check import check as self_test
    from logscope.report.grammars import problems_report
    from logscope.sources.reading import grammar_files

    problems = self_test(grammar_files(files or ()))
    run.write(problems_report([str(problem) for problem in problems]))
    return ExitCode.FINDING if problems else ExitCode.FINE


def _templates(run: Run) -> list[Template]:
    from logscope.sources.reading import prepare

    return prepare(run.settings).catalogue.templates
