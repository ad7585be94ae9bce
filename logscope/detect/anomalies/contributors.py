"""Who was behind what: the clients and networks that a thing happened to most, in each few minutes, and who
was never seen before.

Bounded: of each code and bucket of time the twelve busiest are kept; whether an address was seen before is
remembered in a Bloom filter, which forgets nobody and mistakes one address in some thousands for a known one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.arrow import as_texts
from logscope.detect.anomalies.columns import Coded, Longs, counted, encoded
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
        hashes = np.fromiter((hash(text) for text in texts), np.int64, len(texts)).view(np.uint64)
        known = np.ones(len(texts), np.bool_)
        for turn in range(3):
            place = (hashes >> np.uint64(20 * turn)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(38)
            byte, bit = (
                (place >> np.uint64(3)).astype(np.int64),
                np.uint8(1) << (place & np.uint64(7)).astype(np.uint8),
            )
            known &= (self._bits[byte] & bit) != 0
            np.bitwise_or.at(self._bits, byte, bit)
        return known


def networks_of(clients: Sequence[str]) -> Coded:
    """The network of each address: /24 of IPv4, /48 of IPv6."""
    texts = as_texts(clients)
    texts = pc.replace_substring_regex(texts, r"^(\d+\.\d+\.\d+)\.\d+$", r"\1.0/24")
    texts = pc.replace_substring_regex(texts, r"^((?:[0-9a-f]*:){3})[0-9a-f:.]*$", r"\1:/48")
    return encoded(pc.replace_substring(texts, ":::", "::"))


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
        order = np.lexsort((-counts, group))
        group, client, counts = group[order], client[order], counts[order]
        starts = np.concatenate(([0], np.nonzero(np.diff(group))[0] + 1))
        sizes = np.diff(np.append(starts, len(group)))
        rank = np.arange(len(group)) - np.repeat(starts, sizes)
        whole = np.add.reduceat(counts, starts)
        for number, size, sum_ in zip(group[starts].tolist(), sizes.tolist(), whole.tolist(), strict=True):
            key = (number // width, number % width + first)
            self._distinct[key] += size
            self.total[key] += sum_
        # alone in a large crowd, a client that came once is nobody's explanation
        kept = (rank < _KEPT) & ((counts > 1) | (np.repeat(sizes, sizes) <= _KEPT))
        for number, who, count in zip(
            group[kept].tolist(), client[kept].tolist(), counts[kept].tolist(), strict=True
        ):
            key = (number // width, number % width + first)
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
