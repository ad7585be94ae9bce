"""From blocks of sessions to the text of log files, in the order in which a log host would have written it.

`render` writes the lines of one block and depends on nothing else, so that several blocks can be rendered at
once. A `Journal` takes them in order and hands out, for each file, what can no longer be preceded by
anything: sessions that arrive later log later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from logscope.errors import UsageError
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.columns import ColumnWriter
from logscope.grammar.fields import address_number
from logscope.grammar.machine.write import LONGEST_FIELD
from logscope.simulate import lines, shapes, texts
from logscope.simulate.layout import *
from logscope.simulate.notices import notices
from logscope.simulate.shapes import HOST_BITS, TAG_BITS
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
class Run:
    """Lines in the order in which the log host got them.

    Attributes:
        data: their text.
        ends: where each of them ends in it.
        times: ns, when the log host got each.
        tags: whose they are, see `lines`.
    """

    data: bytes | memoryview
    ends: Ints
    times: Ints
    tags: Ints

    def __len__(self) -> int:
        return len(self.times)

    def split(self, count: int) -> tuple[Run, Run]:
        """The first lines, and the others, whose text is copied: the memory of the first can go."""
        at = int(self.ends[count - 1]) if count else 0
        data = memoryview(self.data)
        first = Run(data[:at], self.ends[:count], self.times[:count], self.tags[:count])
        rest = Run(bytes(data[at:]), self.ends[count:] - at, self.times[count:], self.tags[count:])
        return first, rest


NOTHING = Run(b"", *(np.empty(0, np.int64) for _ in range(3)))


class LogFiles:
    """The files of a site, and which hosts log to them.

    Attributes:
        names: of the files.
        of_host: for each host's number its file's.
    """

    def __init__(self, simulation: Simulation, style: Style) -> None:
        options = simulation.options
        balancers = (*options.balancers, *options.inner)
        if style.per_host:
            self.names = [*(f"{host.name}.mail.log" for host in options.servers)]
            self.names += [f"{host.name}.haproxy.log" for host in balancers]
            which = list(range(len(self.names)))
        else:
            self.names = ["mail.log", "haproxy.log"]
            which = [0] * len(options.servers) + [1] * len(balancers)
        self.of_host = np.zeros(1 << HOST_BITS, np.int64)
        self.of_host[: len(which)] = which

    def of(self, tags: Ints) -> Ints:
        """For each line the number of its file."""
        return np.asarray(self.of_host[tags >> TAG_BITS & (1 << HOST_BITS) - 1])


class Renderer:
    """Writes the lines of blocks. May be used by several threads at once."""

    def __init__(self, simulation: Simulation, style: Style, catalogue: Catalogue) -> None:
        self._simulation = simulation
        self._style = style
        self._catalogue = catalogue
        self._writer = ColumnWriter(catalogue, machine_code=simulation.machine_code)
        widths = shapes.make_shapes(
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
        self._files = LogFiles(simulation, style)

    def render(self, block: Block) -> list[Run]:
        """The lines of a block, for each file."""
        simulation = self._simulation
        pool = simulation.texts(block)
        s, m, d = block.rows
        room = lines.room(s, m, d)
        e = simulation.memory.empty((shapes.L_WIDTH, room), np.int64)
        arena = simulation.memory.empty((room * shapes.WIDEST + 2,), np.int64)
        count = simulation.kernel(lines.tell)(s, m, d, self._numbers, e, arena)
        e = e[:, :count]
        if self._lose is not None:
            first = int(s[0, S_NUMBER])
            chance = np.random.default_rng([simulation.options.seed, 5, first]).random(count)
            e = e[:, chance >= self._lose[e[shapes.L_TAG] >> TAG_BITS & (1 << HOST_BITS) - 1]]
        files = self._files.of(e[shapes.L_TAG])
        orders = []
        for number in range(len(self._files.names)):
            mine = np.flatnonzero(files == number)
            orders.append(mine[sorted_order(e[shapes.L_TIME][mine])])
        order = np.concatenate(orders)
        out = simulation.memory.empty((160 * len(order) + 2 * LONGEST_FIELD,), np.uint8)
        out, ends = self._writer.write(e[shapes.L_SHAPE][order], e[shapes.L_ROW][order], arena, pool, out)
        times, tags = e[shapes.L_TIME][order], e[shapes.L_TAG][order]
        runs = []
        rest = Run(out.data, ends, times, tags)
        start = begin = 0
        for mine in orders:
            stop = start + len(mine)
            end = int(ends[stop - 1]) if stop else 0
            runs.append(
                Run(rest.data[begin:end], ends[start:stop] - begin, times[start:stop], tags[start:stop])
            )
            start, begin = stop, end
        return runs

    def notices(self) -> list[Run]:
        """What the balancers say of the servers that go down and up because of faults, for each file."""
        told = list(notices(self._simulation.options, self._catalogue, self._style.stamps, self._style.zone))
        files = self._files.of(np.array([notice.host << TAG_BITS for notice in told], np.int64))
        runs = []
        for number in range(len(self._files.names)):
            mine = [notice for notice, file in zip(told, files, strict=True) if file == number]
            ends = np.cumsum([len(notice.text) for notice in mine], dtype=np.int64)
            times = np.array([notice.moment for notice in mine], np.int64)
            tags = np.array([notice.host << TAG_BITS for notice in mine], np.int64)
            runs.append(Run(b"".join(notice.text for notice in mine), ends, times, tags))
        return runs


def _numbers(simulation: Simulation, style: Style, widths: list[int]) -> Ints:
    """The numbers that hold all the time, K_…"""
    options = simulation.options
    fine = style.stamps != "bsd" if style.microseconds is None else style.microseconds
    k = np.zeros(shapes.K_WIDTH, np.int64)
    k[shapes.K_RESOLUTION] = 1000 if fine else 1_000_000_000
    k[shapes.K_BALANCER_RESOLUTION] = 1000 if fine and style.stamps == "rfc5424" else 1_000_000_000
    k[shapes.K_PORTS] = options.smtpd_ports
    k[shapes.K_SOURCE] = options.backend_port
    k[shapes.K_FORWARDED] = style.forwarded
    k[shapes.K_VERSION] = 2 if options.header == "v2" else 1
    k[shapes.K_SERVERS] = len(options.servers)
    k[shapes.K_BALANCERS] = len(options.balancers)
    k[shapes.K_INNER] = len(options.inner)
    k[shapes.K_SCREEN] = options.screen
    hosts = (*options.servers, *options.balancers, *options.inner)
    k[shapes.K_HOSTS] = texts.W_HOSTS + len(hosts)
    changes = _zones(simulation, style)
    k[shapes.K_CHANGES] = len(changes) // 2
    spans = simulation.words.spans
    addresses = [_lower_half(host.address) for host in hosts]
    for first, values in (
        (shapes.K_WIDTHS, widths),
        (shapes.K_ADDRESSES, addresses),
        (shapes.K_ZONES, changes),
        (shapes.K_SPANS, spans),
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
    return [number for change in changes[-shapes.MOST_CHANGES :] for number in change]


# --- order --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """Lines of one file that come next.

    Attributes:
        data: their text.
        tags: of each line.
        first: number of the first of them in the whole of its file, from 1.
    """

    data: bytes | memoryview
    tags: Ints
    first: int


class Journal:
    """Puts the lines of blocks into the order of files.

    Args:
        simulation: the blocks are of.
        style: how many files there are.
    """

    def __init__(self, simulation: Simulation, style: Style) -> None:
        self.files = LogFiles(simulation, style).names
        self._waiting = [NOTHING for _ in self.files]
        self._written = [0] * len(self.files)

    def add(self, runs: Iterable[Run], horizon: int | None = None) -> list[Piece]:
        """Take the lines of the next block; returns those of each file that come next.

        Args:
            runs: for each file.
            horizon: ns, nothing that is added later was logged before it; None: nothing is added later.
        """
        pieces = []
        for number, run in enumerate(runs):
            due, kept = zip(*(_cut(one, horizon) for one in (self._waiting[number], run)), strict=True)
            found = merged(*due)
            pieces.append(Piece(found.data, found.tags, self._written[number] + 1))
            self._written[number] += len(found)
            self._waiting[number] = merged(*kept)
        return pieces

    def take(self, horizon: int | None = None) -> list[Piece]:
        """Of each file the lines logged before a moment (ns); all of them at the end."""
        return self.add([NOTHING for _ in self.files], horizon)


def _cut(run: Run, horizon: int | None) -> tuple[Run, Run]:
    return run.split(len(run) if horizon is None else int(np.searchsorted(run.times, horizon)))


def merged(old: Run, new: Run) -> Run:
    """Both in the order of time; of lines at one time the old one is first.

    The text of the longer run is copied in stretches, between which those of the other one fall.
    """
    if not len(old) or not len(new):
        return old if len(old) else new
    few, many = (old, new) if len(old) <= len(new) else (new, old)
    places = np.searchsorted(many.times, few.times, "left" if few is old else "right")
    stretches = np.flatnonzero(np.diff(places, append=-1)) + 1  # after these of the few come some of the many
    cuts = np.concatenate([[0], many.ends])[places[stretches - 1]]
    one, two = memoryview(many.data), memoryview(few.data)
    parts = []
    begin_one = begin_two = 0
    for end_one, end_two in zip(cuts.tolist(), few.ends[stretches - 1].tolist(), strict=True):
        parts += [one[begin_one:end_one], two[begin_two:end_two]]
        begin_one, begin_two = end_one, end_two
    parts.append(one[begin_one:])
    lengths = np.insert(np.diff(many.ends, prepend=0), places, np.diff(few.ends, prepend=0))
    return Run(
        b"".join(parts),
        np.cumsum(lengths),
        np.insert(many.times, places, few.times),
        np.insert(many.tags, places, few.tags),
    )


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
