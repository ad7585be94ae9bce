"""From blocks of sessions to the text of log files, in the order in which a log host would have written it.

`render` writes the lines of one block and depends on nothing else, so that several blocks can be rendered at
once. A `Journal` takes them in order and hands out, for each file, what can no longer be preceded by
anything: sessions that arrive later log later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel
from logscope.errors import UsageError
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.columns import ColumnWriter
from logscope.grammar.fields import address_number
from logscope.simulate import lines, texts
from logscope.simulate.layout import *
from logscope.simulate.lines import HOST_BITS, TAG_BITS
from logscope.simulate.notices import notices
from logscope.simulate.simulation import Block, Simulation
from logscope.simulate.site import known_zone

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

STAMPS = ("bsd", "rfc3339", "rfc5424")


@dataclass(frozen=True)
class Style:
    """How the daemons of the site log.

    Attributes:
        stamps: `bsd` (`Nov 22 09:18:57`), `rfc3339`, or `rfc5424`.
        microseconds: stamps have them; the balancer's only as `rfc5424`, as the real one sends them. None:
            where `stamps` has room for them.
        forwarded: in a chain, the outer balancer tells the inner one its client.
        zone: of the hosts' clocks.
        per_host: a file for each host instead of one for the balancers and one for the mail servers.
        lose: share of the lines of each host that are lost on their way, by the host's name.
    """

    stamps: str = "bsd"
    microseconds: bool | None = None
    forwarded: bool = True
    zone: str = "UTC"
    per_host: bool = False
    lose: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.stamps not in STAMPS:
            raise UsageError(f"unknown stamps {self.stamps!r}; known: {', '.join(STAMPS)}")
        known_zone(self.zone)
        for name, share in self.lose:
            if not 0 <= share <= 1:
                raise UsageError(f"{share:g} is no share of the lines of {name}: give a number from 0 to 1")


@dataclass(frozen=True)
class Rendered:
    """The lines of one block, in no order.

    Attributes:
        data: their text.
        starts, ends: where each line begins and ends.
        times: ns, when the log host got it.
        tags: whose it is, see `lines`.
    """

    data: Bytes
    starts: Ints
    ends: Ints
    times: Ints
    tags: Ints


class Renderer:
    """Writes the lines of blocks. May be used by several threads at once."""

    def __init__(self, simulation: Simulation, style: Style, catalogue: Catalogue) -> None:
        self._simulation = simulation
        self._style = style
        self._catalogue = catalogue
        self._writer = ColumnWriter(catalogue, machine_code=simulation.machine_code)
        widths = lines.make_shapes(
            self._writer,
            catalogue,
            stamps=style.stamps,
            ports=simulation.options.smtpd_ports,
            source=simulation.options.backend_port,
        )
        self._numbers = _numbers(simulation, style, widths)
        options = simulation.options
        hosts = (*options.servers, *options.balancers, *options.inner)
        self._lose = _losses([host.name for host in hosts], style)

    def render(self, block: Block) -> Rendered:
        """The lines of a block."""
        simulation = self._simulation
        pool = simulation.texts(block)
        s, m, d = block.sessions, block.messages, block.deliveries
        room = lines.room(s, m, d)
        e = np.empty((lines.L_WIDTH, room), np.int64)
        arena = np.empty(room * lines.WIDEST + 2, np.int64)
        count = simulation.kernel(lines.tell)(s, m, d, self._numbers, e, arena)
        e = e[:, :count]
        if self._lose is not None:
            first = int(s[S_NUMBER, 0])
            chance = np.random.default_rng([simulation.options.seed, 5, first]).random(count)
            e = e[:, chance >= self._lose[e[lines.L_TAG] >> TAG_BITS & (1 << HOST_BITS) - 1]]
        out, ends = self._writer.write(e[lines.L_SHAPE], e[lines.L_ROW], arena, pool)
        starts = np.empty_like(ends)
        starts[:1] = 0
        starts[1:] = ends[:-1]
        return Rendered(out, starts, ends, e[lines.L_TIME], e[lines.L_TAG])

    def notices(self) -> Rendered:
        """What the balancers say of the servers that go down and up because of faults."""
        told = list(notices(self._simulation.options, self._catalogue, self._style.stamps, self._style.zone))
        ends = np.cumsum([len(notice.text) for notice in told], dtype=np.int64)
        starts = ends - np.array([len(notice.text) for notice in told], np.int64)
        data = np.frombuffer(b"".join(notice.text for notice in told), np.uint8)
        times = np.array([notice.moment for notice in told], np.int64)
        tags = np.array([notice.host << TAG_BITS for notice in told], np.int64)
        return Rendered(data, starts, ends, times, tags)


def _numbers(simulation: Simulation, style: Style, widths: list[int]) -> Ints:
    """The numbers that hold all the time, K_…"""
    options = simulation.options
    fine = style.stamps != "bsd" if style.microseconds is None else style.microseconds
    k = np.zeros(lines.K_WIDTH, np.int64)
    k[lines.K_RESOLUTION] = 1000 if fine else 1_000_000_000
    k[lines.K_BALANCER_RESOLUTION] = 1000 if fine and style.stamps == "rfc5424" else 1_000_000_000
    k[lines.K_PORTS] = options.smtpd_ports
    k[lines.K_SOURCE] = options.backend_port
    k[lines.K_FORWARDED] = style.forwarded
    k[lines.K_VERSION] = 2 if options.header == "v2" else 1
    k[lines.K_SERVERS] = len(options.servers)
    k[lines.K_BALANCERS] = len(options.balancers)
    k[lines.K_INNER] = len(options.inner)
    k[lines.K_SCREEN] = options.screen
    hosts = (*options.servers, *options.balancers, *options.inner)
    k[lines.K_HOSTS] = texts.W_HOSTS + len(hosts)
    changes = _zones(simulation, style)
    k[lines.K_CHANGES] = len(changes) // 2
    spans = simulation.words.spans
    addresses = [_lower_half(host.address) for host in hosts]
    for first, values in (
        (lines.K_WIDTHS, widths),
        (lines.K_ADDRESSES, addresses),
        (lines.K_ZONES, changes),
        (lines.K_SPANS, spans),
    ):
        k[first : first + len(values)] = values
    return k


def _lower_half(address: str) -> int:
    return address_number(address.encode()) & (1 << 63) - 1


def _losses(hosts: list[str], style: Style) -> NDArray[np.float64] | None:
    if not style.lose:
        return None
    shares = np.zeros(1 << HOST_BITS)
    for name, share in style.lose:
        if name not in hosts:
            raise UsageError(f"there is no host {name!r} to lose lines of; there are {', '.join(hosts)}")
        shares[hosts.index(name)] = share
    return shares


def _zones(simulation: Simulation, style: Style) -> list[int]:
    """From when on which offset of the hosts' clocks holds, and it, by turns, ns."""
    zone = ZoneInfo(style.zone)
    options = simulation.options
    first = datetime.fromtimestamp(options.start_ns // 1_000_000_000, UTC) - timedelta(days=1)
    changes: list[tuple[int, int]] = []
    for quarter in range(int((options.duration_s + 10 * 86400) / 900)):
        moment = first + timedelta(seconds=900 * quarter)
        offset = moment.astimezone(zone).utcoffset() or timedelta()
        ns = round(offset.total_seconds()) * 1_000_000_000
        if not changes or changes[-1][1] != ns:
            changes.append((int(moment.timestamp()) * 1_000_000_000, ns))
        if style.zone == "UTC":
            break
    return [number for change in changes[-lines.MOST_CHANGES :] for number in change]


# --- order --------------------------------------------------------------------------------------------------


@dataclass
class _Waiting:
    """Lines of one file that others may still precede."""

    data: Bytes = field(default_factory=lambda: np.empty(0, np.uint8))
    starts: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    ends: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    times: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    tags: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Piece:
    """Lines of one file that come next.

    Attributes:
        data: their text.
        tags: of each line.
        first: number of the first of them in the whole of its file, from 1.
    """

    data: Bytes
    tags: Ints
    first: int


class Journal:
    """Puts the lines of blocks into the order of files.

    Args:
        simulation: the blocks are of.
        style: how many files there are.
    """

    def __init__(self, simulation: Simulation, style: Style) -> None:
        self._simulation = simulation
        options = simulation.options
        balancers = (*options.balancers, *options.inner)
        if style.per_host:
            self.files = [*(f"{host.name}.mail.log" for host in options.servers)]
            self.files += [f"{host.name}.haproxy.log" for host in balancers]
            which = list(range(len(self.files)))
        else:
            self.files = ["mail.log", "haproxy.log"]
            which = [0] * len(options.servers) + [1] * len(balancers)
        self._file_of = np.zeros(1 << HOST_BITS, np.int64)
        self._file_of[: len(which)] = which
        self._waiting = [_Waiting() for _ in self.files]
        self._written = [0] * len(self.files)

    def add(self, rendered: Rendered) -> None:
        """Take the lines of the next block."""
        files = self._file_of[rendered.tags >> TAG_BITS & (1 << HOST_BITS) - 1]
        for number, waiting in enumerate(self._waiting):
            mine = np.flatnonzero(files == number)
            self._waiting[number] = self._joined(waiting, rendered, mine)

    def _joined(self, waiting: _Waiting, rendered: Rendered, mine: Ints) -> _Waiting:
        """What waits, and the new lines, sorted by time; of lines at one time the older one is first."""
        times = np.concatenate([waiting.times, rendered.times[mine]])
        order = sorted_order(times)
        old = len(waiting.times)
        starts = np.concatenate([waiting.starts, rendered.starts[mine]])[order]
        ends = np.concatenate([waiting.ends, rendered.ends[mine]])[order]
        tags = np.concatenate([waiting.tags, rendered.tags[mine]])[order]
        data, positions = self._gathered(order < old, starts, ends, waiting.data, rendered.data)
        return _Waiting(data, positions[:-1], positions[1:], times[order], tags)

    def _gathered(
        self, old: NDArray[np.bool_], starts: Ints, ends: Ints, one: Bytes, two: Bytes
    ) -> tuple[Bytes, Ints]:
        positions = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(ends - starts, out=positions[1:])
        data = np.empty(int(positions[-1]), np.uint8)
        self._simulation.kernel(gather_lines)(old, starts, positions, one, two, data)
        return data, positions

    def take(self, horizon: int | None = None) -> list[Piece]:
        """Of each file the lines logged before a moment (ns); all of them at the end."""
        pieces = []
        for number, waiting in enumerate(self._waiting):
            count = len(waiting.times) if horizon is None else int(np.searchsorted(waiting.times, horizon))
            cut = int(waiting.starts[count]) if count < len(waiting.starts) else len(waiting.data)
            pieces.append(Piece(waiting.data[:cut], waiting.tags[:count], self._written[number] + 1))
            self._written[number] += count
            self._waiting[number] = _Waiting(
                waiting.data[cut:],
                waiting.starts[count:] - cut,
                waiting.ends[count:] - cut,
                waiting.times[count:],
                waiting.tags[count:],
            )
        return pieces


def sorted_order(times: Ints) -> Ints:
    """Places in the order of time, of equal ones in their own order.

    Times are whole microseconds; one sort of numbers that hold time and place is several times as quick as
    a stable sort.
    """
    if len(times) == 0:
        return np.empty(0, np.int64)
    bits = max(int(len(times) - 1).bit_length(), 1)
    since = (times - times.min()) // MICROSECOND
    if int(since.max()).bit_length() + bits > 62:
        return np.argsort(times, kind="stable")
    keys = np.sort(since << bits | np.arange(len(times)))
    return np.asarray(keys & (1 << bits) - 1)


@kernel
def gather_lines(old: Any, starts: Ints, positions: Ints, one: Bytes, two: Bytes, out: Bytes) -> None:
    """Copy lines to their places, out of the first or the second piece of text."""
    for i in range(starts.shape[0]):
        at = positions[i]
        start = starts[i]
        length = positions[i + 1] - at
        if old[i]:
            for n in range(length):
                out[at + n] = one[start + n]
        else:
            for n in range(length):
                out[at + n] = two[start + n]
