"""Mail that waits: which deferrals are a recipient's first, and which deliveries end a wait."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from logscope.detect.anomalies.columns import Bools, Coded, Columns, long_array

_MOST_WAITING = 200_000
_WAITED_S = 30.0


class WaitingMail:
    """The recipients of messages that were deferred and are not done."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], None] = OrderedDict()

    def look(self, columns: Columns, recipients: Coded, deferred: Bools) -> tuple[Bools, Bools]:
        """Where a recipient begins to wait, and where one is done; without queue ids every deferral is one.

        Args:
            columns: deliveries, in order of time.
            recipients: of each.
            deferred: which of them were deferred.
        """
        first, done = deferred.copy(), np.zeros(columns.count, np.bool_)
        if not columns.has("queue_id"):
            return first, done
        waited = columns.decimals("delay_s") >= _WAITED_S if self._open or deferred.any() else done
        rows = np.nonzero(deferred | waited)[0]
        ids = columns.raw("queue_id").take(long_array(rows)).to_pylist()
        for row, queue_id in zip(rows.tolist(), ids, strict=True):
            recipient = recipients.texts[recipients.codes[row]] if recipients.codes[row] >= 0 else ""
            key = (queue_id or "", recipient)
            if deferred[row]:
                first[row] = key not in self._open
                self._open[key] = None
            elif key in self._open:
                done[row] = True
                del self._open[key]
        while len(self._open) > _MOST_WAITING:
            self._open.popitem(last=False)
        return first, done
