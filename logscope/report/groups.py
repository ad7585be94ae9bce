"""Counting by a key of which there may be hundreds of thousands, over batches, without a Python object for
each.

Every batch becomes a `Part`: its distinct keys and, one row for each of them, numbers. Parts are merged when
the small ones together have grown as large as the large one, so that each key is touched a few times however
many batches come. Memory is bounded by the number of keys, and by eight bytes for each value that a
percentile is wanted of: those are exact, not estimated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.arrow import as_arrow, as_lists

Longs = NDArray[np.int64]

FAR = np.iinfo(np.int64).max
"""A time later than all."""

_MERGE_FROM = 200_000


@dataclass
class Part:
    """Numbers of some keys.

    Attributes:
        keys: distinct, one of them may be null.
        sums: by name, one number for each key, which add up.
        least, greatest: the same, of which the least or greatest counts.
        sets: by name, pairs (key index << 32 | value index), distinct, and the values.
        samples: by name, (key index << 32 | value) of each value, for percentiles; in pieces, which are never
            copied, for there are millions.
    """

    keys: pa.Array
    sums: dict[str, Longs] = field(default_factory=dict)
    least: dict[str, Longs] = field(default_factory=dict)
    greatest: dict[str, Longs] = field(default_factory=dict)
    sets: dict[str, tuple[Longs, pa.Array]] = field(default_factory=dict)
    samples: dict[str, list[Longs]] = field(default_factory=dict)


class Groups:
    """Parts, merged now and then."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Take the numbers of a batch."""
        self._parts.append(part)

    def tidy(self) -> None:
        """Merge what has come together if it is much. Before `total` this is not worth while."""
        small = sum(len(part.keys) for part in self._parts[1:])
        if small and small > max(len(self._parts[0].keys), _MERGE_FROM):
            self._parts = [merged(self._parts)]

    def total(self) -> Part | None:
        """All parts as one; None where there was none."""
        if len(self._parts) > 1:
            self._parts = [merged(self._parts)]
        return self._parts[0] if self._parts else None


def merged(parts: list[Part]) -> Part:
    """One part with the numbers of all. They must have the same names, and are empty afterwards: of each name
    there is the whole or its parts, not both.
    """
    keys, maps = _unified([part.keys for part in parts])
    whole = Part(keys)
    for name in list(parts[0].sums):
        whole.sums[name] = np.zeros(len(keys), dtype=np.int64)
        for part, places in zip(parts, maps, strict=True):
            # Each key occurs once in a part, so no place occurs twice.
            whole.sums[name][places] += part.sums.pop(name)
    for name in list(parts[0].least):
        whole.least[name] = np.full(len(keys), FAR, dtype=np.int64)
        for part, places in zip(parts, maps, strict=True):
            whole.least[name][places] = np.minimum(whole.least[name][places], part.least.pop(name))
    for name in list(parts[0].greatest):
        whole.greatest[name] = np.full(len(keys), -FAR, dtype=np.int64)
        for part, places in zip(parts, maps, strict=True):
            whole.greatest[name][places] = np.maximum(whole.greatest[name][places], part.greatest.pop(name))
    for name in list(parts[0].sets):
        whole.sets[name] = _merged_sets([part.sets.pop(name) for part in parts], maps)
    for name in list(parts[0].samples):
        whole.samples[name] = []
        for part, places in zip(parts, maps, strict=True):
            for piece in part.samples.pop(name):
                move(piece, places)
                whole.samples[name].append(piece)
    return whole


def move(pairs: Longs, places: Longs) -> None:
    """Replace the key indices of pairs by the ones they have elsewhere."""
    pairs += (places - np.arange(len(places)) << 32)[pairs >> 32]


def distinct(values: Longs) -> Longs:
    """The distinct values, in no order; a hash table is several times faster than sorting."""
    unique: Longs = as_arrow(values).unique().to_numpy()
    return unique


def percentiles(pieces: list[Longs], count: int, wanted: tuple[float, ...]) -> list[pa.Array]:
    """Percentiles of each key's values by nearest rank: a value that occurred, or null where there is none.

    Args:
        pieces: of pairs, key index << 32 | value, values below 2**32.
        count: number of keys.
        wanted: shares between 0 and 1.
    """
    ordered = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)
    ordered.sort()
    starts = np.searchsorted(ordered, np.arange(count + 1, dtype=np.int64) << 32)
    sizes = np.diff(starts)
    known = sizes > 0
    found = []
    for part in wanted:
        rank = np.maximum(np.ceil(part * sizes).astype(np.int64) - 1, 0)
        result = np.zeros(count, dtype=np.int64)
        result[known] = ordered[(starts[:-1] + rank)[known]] & 0xFFFFFFFF
        found.append(as_arrow(result, ~known))
    return found


def listed(pairs: Longs, values: pa.Array, count: int) -> pa.Array:
    """Each key's set as a list column, in the order of the values' text."""
    order = pc.sort_indices(values).to_numpy().astype(np.int64)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ordered = np.sort(((pairs >> 32) << 32) | rank[pairs & 0xFFFFFFFF]) if len(pairs) else pairs
    offsets = np.searchsorted(ordered, np.arange(count + 1, dtype=np.int64) << 32)
    return as_lists(offsets, values.take(as_arrow(order[ordered & 0xFFFFFFFF])))


def _unified(columns: list[pa.Array]) -> tuple[pa.Array, list[Longs]]:
    """All distinct values of some columns, and where each column's values are among them."""
    encoded = pa.concat_arrays(columns).dictionary_encode(null_encoding="encode")
    places = encoded.indices.to_numpy().astype(np.int64)
    bounds = np.cumsum([len(column) for column in columns])[:-1]
    return encoded.dictionary, np.split(places, bounds)


def _merged_sets(sets: list[tuple[Longs, pa.Array]], maps: list[Longs]) -> tuple[Longs, pa.Array]:
    values, value_maps = _unified([values for _, values in sets])
    pairs = [
        (places[pairs >> 32] << 32) | value_places[pairs & 0xFFFFFFFF]
        for (pairs, _), places, value_places in zip(sets, maps, value_maps, strict=True)
    ]
    return distinct(np.concatenate(pairs)), values
