"""Who was behind what: the clients and networks that a thing happened to most, in each few minutes, and who
was never seen before.

Bounded: of each code and bucket of time the twelve busiest are kept; whether an address was seen before is
remembered in a Bloom filter, which forgets nobody and mistakes one address in some thousands for a known one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies.columns import Coded, Longs, counted, numbered, numbers_of
from logscope.detect.anomalies.ledger import SECOND

BUCKET_S = 300
_KEPT = 12
_MOST_BUCKETS = 40_000
_BITS = 1 << 26

Code = tuple[str, str]


class Seen:
    """Addresses seen so far."""

    def __init__(self) -> None:
        self._bits = np.zeros(_BITS // 8, np.uint8)

    def test_and_add(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these have been seen before; all of them have from now on."""
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)
        known = np.ones(len(texts), np.bool_)
        for turn in range(3):
            place = (hashes >> np.uint64(20 * turn)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(38)
            byte, bit = (
                (place >> np.uint64(3)).astype(np.int64),
                np.uint8(1) << (place & np.uint64(7)).astype(np.uint8),
            )
            new = (self._bits[byte] & bit) == 0
            known &= ~new
            byte, bit = byte[new], bit[new]
            while len(byte):  # of several bits of one byte one is set at a time
                self._bits[byte] |= bit
                lost = (self._bits[byte] & bit) == 0
                byte, bit = byte[lost], bit[lost]
        return known


def networks_of(clients: Sequence[str]) -> Coded:
    """The network of each address: /24 of IPv4, /48 of IPv6."""
    return numbered(map(_network_of, clients))


def _network_of(client: str) -> str:
    if ":" not in client:
        head, dot, _ = client.rpartition(".")
        return f"{head}.0/24" if dot else client
    parts = client.split(":", 3)
    return f"{':'.join(parts[:3])}::/48".replace(":::", "::") if len(parts) == 4 else client


class Contributors:
    """The busiest clients (or networks) by code and bucket of time."""

    def __init__(self) -> None:
        self._top: dict[tuple[int, int], Counter[str]] = {}
        self._distinct: dict[tuple[int, int], int] = defaultdict(int)
        self.total: dict[tuple[int, int], int] = defaultdict(int)

    def add(self, clients: Longs, texts: Sequence[str], codes: Longs, times_ns: Longs) -> None:
        """Count one of each: who, what, when; clients below 0 are not known."""
        some = clients >= 0
        clients, codes, buckets = clients[some], codes[some], times_ns[some] // (BUCKET_S * SECOND)
        if not len(clients):
            return
        first, width = int(buckets.min()), int(buckets.max() - buckets.min()) + 1
        groups = codes * width + (buckets - first)
        keys, counts = counted(groups * len(texts) + clients)
        group, client = keys // len(texts), keys % len(texts)
        present, group = numbers_of(group)
        sizes, whole = np.bincount(group), np.bincount(group, counts).astype(np.int64)
        names = [(number // width, number % width + first) for number in present.tolist()]
        for key, size, sum_ in zip(names, sizes.tolist(), whole.tolist(), strict=True):
            self._distinct[key] += size
            self.total[key] += sum_
        # alone in a large crowd, a client that came once is nobody's explanation
        some = (counts > 1) | (sizes[group] <= _KEPT)
        group, client, counts = group[some], client[some], counts[some]
        order = np.lexsort((-counts, group))
        group, client, counts = group[order], client[order], counts[order]
        starts = np.searchsorted(group, np.arange(len(names)))
        kept = np.arange(len(group)) - starts[group] < _KEPT
        for number, who, count in zip(
            group[kept].tolist(), client[kept].tolist(), counts[kept].tolist(), strict=True
        ):
            key = names[number]
            top = self._top.get(key)
            if top is None:
                top = self._top[key] = Counter()
            top[texts[who]] += count
            if len(top) > 4 * _KEPT:
                self._top[key] = Counter(dict(top.most_common(_KEPT)))

    def top(self, codes: Iterable[int], since_s: float, until_s: float) -> Counter[str]:
        """The busiest between two times, as far as they were kept."""
        found: Counter[str] = Counter()
        first, last = int(since_s) // BUCKET_S, int(max(until_s - 1, since_s)) // BUCKET_S
        for code in codes:
            for bucket in range(first, min(last, first + _MOST_BUCKETS) + 1):
                found.update(self._top.get((code, bucket), {}))
        return found

    def crowd(self, codes: Iterable[int], since_s: float, until_s: float) -> tuple[int, int]:
        """How many in all, and how many clients at most (each counted once in each bucket)."""
        first, last = int(since_s) // BUCKET_S, int(max(until_s - 1, since_s)) // BUCKET_S
        keys = [(code, bucket) for code in codes for bucket in range(first, last + 1)]
        return sum(self.total.get(key, 0) for key in keys), sum(self._distinct.get(key, 0) for key in keys)

    def buckets(self, code: int) -> list[int]:
        """The buckets in which a code occurred."""
        return sorted(bucket for number, bucket in self._top if number == code)

    def in_bucket(self, code: int, bucket: int) -> Counter[str]:
        """The busiest of one bucket."""
        return self._top.get((code, bucket), Counter())

    def forget_before(self, time_s: float) -> None:
        """Drop what is older."""
        oldest = int(time_s) // BUCKET_S
        for table in (self._top, self._distinct, self.total):
            for key in [key for key in table if key[1] < oldest]:
                del table[key]
