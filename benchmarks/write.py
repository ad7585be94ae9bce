"""Writes the joined sessions of files as JSON lines to standard output, and counts the time for that alone.

Prints to standard error, as JSON, how many sessions there were and the seconds of one core that it took to
make columns of what was joined and to write them. Scanning and joining, which go on beside it in the command,
are not counted, so the figure is not the difference of two runs.

python benchmarks/write.py FILE… > sessions.jsonl
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from logscope import settings as configuration
from logscope.cli.main import own_process
from logscope.correlate.output import Finished
from logscope.pipeline import Pipeline, text_of
from logscope.report.writers import JsonLinesWriter
from logscope.sources import open_inputs
from logscope.sources.reading import column_names, prepare


def main() -> None:
    own_process()  # as the command does
    ready = prepare(configuration.load({}, os.environ, Path.cwd(), datetime.now(UTC)))
    columns = column_names("sessions")
    sessions, seconds = 0, 0.0
    with open_inputs(sys.argv[1:]) as found, open(sys.stdout.fileno(), "wb", closefd=False) as stream:
        text = text_of({"sessions": columns})
        joining = Pipeline(found.sources, ready.catalogue, ready.options, text=text, now=time.time_ns())
        writer = JsonLinesWriter(stream)

        def write(batch: Finished) -> None:
            nonlocal sessions, seconds
            started = time.thread_time()
            writer.write(batch.sessions(columns, coded=True))
            seconds += time.thread_time() - started
            sessions += batch.count

        joining.run(write)
        writer.close()
    print(json.dumps({"sessions": sessions, "seconds": seconds}), file=sys.stderr)


if __name__ == "__main__":
    main()
