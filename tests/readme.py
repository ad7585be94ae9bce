"""The README's examples: blocks of `console`, each a command after `$ ` and what it prints.

`python tests/readme.py --write` runs them and puts in what they print; `tests/test_docs.py` checks that they
still do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(text: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that the text gives for it."""
    for block in BLOCK.finditer(text):
        yield block["command"], block["output"]


def output_of(command: str) -> str:
    """What a command prints on standard output, run in the checkout as a reader would run it.

    Raises:
        RuntimeError: it failed; a finding, exit status 1, is no failure.
    """
    programs = Path(sys.executable).parent
    variables = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    variables.pop("COLUMNS", None)
    shell = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(shell, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    closed_pipe = 141  # of `| head`
    if done.returncode not in (0, 1, closed_pipe):
        raise RuntimeError(f"{command}: exit status {done.returncode}\n{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def written(text: str) -> str:
    """The text with every example's output as it is now."""
    return BLOCK.sub(
        lambda block: f"```console\n$ {block['command']}\n{output_of(block['command'])}```", text
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python tests/readme.py --write")
    README.write_text(written(README.read_text("utf-8")), "utf-8")
