"""What came of each week, kept on disk as soon as it is known: a run that was stopped goes on where it was.

A line of JSON for each week, and for those that the controls got, their scores in a file beside. The folder
is named after the code that makes and judges the weeks: with other code nothing of it is taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .score import Event, Scored
from .weeks import Label, Spec

ROOT = Path(__file__).parents[2]
_JUDGES = ("logscope/detect/anomalies", "logscope/simulate")
_DRAWS = ("cases", "controls", "holdout", "run", "series", "weeks")


class Outcomes:
    """The weeks that are done.

    Args:
        folder: where they are kept; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines = folder / "weeks.jsonl"
        self._known = {one.spec: one for one in self._read()}

    def of(self, spec: Spec, with_curves: bool) -> Scored | None:
        """A week that is done, or None; `with_curves`: only if the controls got it too."""
        one = self._known.get(spec)
        if one is None or not with_curves:
            return one
        path = self._curves(spec)
        if not path.exists():
            return None
        with np.load(path) as stored:
            one.curves = {
                name: (stored[f"{name}/classes"].tolist(), stored[f"{name}/scores"])
                for name in dict.fromkeys(key.rpartition("/")[0] for key in stored.files)
            }
        return one

    def keep(self, one: Scored) -> None:
        """Write down a week."""
        if one.curves:
            stored = {}
            for name, (classes, scores) in one.curves.items():
                stored[f"{name}/classes"] = np.array(classes)
                stored[f"{name}/scores"] = scores
            np.savez_compressed(self._curves(one.spec), **stored)
        with self._lines.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(_plain(one)) + "\n")

    def _curves(self, spec: Spec) -> Path:
        return self._folder / f"controls-{spec.seed}.npz"

    def _read(self) -> Iterator[Scored]:
        if not self._lines.exists():
            return
        for line in self._lines.read_text("utf-8").splitlines():
            try:
                yield _scored(json.loads(line))
            except (json.JSONDecodeError, KeyError, TypeError):
                continue  # cut off where a run was killed: the week is made again


def _plain(one: Scored) -> dict[str, object]:
    return {
        "spec": asdict(one.spec),
        "per_day": one.per_day,
        "start_s": one.start_s,
        "seconds": one.seconds,
        "labels": [asdict(label) for label in one.labels],
        "events": [asdict(event) for event in one.events],
    }


def _scored(plain: dict[str, object]) -> Scored:
    values = dict(plain)
    spec = Spec(**values.pop("spec"))  # type: ignore[arg-type]
    labels = [Label(**one) for one in values.pop("labels")]  # type: ignore[attr-defined]
    events = [Event(**one) for one in values.pop("events")]  # type: ignore[attr-defined]
    return Scored(spec=spec, labels=labels, events=events, **values)  # type: ignore[arg-type]


def digest() -> str:
    """Of all code that decides what comes of a week."""
    files = [path for folder in _JUDGES for path in (ROOT / folder).rglob("*.py")]
    files += [Path(__file__).with_name(f"{name}.py") for name in _DRAWS]
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]
