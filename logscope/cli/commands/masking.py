"""`logscope masking`: do the mail servers see their clients' addresses, and if not, what to change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import InputError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.detect.recovered import Recovered
    from logscope.report.model import Report
    from logscope.site import Site


@with_run(*PERIOD, "where", *LOGS, *WRITTEN, output=options.DocumentOutput)
def masking(
    run: Run,
    files: options.Files = None,
    recovered: Annotated[
        bool,
        typer.Option("--recovered", help="List the clients that are known all the same, and how surely."),
    ] = False,
    migration: Annotated[
        bool,
        typer.Option("--migration", help="How much of the traffic is visible, step by step in time."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on with the logs as they are written, and tell each change."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="WHAT",
            help="Exit with 1 only on these verdicts, or on open_relay (needs --postfix-config); several "
            "with commas.",
        ),
    ] = None,
) -> int:
    """The verdict for each server, since when, with the evidence and what to change.

    With haproxy.cfg and the mail servers' configurations it shows the lines to change; without any files it
    judges those alone.

    Exit codes: 0 passed; 1 masked, or a header mismatch; 2 unusable input; 3 the logs cannot tell.
    """
    from logscope.detect.masking import DELIVERIES, MAIL, READS, Judge, exit_status, with_configuration
    from logscope.detect.recovered import SESSIONS, Recovered

    site, failures = run.settings.site, _failures(fail_on or ())
    if recovered and migration:
        raise UsageError("--recovered and --migration are two reports", hint="Run the command once for each.")
    if watch:
        if recovered or migration or run.target.output not in ("table", "jsonl"):
            raise UsageError(
                "--watch tells changes: a line each, or JSON lines", hint="Use -o table or -o jsonl."
            )
        return _watched(run, files, failures)
    configured = run.flags.keys() & {"haproxy_cfg", "postfix_config"}
    if not files and configured and not (recovered or migration):
        return _by_configuration(run, site, failures)
    judge, found = Judge(site), Recovered() if recovered else None

    def take(table: str, batch: pa.RecordBatch) -> None:
        if table == "deliveries":
            judge.add_deliveries(batch)
            return
        judge.add(batch)
        if found is not None:
            found.add(batch)

    columns = dict.fromkeys((*READS, *MAIL, "events", *(SESSIONS if recovered else ())))
    tables = {"sessions": list(columns), "deliveries": DELIVERIES}
    result = run.tables(files, tables, take, with_mta_only=True)
    document = judge.document(result.signals)
    if site.targets:
        document = with_configuration(document, site, _texts(site))
    if found is not None:
        run.write(_recovered_report(found, site))
    elif migration:
        from logscope.report.migration import migration_report

        run.write(migration_report(judge.migration(result.signals)))
    else:
        from logscope.report.masking import masking_report

        quote_examples(document["targets"], run.paths)
        run.write(masking_report(document))
    return run.exit_code(exit_status(document, failures))


def _watched(run: Run, files: Sequence[str] | None, failures: Sequence[str]) -> int:
    """The verdict on what the files have, then whenever it changes."""
    from logscope.cli.live import Wishes, run_live
    from logscope.live import GRACE
    from logscope.sources.listen import Access

    wishes = Wishes(
        files=files, endpoints=(), access=Access(), from_start=True, follow=True, grace=GRACE, events=False,
        watch=True, fail_on=failures,
    )  # fmt: skip
    return run_live(run, wishes)


def _by_configuration(run: Run, site: Site, failures: Sequence[str]) -> int:
    """The verdict without logs."""
    from logscope.detect.masking import exit_status, of_configuration
    from logscope.report.masking import masking_report

    for note in site.notes:
        run.note(note)
    document = of_configuration(site, _texts(site))
    run.write(masking_report(document))
    return run.exit_code(exit_status(document, failures))


def _failures(named: Sequence[str]) -> list[str]:
    """What to fail on.

    Raises:
        UsageError: one of them is no verdict.
    """
    from logscope.detect.masking import FAILURES

    words = [word.strip() for part in named for word in part.split(",") if word.strip()]
    for word in words:
        if word not in FAILURES:
            hint = did_you_mean(word, FAILURES) or f"One of: {', '.join(FAILURES)}."
            raise UsageError(f"--fail-on {word}: there is no such verdict", hint=hint)
    return words


def _texts(site: Site) -> dict[str, str]:
    """The files of the configurations by name."""
    names = [name for balancer in site.balancers for name in balancer.files]
    names += [name for server in site.mail_servers for name in server.files]
    return {name: Path(name).read_text("utf-8", "replace") for name in names}


def _recovered_report(found: Recovered, site: Site) -> Report:
    from logscope.detect.recovered import rows, unmasking
    from logscope.report.recovered import recovered_report

    clients = found.clients()
    met = unmasking(clients, site, _tables(site))
    return recovered_report(list(rows(clients)), found.masked, met)


def _tables(site: Site) -> dict[str, str]:
    """The access lists beside the configurations given, as far as they can be read."""
    from logscope.site.access import tables

    found = {}
    for name in (name for server in site.mail_servers for name in tables(server)):
        with suppress(OSError):
            found[name] = Path(name).read_text("utf-8", "replace")
    return found


def quote_examples(targets: Sequence[Mapping[str, Any]], paths: Mapping[str, Path]) -> None:
    """Put the text of the example lines beside their places.

    Args:
        targets: of the document; changed.
        paths: the sources that can be read again, by name. Pipes cannot.
    """
    from logscope.sources.lines import lines_of

    examples = [
        one for target in targets for one in target["evidence"].get("examples", ()) if "text" not in one
    ]
    by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for example in examples:
        if example["source"] in paths:
            by_source[example["source"]].append(example)
    for source, own in by_source.items():
        try:
            lines = lines_of(paths[source], [example["line_number"] for example in own])
        except InputError:  # gone meanwhile; the place is told all the same
            continue
        for example in own:
            if example["line_number"] in lines:
                example["text"] = lines[example["line_number"]]
