"""`logscope config`: what the configurations of HAProxy and Postfix say about their logs."""

from __future__ import annotations

from pathlib import Path

import typer

from logscope.cli.options import WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import UsageError

app = typer.Typer(help="What logscope learns from haproxy.cfg, main.cf and master.cf.", no_args_is_help=True)

USUAL = ("/etc/haproxy/haproxy.cfg", "/etc/postfix/main.cf")


@app.callback()
def _group() -> None:
    """See the application's help; with one command only, this keeps its name."""


@app.command()
@with_run("haproxy_cfg", "postfix_config", *WRITTEN)
def show(run: Run) -> int:
    """Listeners, PROXY headers sent and expected, log formats, networks and domains, each with its line.

    Without any configuration named, the usual places are looked at.
    """
    if not run.settings.haproxy_cfg and not run.settings.postfix_config:
        found = [path for path in USUAL if Path(path).is_file()]
        if not found:
            hint = (
                "Name them: logscope config show --haproxy-cfg haproxy.cfg --postfix-config mx-a=/etc/postfix"
            )
            raise UsageError("no configuration named, and none at the usual places", hint=hint)
        run.note("reading " + " ".join(found))
        usual = {key: [path] for key, path in zip(("haproxy_cfg", "postfix_config"), USUAL, strict=True)}
        run.flags = {**run.flags, **{key: paths for key, paths in usual.items() if paths[0] in found}}
        run.reread()
    from logscope.report.config import config_report

    run.write(config_report(run.settings.site))
    return run.exit_code()
