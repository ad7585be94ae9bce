"""Metrics of a live run for Prometheus, over HTTP and as a file for the node exporter's textfile collector.

Names and units are the conventional ones (prometheus.io, "Metric and label naming"). Labels are words that
the configuration has or that are few: outcomes, servers, inputs. Never a client, a queue id or a user, whose
number others decide.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logscope.errors import ListenError, OutputError, UsageError
from logscope.schema import OUTCOMES

if TYPE_CHECKING:
    from logscope.live import Live
    from logscope.sources.following import Following

MOST_LABELS = 200
"""Servers, and inputs, with series of their own; others share one."""
OTHER = "other"
WRITE_S = 15.0
"""From one writing of the file to the next."""
_UPDATE_S = 1.0
_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_READS = (
    "outcome",
    "server",
    "mta_host",
    "masked",
    "duration_ms",
    "message_count",
    "bytes_to_client",
    "ended_at",
)
_FAILED = frozenset({"server_error", "no_server", "timeout"})


def parse_address(text: str) -> tuple[str, int]:
    """What `--metrics` names: a port of this machine, or ADDRESS:PORT.

    >>> parse_address("9108"), parse_address("[::1]:9108")
    (('127.0.0.1', 9108), ('::1', 9108))

    Raises:
        UsageError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--metrics {text}: {port!r} is no port", hint="Write 9108 or 127.0.0.1:9108.")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class Metrics:
    """Counts what a live run hands out; beside the view, and with its methods.

    Args:
        following: the inputs.
        address: where they are served; None for nowhere.
        file: where they are written, ending in `.prom`; None for nowhere.

    Raises:
        UsageError: the package that serves them is not installed.
        ListenError: the address cannot be used.
    """

    wants_evidence = False
    wants_signals = False
    rest_s = 1.0

    def __init__(self, following: Following, address: tuple[str, int] | None, file: Path | None) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            hint = "Install it: pip install 'logscope[metrics]'."
            raise UsageError("metrics need the package prometheus-client", hint=hint) from None
        self._following, self._file = following, file
        self.registry = prometheus.CollectorRegistry()
        self._written = self._updated = 0.0
        self._lines: Counter[tuple[str, str]] = Counter()
        self._labels: dict[str, set[str]] = {"server": set(), "source": set()}
        self.since: int | None = None
        self._define(prometheus)
        self._server: Any = None
        if address is not None:
            try:
                self._server, _ = prometheus.start_http_server(address[1], address[0], self.registry)
            except OSError as error:
                raise ListenError(f"{address[0]}:{address[1]}", error, "--metrics", address[1]) from None

    @property
    def port(self) -> int:
        """Where they are served."""
        return int(self._server.server_address[1])

    def _define(self, prometheus: Any) -> None:
        def counter(name: str, what: str, *labels: str) -> Any:
            return prometheus.Counter(f"logscope_{name}", what, labels, registry=self.registry)

        def gauge(name: str, what: str, *labels: str) -> Any:
            return prometheus.Gauge(f"logscope_{name}", what, labels, registry=self.registry)

        self._read = counter("lines", "Lines read, by what became of them.", "result")
        self._late = counter("late_lines", "Lines that came when their time had passed.")
        self._amended = counter("amended_sessions", "Sessions handed out anew because of late lines.")
        self._evicted = counter(
            "evicted_sessions", "Sessions handed out before their ends, because too many were open."
        )
        self._sessions = counter("sessions", "Sessions that have ended, by outcome.", "outcome")
        self._joined = counter("joins", "Sessions by how surely their hops belong together.", "quality")
        self._messages = counter("messages", "Messages that reached a queue.")
        self._bytes = counter("sent_bytes", "Bytes from servers to clients, as the balancer counted.")
        self._by_server = counter("server_sessions", "Sessions of each server.", "server")
        self._failed = counter(
            "server_failed_sessions", "Those that the server or the way to it failed.", "server"
        )
        self._masked = counter("server_masked_sessions", "Those whose client it did not see.", "server")
        self._took = prometheus.Histogram(
            "logscope_session_duration_seconds",
            "From accept to end.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._source_lines = counter("source_lines", "Lines read of each input.", "source")
        self._source_lost = counter("source_lost_lines", "Lines known to be lost.", "source")
        self._lag = gauge("source_lag_seconds", "From the latest stamp to now.", "source")
        self._waiting = gauge("source_waiting_events", "Events that wait for other inputs.", "source")
        self._started = gauge("start_time_seconds", "When the run began, since 1970.")
        self._started.set(time.time())
        for outcome in OUTCOMES:
            self._sessions.labels(outcome)

    # --- what happens ---------------------------------------------------------------------------------------

    def show(self, batch: Any, live: Live) -> None:
        """Count finished sessions."""
        from logscope.cli.view import after

        if not batch.count:
            return
        rows = batch.sessions(_READS)
        if self.since is not None:
            rows = after(rows, self.since)
        for row in rows.select(list(_READS[:-1])).to_pylist():
            if not (live.closing and row["outcome"] == "open"):  # it has not ended, the run has
                self._count(row)

    def _count(self, row: dict[str, Any]) -> None:
        self._sessions.labels(row["outcome"] or "unknown").inc()
        self._messages.inc(row["message_count"] or 0)
        self._bytes.inc(row["bytes_to_client"] or 0)
        if row["duration_ms"] is not None:
            self._took.observe(max(row["duration_ms"], 0) / 1000)
        name = row["server"] or row["mta_host"]
        if name:
            server = self._label("server", name)
            self._by_server.labels(server).inc()
            self._failed.labels(server).inc(row["outcome"] in _FAILED)
            self._masked.labels(server).inc(row["masked"] is True)

    def show_open(self, batch: Any) -> None:
        """What goes on is not counted."""

    def pause(self, live: Live) -> None:
        """Take the counts of the run, and write the file, if it is time to."""
        now = time.monotonic()
        if now - self._updated >= _UPDATE_S or live.closing:
            self._updated = now
            self._update(live)
        if self._file is not None and (now - self._written >= WRITE_S or live.closing):
            self._written = now
            self._write(self._file)

    def _update(self, live: Live) -> None:
        quality = live.quality
        for name in ("joined_exact", "joined_probable", "ambiguous", "balancer_only", "mta_only"):
            self._raise(self._joined.labels(name.removeprefix("joined_")), ("join", name), quality[name])
        self._raise(self._late, ("late", ""), live.tally.late)
        self._raise(self._amended, ("amended", ""), live.tally.amended)
        self._raise(self._evicted, ("evicted", ""), live.tally.evicted)
        today = time.time_ns()
        for state in live.sources():
            source = self._label("source", state.name)
            self._raise(self._source_lines.labels(source), ("source", state.name), state.lines)
            self._waiting.labels(source).set(state.waiting)
            if state.latest is not None:
                self._lag.labels(source).set((today - state.latest) / 1e9)
        for received in self._following.received:
            lost = received.counts.lost + received.counts.dropped
            self._raise(
                self._source_lost.labels(self._label("source", received.name)), ("lost", received.name), lost
            )
        for name in ("parsed", "foreign", "unparsed"):  # last, so that who sees them sees all before them
            self._raise(self._read.labels(name), ("result", name), quality[name])

    def _raise(self, counter: Any, key: tuple[str, str], value: int) -> None:
        """Bring a counter to what has been counted elsewhere."""
        counter.inc(max(value - self._lines[key], 0))
        self._lines[key] = value

    def _label(self, kind: str, name: str) -> str:
        known = self._labels[kind]
        if name not in known and len(known) < MOST_LABELS:
            known.add(name)
        return name if name in known else OTHER

    def _write(self, file: Path) -> None:
        import prometheus_client as prometheus

        try:
            prometheus.write_to_textfile(str(file), self.registry)
        except OSError as error:
            raise OutputError(f"{file}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Serve them no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
