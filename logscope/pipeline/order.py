"""What the lines of several sources are merged by: the latest time so far in a source.

A line that is stamped far ahead of all around it, by a broken clock or by somebody who makes it up, would
carry all that is open to its deadline. It does not count, unless what follows keeps to its time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND

FAR_AHEAD = 26 * 3600 * SECOND
"""More than zones that nobody has named can make: they are from 12 hours behind UTC to 14 ahead."""
_WITNESSES = 16  # lines that follow, of which half have to keep to the time
_ENOUGH = 8  # lines far ahead one after the other are no accident


class RunningOrder:
    """The latest time of one source, which never goes back.

    Attributes:
        latest: of all lines so far; NULL without any.
        doubted: how many lines were far ahead and did not count.
    """

    def __init__(self) -> None:
        self.latest = NULL
        self.doubted = 0
        self._in_a_row = 0

    def of(self, times: NDArray[np.int64], passed: int | None = None) -> NDArray[np.int64]:
        """The order of the next lines.

        Args:
            times: of the lines, NULL where one has none.
            passed: nanoseconds that have passed since the latest time was read; None where nobody
                knows, and a last line that is far ahead counts for want of others.
        """
        order = np.maximum.accumulate(np.maximum(times, self.latest))
        if len(order) and self._may_be_far_ahead(times, order):
            order = np.maximum.accumulate(np.maximum(self._without_doubtful(times, passed), self.latest))
        if len(order):
            self.latest = int(order[-1])
        return order

    def _may_be_far_ahead(self, times: NDArray[np.int64], order: NDArray[np.int64]) -> bool:
        first = self.latest if self.latest != NULL else int(times.min(where=times != NULL, initial=2**62))
        return int(order[-1]) != NULL and int(order[-1]) - first > FAR_AHEAD

    def _without_doubtful(self, times: NDArray[np.int64], passed: int | None) -> NDArray[np.int64]:
        believed = times.copy()
        latest, at = self.latest, 0
        while at < len(times):
            jumps = np.flatnonzero(times[at:] > (latest + FAR_AHEAD if latest != NULL else NULL))
            end = at + int(jumps[0]) if len(jumps) else len(times)
            latest = max(latest, int(times[at:end].max(initial=NULL)))
            # What came before this one may have brought it within reach.
            if end < len(times) and (latest == NULL or int(times[end]) - latest > FAR_AHEAD):
                if self._is_doubtful(times, end, latest, passed):
                    believed[end] = NULL
                    self.doubted += 1
                    self._in_a_row += 1
                else:
                    latest = int(times[end])
                    self._in_a_row = 0
            elif end > at:
                self._in_a_row = 0
            at = end + 1 if end < len(times) else end
        return believed

    def _is_doubtful(self, times: NDArray[np.int64], at: int, latest: int, passed: int | None) -> bool:
        following = times[at + 1 : at + 1 + 2 * _WITNESSES]
        following = following[following != NULL][:_WITNESSES]
        if len(following):
            keep = int(np.count_nonzero(following >= times[at] - FAR_AHEAD))
            return 2 * keep < len(following)
        if passed is None or latest == NULL or self._in_a_row >= _ENOUGH:
            return False
        return int(times[at]) > latest + passed + FAR_AHEAD
