#!/usr/bin/env python3
"""Stands in for journalctl, as its manual describes it, over a file with one JSON record a line.

    LOGSCOPE_TEST_JOURNAL=FILE journalctl -f -o json --after-cursor=…

Records have fields as strings, lists of numbers (not UTF-8) or lists of these (given several times). A cursor
that is not there is an error, as of a journal that is another one.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ALWAYS = ("__CURSOR", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "_BOOT_ID")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-o", "--output", choices=["json"], required=True)
    parser.add_argument("-n", "--lines", default=None)
    parser.add_argument("--no-tail", action="store_true")
    parser.add_argument("--after-cursor")
    parser.add_argument("--since")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--no-pager", action="store_true")
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("--output-fields")
    parser.add_argument("-u", "--unit", action="append", default=[])
    parser.add_argument("-D", "--directory")
    parser.add_argument("matches", nargs="*")
    told = parser.parse_args()
    if os.environ.get("LOGSCOPE_TEST_JOURNAL_FAILS"):
        print("No journal files were opened due to insufficient permissions.", file=sys.stderr)
        return 1
    path = Path(os.environ["LOGSCOPE_TEST_JOURNAL"])
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    position = sum(map(len, whole))
    records = [json.loads(line) for line in whole]
    if told.after_cursor is not None:
        places = [place for place, one in enumerate(records) if one["__CURSOR"] == told.after_cursor]
        if not places:
            print("Failed to seek to cursor: Invalid argument", file=sys.stderr)
            return 1
        records = records[places[0] + 1 :]
    if told.since is not None:
        least = int(told.since.removeprefix("@")) * 1_000_000
        records = [one for one in records if int(one["__REALTIME_TIMESTAMP"]) >= least]
    count = told.lines if told.lines is not None else "10" if told.follow and not told.no_tail else "all"
    if count != "all":
        records = records[max(len(records) - int(count), 0) :]
    show(records, told)
    with path.open("rb") as file:
        file.seek(position)
        rest = b""
        while told.follow:
            data = file.read()
            if not data:
                time.sleep(0.01)
                if os.getppid() == 1:
                    return 0
                continue
            *complete, rest = (rest + data).split(b"\n")
            show([json.loads(line) for line in complete], told)
    return 0


def show(records: list[dict[str, object]], told: argparse.Namespace) -> None:
    for record in records:
        if told.unit and record.get("_SYSTEMD_UNIT") not in {f"{unit}.service" for unit in told.unit}:
            continue
        if any(str(record.get(name)) != value for name, _, value in (m.partition("=") for m in told.matches)):
            continue
        shown = dict(record)
        if told.output_fields:
            wanted = {*told.output_fields.split(","), *ALWAYS}
            shown = {name: value for name, value in record.items() if name in wanted}
        if not told.all:
            shown = {name: None if len(json.dumps(value)) > 4096 else value for name, value in shown.items()}
        sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)
