"""What logscope is compared with: detectors that get the same minute series and score each minute.

Each turns a week's table into scores, float[minutes, series] or [minutes, 1]. Scores are made comparable by
their largest values in clean training weeks, each series by itself, so that one threshold can serve for all;
that threshold is then set so that the test weeks have as many false alarms as logscope has. That is more than
anybody could do at a site, where nobody knows what is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
_TINY = 1e-6


def three_sigma(_names: Sequence[str], table: Scores) -> Scores:
    """Distance from the mean of the day before, in standard deviations: the rule of the thumb."""
    length = 1440
    padded = np.concatenate((np.zeros((1, table.shape[1])), np.cumsum(table, axis=0, dtype=np.float64)))
    squares = np.concatenate(
        (np.zeros((1, table.shape[1])), np.cumsum(np.square(table, dtype=np.float64), axis=0))
    )
    at = np.arange(len(table))
    low = np.maximum(0, at - length)
    count = np.maximum(at - low, 1)[:, None]
    mean = (padded[at] - padded[low]) / count
    variance = np.maximum((squares[at] - squares[low]) / count - mean**2, 0.0)
    score = np.abs(table - mean) / np.sqrt(variance + _TINY + 0.01 * mean)
    score[:720] = 0
    return score.astype(np.float32)


def static_threshold(_names: Sequence[str], table: Scores) -> Scores:
    """The value itself, against the series' own mean, upwards and downwards: a line on a dashboard."""
    mean = table.mean(axis=0) + _TINY
    up = table / mean
    smooth = _trailing(table, 5)
    down = np.where(smooth < 1e9, mean / (smooth + 0.05 * mean), 0.0)
    return np.concatenate((up, down), axis=1).astype(np.float32)


def seasonal_residual(_names: Sequence[str], table: Scores) -> Scores:
    """Residuals of statsmodels' STL with the period of a day, over their robust spread."""
    from statsmodels.tsa.seasonal import STL

    step = 5
    coarse = table[: len(table) // step * step].reshape(-1, step, table.shape[1]).mean(axis=1)
    out = np.zeros_like(coarse)
    for column in range(coarse.shape[1]):
        values = coarse[:, column].astype(np.float64)
        if values.std() < _TINY:
            continue
        fit = STL(values, period=1440 // step, seasonal=13, robust=False, seasonal_jump=12, trend_jump=24,
                  low_pass_jump=24).fit()  # fmt: skip
        residual = fit.resid
        spread = 1.4826 * np.median(np.abs(residual)) + 0.05 * values.std() + _TINY
        out[:, column] = np.abs(residual) / spread
    whole = np.repeat(out, step, axis=0)
    return np.concatenate((whole, np.zeros((len(table) - len(whole), table.shape[1]), out.dtype))).astype(
        np.float32
    )


def isolation_forest(_names: Sequence[str], table: Scores) -> Scores:
    """scikit-learn's isolation forest (Liu, Ting and Zhou 2008) over all series and the time of day."""
    from sklearn.ensemble import IsolationForest

    hour = np.arange(len(table)) * (2 * np.pi / 1440)
    whole = np.column_stack((np.log1p(table), np.sin(hour), np.cos(hour)))
    forest = IsolationForest(n_estimators=100, max_samples=512, random_state=0).fit(whole)
    return (-forest.score_samples(whole)).astype(np.float32)[:, None]


def half_space_trees(names: Sequence[str], table: Scores) -> Scores:
    """River's half-space trees (Tan, Ting and Liu 2011) over all series, one minute after the other."""
    from river.anomaly import HalfSpaceTrees

    low, high = table.min(axis=0), table.max(axis=0)
    scaled = (table - low) / np.maximum(high - low, _TINY)
    trees = HalfSpaceTrees(n_trees=10, height=8, window_size=250, seed=0)
    score = np.zeros((len(table), 1), np.float32)
    for at, row in enumerate(scaled.tolist()):
        values = dict(zip(names, row, strict=True))
        score[at] = trees.score_one(values)
        trees.learn_one(values)
    return score


CONTROLS: dict[str, Callable[[Sequence[str], Scores], Scores]] = {
    "tuned static threshold": static_threshold,
    "three sigma of the day before": three_sigma,
    "STL residuals (statsmodels)": seasonal_residual,
    "isolation forest (scikit-learn)": isolation_forest,
    "half-space trees (River)": half_space_trees,
}
NEEDS = {
    "STL residuals (statsmodels)": "statsmodels",
    "isolation forest (scikit-learn)": "sklearn",
    "half-space trees (River)": "river",
}


def available() -> list[str]:
    """The controls whose libraries are installed."""
    from importlib.util import find_spec

    return [name for name in CONTROLS if name not in NEEDS or find_spec(NEEDS[name]) is not None]


def _trailing(table: Scores, minutes: int) -> Scores:
    """The mean of the last minutes."""
    summed = np.concatenate((np.zeros((1, table.shape[1])), np.cumsum(table, axis=0, dtype=np.float64)))
    at = np.arange(len(table)) + 1
    low = np.maximum(0, at - minutes)
    return ((summed[at] - summed[low]) / (at - low)[:, None]).astype(np.float32)


def by_class(names: Sequence[str], scores: Scores) -> tuple[list[str], Scores]:
    """The largest score of each class of series: servers and hosts are alike."""
    width = scores.shape[1]
    classes = [_class(names[at % len(names)]) + (" low" if at >= len(names) else "") for at in range(width)]
    if width == 1:
        classes = ["all"]
    order = sorted(set(classes))
    out = np.stack(
        [scores[:, [at for at, one in enumerate(classes) if one == name]].max(axis=1) for name in order],
        axis=1,
    )
    return order, np.minimum(out, 1e4).astype(np.float32)


def _class(name: str) -> str:
    words = name.split(" ")
    if words[0] in ("server", "host"):
        words[1:2] = ["*"]
    return " ".join(words)


def bucket(per_day: float) -> int:
    """Sparse, middling and busy sites have levels of their own."""
    return int(np.searchsorted((5_000, 50_000), per_day))
