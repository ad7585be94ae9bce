"""Sessions as they happen."""

from __future__ import annotations

from logscope.live.stage import FIRST_TOLD, GRACE, Live, Tally
from logscope.live.streams import LiveInput, SourceState

__all__ = ["FIRST_TOLD", "GRACE", "Live", "LiveInput", "SourceState", "Tally"]
