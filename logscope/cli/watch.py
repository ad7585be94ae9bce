"""`logscope masking --watch`: the verdict as it changes, from logs that are being written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from logscope.report.text import json_safe, visible

if TYPE_CHECKING:
    from logscope.detect.masking import Judge
    from logscope.live import Live

EVERY_S = 10.0
"""How often it is judged, at most; …"""
_SHARE = 0.1
"""… and so that judging takes no more of the time than this."""


class Watch:
    """Judges what a live run hands out, and writes a line for each target that is another than before.

    Args:
        judge: takes in the sessions.
        stream: written to.
        as_json: lines are the targets as JSON, with `at`.
    """

    rest_s = 1.0

    wants_evidence = False  # example lines are not shown
    wants_signals = True

    def __init__(self, judge: Judge, stream: IO[bytes], *, as_json: bool) -> None:
        self._judge, self._stream, self._as_json = judge, stream, as_json
        self._told: dict[tuple[Any, ...], str] = {}
        self._next = time.monotonic()
        self._new = False
        self.since: int | None = None
        self.document: dict[str, Any] = {"verdict": "unknown", "targets": []}
        """What was judged last."""

    def show(self, batch: Any, _live: Live) -> None:
        """Take in finished sessions, and at the end those that are held back or open."""
        from logscope.detect.masking import READS

        if batch.count:
            self._judge.add(batch.new(batch.sessions(READS)))
            self._new = True

    def show_open(self, batch: Any) -> None:
        """Verdicts are about what has ended."""

    def pause(self, live: Live) -> None:
        """Everything that has arrived was taken in: judge, if it is time or the end."""
        now = time.monotonic()
        if not self._new or (not live.closing and (live.busy or now < self._next)):
            return
        self._new = False
        self.document = self._judge.document(live.signals)
        for target in self.document["targets"]:
            self._tell(target)
        self._stream.flush()
        self._next = now + max(EVERY_S, (time.monotonic() - now) / _SHARE)

    def _tell(self, target: Mapping[str, Any]) -> None:
        names = ("frontend", "backend", "server", "mta_host", "service", "family")
        key = tuple(target[name] for name in names if name != "service")
        state = state_of(target)
        before = self._told.get(key)
        if state == before:
            return
        self._told[key] = state
        at = datetime.now(UTC)
        if self._as_json:
            line = json_safe(json.dumps({"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "before": before, **target}))
        else:
            change = state if before is None else f"{before} → {state}"
            since = f" since {target['since'][:19].replace('T', ' ')} UTC" if target["since"] else ""
            line = visible(f"{at:%Y-%m-%d %H:%M:%S} {name_of(target)}: {change}{since}. {target['cause']}")
        self._stream.write(f"{line}\n".encode("utf-8", "replace"))


def state_of(target: Mapping[str, Any]) -> str:
    """What holds now: the last of its states, where it has any."""
    states = target["evidence"]["states"]
    return str(states[-1]["verdict"] if states else target["verdict"])


def name_of(target: Mapping[str, Any]) -> str:
    """`frontend → backend/server family`, with what is known."""
    way = "/".join(str(target[part]) for part in ("backend", "server") if target[part])
    where = way or str(target["mta_host"] or "(host not known)")
    return " ".join(
        filter(None, (f"{target['frontend']} →" if target["frontend"] else "", where, target["family"]))
    )
