"""Start and end of sessions, all of them or, of very many, those of whole stretches of time.

Two logs' samples are comparable: both keep the sessions of the same stretches, whichever sessions they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND

Times = NDArray[np.int64]
"""int64[n, 2]: start and end of each session, ns since 1970; an unknown end is NULL."""
Codes = NDArray[np.int64]

MOST = 2048
_STRETCH = 1024 * SECOND


class Sample:
    """The sessions of a kind, and of whom. Memory is bounded; sessions without a start are left out."""

    def __init__(self) -> None:
        self.thinning = 0
        self._rows = np.empty((0, 4), np.int64)  # start, end, when it is dated, code of the client's address
        self._codes: dict[str, int] = {}
        self._addresses: list[str] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        times: Times,
        addresses: Callable[[NDArray[np.int64]], Sequence[str | None]] | None = None,
        dates: Codes | None = None,
    ) -> None:
        """Take in some sessions.

        Args:
            dates: when each is said to have begun, if not at its start.
            addresses: the addresses of those at some places of `times`; asked only for what is kept.
        """
        kept = np.flatnonzero((times[:, 0] != NULL) & self._chosen(times[:, 0]))
        if not len(kept):
            return
        codes = np.full(len(kept), -1, np.int64)
        dated = times[:, 0] if dates is None else dates
        if addresses is not None:
            codes[:] = [self._code(address) for address in addresses(kept)]
        self._rows = np.concatenate([self._rows, np.column_stack([times[kept], dated[kept], codes])])
        if len(self._rows) > 2 * MOST:
            self._thin()

    def join(self, other: Sample) -> None:
        """Take in what another sample has; its addresses are not kept."""
        self.thinning = max(self.thinning, other.thinning)
        self._rows = self._picked(self.thinning)
        self.add(other.times(self.thinning))

    def _code(self, address: str | None) -> int:
        if address is None:
            return -1
        if address not in self._codes:
            self._codes[address] = len(self._addresses)
            self._addresses.append(address)
        return self._codes[address]

    def _chosen(self, starts: Codes) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = (starts // _STRETCH) % (1 << self.thinning) == 0
        return chosen

    def _thin(self) -> None:
        while len(self._rows) > MOST and len(np.unique(self._rows[:, 0] // _STRETCH)) > 1:
            self.thinning += 1
            self._rows = self._rows[self._chosen(self._rows[:, 0])]
        if len(self._rows) > MOST:  # one stretch alone is too much: its beginning will do
            self._rows = self._rows[np.argsort(self._rows[:, 0], kind="stable")][:MOST]

    def times(self, thinning: int = 0) -> Times:
        """Start and end, in order of the starts; of the stretches that a sample so thinned has."""
        return self._picked(thinning)[:, :2]

    def addresses(self, thinning: int = 0) -> list[str | None]:
        """Whose sessions these are, in the order of `times`."""
        names = [*self._addresses, None]
        return [names[code] for code in self._picked(thinning)[:, 3].tolist()]

    def dates(self, thinning: int = 0) -> Codes:
        """When they are said to have begun, in the order of `times`."""
        return self._picked(thinning)[:, 2]

    def _picked(self, thinning: int) -> NDArray[np.int64]:
        rows = self._rows
        if thinning > self.thinning:
            rows = rows[(rows[:, 0] // _STRETCH) % (1 << thinning) == 0]
        return rows[np.argsort(rows[:, 0], kind="stable")]
