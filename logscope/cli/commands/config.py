"""`logscope config`: what the configurations of HAProxy and Postfix say about their logs."""

from __future__ import annotations

from pathlib import Path

import typer

from logscope.cli import options
from logscope.cli.run import start
from logscope.errors import UsageError

app = typer.Typer(help="What logscope learns from haproxy.cfg, main.cf and master.cf.", no_args_is_help=True)

USUAL = ("/etc/haproxy/haproxy.cfg", "/etc/postfix/main.cf")


@app.callback()
def _group() -> None:
    """See the application's help; with one command only, this keeps its name."""


@app.command()
def show(
    haproxy_cfg: options.HaproxyCfg = None,
    postfix_config: options.PostfixConfig = None,
    output: options.Output = None,
    to: options.To = None,
    color: options.Color = None,
    quiet: options.Quiet = None,
) -> int:
    """Listeners, PROXY headers sent and expected, log formats, networks and domains, each with its line.

    Without any configuration named, the usual places are looked at.
    """
    said = options.said(
        haproxy_cfg=haproxy_cfg, postfix_config=postfix_config, output=output, color=color, quiet=quiet
    )
    run = start(said, to, "table")
    settings = run.settings
    if not settings.haproxy_cfg and not settings.postfix_config:
        found = [path for path in USUAL if Path(path).is_file()]
        if not found:
            hint = (
                "Name them: logscope config show --haproxy-cfg haproxy.cfg --postfix-config mx-a=/etc/postfix"
            )
            raise UsageError("no configuration named, and none at the usual places", hint=hint)
        run.note("reading " + " ".join(found))
        usual = {key: [path] for key, path in zip(("haproxy_cfg", "postfix_config"), USUAL, strict=True)}
        said |= {key: paths for key, paths in usual.items() if paths[0] in found}
        settings = start(said, to, "table").settings
    from logscope.report.config import config_report

    run.write(config_report(settings.site))
    return run.exit_code()
