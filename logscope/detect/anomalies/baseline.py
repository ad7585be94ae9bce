"""What is usual at a site, learnt once and used again: seasons, how uneven each series is, the classes that
latencies are measured against, and the addresses that are no newcomers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from logscope.detect.anomalies.seasons import DAY_S, Season, has_season

VERSION = 1
_MOST_SERIES = 20_000
_MOST_KNOWN = 50_000


@dataclass
class Baseline:
    """What is usual.

    Attributes:
        days: time that it was learnt from.
        seasons: by key of the series.
        scales: of the evidence, by key: one number for each test.
        edges: of latencies, by key.
        known: clients and networks that came often.
    """

    days: float = 0.0
    seasons: dict[str, Season] = field(default_factory=dict)
    scales: dict[str, list[float]] = field(default_factory=dict)
    edges: dict[str, list[int]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    @property
    def is_seasoned(self) -> bool:
        """Whether it was learnt from long enough to tell night from day."""
        return has_season(round(self.days * DAY_S), 1)

    def document(self) -> dict[str, Any]:
        """The baseline as plain values, for JSON."""
        return {
            "logscope_baseline": VERSION,
            "days": round(self.days, 3),
            "seasons": {
                key: {"step_s": season.step_s, "begin_s": season.begin_s, "days": _rows(season.days)}
                for key, season in list(self.seasons.items())[:_MOST_SERIES]
            },
            "scales": {key: [round(one, 3) for one in scales] for key, scales in self.scales.items()},
            "edges": self.edges,
            "known": sorted(self.known)[:_MOST_KNOWN],
        }


def _rows(days: Any) -> list[list[float]]:
    """Each day's values; one row where all days are alike."""
    rows = [[float(f"{value:.4g}") for value in day] for day in days.tolist()]
    return rows[:1] if all(row == rows[0] for row in rows) else rows


def from_document(document: Mapping[str, Any]) -> Baseline:
    """A baseline out of what `Baseline.document` made.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    version = document.get("logscope_baseline") if isinstance(document, Mapping) else None
    if version != VERSION:
        raise ValueError(f"this is no baseline of version {VERSION}")
    try:
        seasons = {str(key): _season(entry) for key, entry in document["seasons"].items()}
        scales = {
            str(key): [max(float(one), 0.1) for one in entry] for key, entry in document["scales"].items()
        }
        edges = {str(key): [int(one) for one in entry] for key, entry in document["edges"].items()}
        return Baseline(
            float(document["days"]), seasons, scales, edges, frozenset(str(one) for one in document["known"])
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an entry is missing or has another form than it should: {error}") from None


def _season(entry: Mapping[str, Any]) -> Season:
    step_s, days = int(entry["step_s"]), np.array(entry["days"], np.float64)
    if step_s <= 0 or 86_400 % step_s or days.ndim != 2 or days.shape[1] != 86_400 // step_s:
        raise ValueError("a season's steps do not make a day")
    begin_s = int(entry.get("begin_s", 0))
    if abs(begin_s) > 43_200:
        raise ValueError("a season's days begin more than half a day from midnight")
    if len(days) not in (1, 7) or not np.isfinite(days).all() or (days < 0).any():
        raise ValueError("a season has one row or seven, of numbers not below zero")
    return Season(step_s, np.tile(days, (7, 1)) if len(days) == 1 else days, begin_s)
