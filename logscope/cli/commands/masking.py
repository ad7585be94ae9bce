"""`logscope masking`: do the mail servers see their clients' addresses, and if not, what to change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logscope.cli import options
from logscope.cli.run import start
from logscope.errors import InputError


def masking(
    files: options.Files = None,
    since: options.Since = None,
    until: options.Until = None,
    where: options.Where = None,
    tz: options.Zone = None,
    year: options.Year = None,
    grammar: options.Grammar = None,
    haproxy_cfg: options.HaproxyCfg = None,
    postfix_config: options.PostfixConfig = None,
    output: options.Output = None,
    to: options.To = None,
    color: options.Color = None,
    quiet: options.Quiet = None,
) -> int:
    """The verdict for each server, since when, with the evidence and what to change.

    Exit codes: 0 passed; 1 masked, or a header mismatch; 2 unusable input; 3 the logs cannot tell.
    """
    run = start(
        options.said(
            since=since, until=until, where=where, tz=tz, year=year, grammar=grammar, haproxy_cfg=haproxy_cfg,
            postfix_config=postfix_config, output=output, color=color, quiet=quiet,
        ),
        to,
        "table",
    )  # fmt: skip
    from logscope.detect.masking import READS, Judge, exit_status
    from logscope.report.masking import masking_report

    judge = Judge()
    columns = [*READS, *(["events"] if "events" not in READS else [])]
    result = run.tables(files, {"sessions": columns}, lambda _table, batch: judge.add(batch))
    document = judge.document(result.signals)
    quote_examples(document["targets"], run.paths)
    run.write(masking_report(document))
    return run.exit_code(exit_status(document))


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
