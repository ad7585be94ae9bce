"""Machine code for a live run, compiled by a process beside it: the run reads on in plain Python meanwhile.

Compiling takes most of a minute where nothing is kept on disk yet, and holds up everything else in its
process. The child leaves what it compiled where machine code is kept; the run loads it from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

_CHILD = "import sys; sys.path[:] = {path!r}; from logscope.cli.compiling import main; main()"
_LINES = b"""\
Nov 22 10:00:01 mx-a postfix/postscreen[7]: CONNECT from [192.0.2.10]:41522 to [192.0.2.25]:25
Nov 22 10:00:01 mx-a postfix/smtpd[8]: connect from unknown[192.0.2.10]
Nov 22 10:00:02 edge1 haproxy[9]: 192.0.2.10:41522 [22/Nov/2026:10:00:01.000] f b/s 1/0/900 0 -- 1/1/0/0/0 0/0
"""
_PATIENCE_S = 1.0


class Compiling:
    """The process that compiles, from when it is made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD.format(path=sys.path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent
        )  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._process.poll() is not None

    @property
    def failed(self) -> bool:
        """Whether it ended without machine code."""
        return self._process.poll() not in (None, 0)

    def close(self) -> None:
        """End it."""
        if not self.is_over:
            self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Have a live run in machine code do all that it does, once."""
    from logscope.grammar import catalogue
    from logscope.live import Live
    from logscope.pipeline import Options
    from logscope.schema import TABLES
    from logscope.sources.pipes import Piped

    reading, writing = os.pipe()
    os.write(writing, _LINES)
    os.close(writing)
    columns = [column.name for column in TABLES["live_sessions"]]
    live = Live(catalogue.load(), Options(machine_code=True, year=2026), deliveries=True)
    live.most_kept = -1  # hand out what is open, too
    with closing(Piped("-", reading)) as source:
        live.add([source], 0, 0)
        for now in (0, 1):
            for batch in (*live.pump(now), *live.still_open(now, 0)):
                batch.sessions(columns)
        for batch in live.finish(2):
            batch.sessions(columns)
