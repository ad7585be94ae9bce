"""Numbers for names and hosts, one set for a run.

Each scanner numbers names as it meets them. Some joins tell equals apart by number, so a run has to give the
same ones however its threads take turns: it asks here in an order that its input alone decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from logscope.grammar.rows import Names
from logscope.pipeline.naming import NOTHING_SAID, Naming

Codes = NDArray[np.int64]


class Dictionary:
    """One set of codes for the names of several scanners."""

    def __init__(self) -> None:
        self._names = Names()
        self._known: dict[int, Codes] = {}
        self._forget_labels()

    def _forget_labels(self) -> None:
        self._naming = NOTHING_SAID
        self._labels: list[tuple[int, int]] = []
        self._label_columns = np.empty((2, 0), np.int64)

    def translate(self, names: Names) -> Codes:
        """int64[names]: this dictionary's codes of a scanner's names."""
        known = self._known.get(id(names))
        if known is not None and len(known) == len(names):
            return known
        start = 0 if known is None else len(known)
        new = [self._names.intern(names.raw(code)) for code in range(start, len(names))]
        known = np.concatenate([np.empty(0, np.int64) if known is None else known, np.array(new, np.int64)])
        self._known[id(names)] = known
        return known

    def labels(self, naming: Naming = NOTHING_SAID) -> tuple[Codes, Codes]:
        """int64[names], never 0: what the hosts of these names are known by, and what the hosts are known by
        that the servers of these names are.
        """
        if naming is not self._naming:
            self._forget_labels()
            self._naming = naming
        for code in range(len(self._labels), len(self._names)):
            name = self._names.raw(code)
            host, server = naming.host(name), naming.host_of_server(name)
            self._labels.append((1 + crc32(host), 1 + crc32(server)))
        if self._label_columns.shape[1] != len(self._labels):
            self._label_columns = np.ascontiguousarray(np.array(self._labels, np.int64).T)
        return self._label_columns[0], self._label_columns[1]

    def raw(self, code: int) -> bytes:
        """The bytes of a code."""
        return self._names.raw(code)

    def text(self, code: int) -> str:
        """The text of a code."""
        return self._names.text(code)

    def texts(self) -> list[str]:
        """The texts of all codes."""
        return self._names.texts()

    def __getstate__(self) -> Names:
        return self._names  # who asked for what goes by identity, which ends with the process

    def __setstate__(self, names: Names) -> None:
        self._names, self._known = names, {}
        self._forget_labels()


class Hosts:
    """Numbers hosts from 0 in the order in which they appear, so that pairs of hosts can be kept in small
    tables. Lines that name no host are of one host without a name, which has a number like all others.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def number(self, codes: Codes, raw: Callable[[int], bytes]) -> tuple[Codes, Codes]:
        """The numbers of some dictionary codes, -1 for no name; and hashes of their names.

        The numbers depend on which name came first, the hashes do not.

        Args:
            raw: the name of a code.
        """
        wanted = codes.tolist()
        known = {code: self._numbers.setdefault(code, len(self._numbers)) for code in sorted(set(wanted))}
        hashes = {code: crc32(raw(code)) if code >= 0 else 0 for code in known}
        numbers = [known[code] for code in wanted]
        return np.array(numbers, np.int64), np.array([hashes[code] for code in wanted], np.int64)

    def names(self, texts: Sequence[str]) -> list[str | None]:
        """The names of all numbers, given the texts of all codes; None for the host without one."""
        return [texts[code] if code >= 0 else None for code in self._numbers]

    def __getstate__(self) -> dict[int, int]:
        return self._numbers

    def __setstate__(self, numbers: dict[int, int]) -> None:
        self._numbers = numbers
