"""Runs the verdict over drawn sites and holds it against what really happened."""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from logscope.detect.masking import READS, Judge
from logscope.grammar import catalogue
from logscope.grammar.catalogue import Catalogue
from logscope.pipeline import Options, run
from logscope.sources import open_inputs

from .setups import draw
from .site import Key, Truth, Writer

ENOUGH = 5
"""Sessions of one kind from which on the verdict has to tell of it."""
SCARCE = 3
"""Sessions below which any verdict but a false alarm will do."""
IN_ORDER = ("passed", "not covered")


@dataclass
class Outcome:
    """One run against its truth.

    Attributes:
        false: targets in order that a fault was found in, and targets with another fault than theirs.
        missed: targets with a fault that was not found.
        unknown: targets that could not be judged though they had sessions enough.
        onset_errors: sessions of the target between the true and the stated onset.
        sessions: of the whole site, through the balancer.
        fewest: sessions in disorder of the mixed target that has fewest; 0 without one.
    """

    kind: str
    seed: int
    targets: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    onset_errors: list[int] = field(default_factory=list)
    sessions: int = 0
    fewest: int = 0

    @property
    def right(self) -> bool:
        """Whether nothing was false or missed."""
        return not self.false and not self.missed


def expected(truth: Truth) -> str:
    """What must be said of a target; empty where there is too little to say anything."""
    counts = Counter({verdict: len(moments) for verdict, moments in truth.moments.items()})
    del counts["not covered"]
    many = [verdict for verdict, count in counts.items() if count >= ENOUGH]
    if len(many) > 1:
        return "mixed"
    if len(counts) == 1 and counts.total() >= SCARCE:
        return next(iter(counts))
    return many[0] if many and counts.total() - counts[many[0]] < SCARCE else ""


def judged(catalogue_: Catalogue, haproxy: str, mail: str, *, machine_code: bool = True) -> dict[str, Any]:
    """The document for two logs."""
    judge = Judge()
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / "haproxy.log", Path(name) / "mail.log"]
        for path, text in zip(paths, (haproxy, mail), strict=True):
            path.write_text(text)
        with open_inputs([str(path) for path in paths]) as inputs:
            result = run(inputs.sources, catalogue_, Options(machine_code=machine_code),
                         {"sessions": READS}, lambda _, batch: judge.add(batch))  # fmt: skip
    return judge.document(result.signals)


def outcome(catalogue_: Catalogue, kind: str, seed: int, *, machine_code: bool = True) -> Outcome:
    """One run of a kind."""
    writer = Writer(draw(kind, seed), seed)
    return outcome_of(kind, seed, writer, judged(catalogue_, *writer.write(), machine_code=machine_code))


def outcome_of(kind: str, seed: int, writer: Writer, document: dict[str, Any]) -> Outcome:
    """A document against the truth of the site that it is about."""
    result = Outcome(kind, seed, sessions=writer.sessions)
    said = {(one["frontend"], one["server"], one["family"]): one for one in document["targets"]}
    for key, truth in sorted(writer.truth.items()):
        _compare(result, key, truth, said.get(key))
    return result


def _compare(result: Outcome, key: Key, truth: Truth, said: dict[str, Any] | None) -> None:
    wanted = expected(truth)
    verdict = said["verdict"] if said else "unknown"
    result.targets += 1
    counts = {kind: len(moments) for kind, moments in truth.moments.items() if kind != "not covered"}
    hidden = sum(counts.values()) - counts.get("passed", 0)
    if wanted == "mixed":
        result.fewest = min(result.fewest or hidden, hidden)
    note = f"{'/'.join(key)}: {verdict} where {wanted or 'anything'} ({counts})"
    if verdict == "unknown":
        if wanted:
            (result.missed if wanted != "passed" else result.unknown).append(note)
        return
    if set(counts) == {"passed"} and verdict != "passed":
        result.false.append(note)
    elif verdict == "mixed" and wanted != "mixed" and len(counts) > 1:
        pass  # the few sessions of the other kind are there: to tell of them is as right as not to
    elif wanted and verdict != wanted:
        (result.missed if verdict == "passed" else result.false).append(note)
    elif wanted == "mixed" and said and said["since"]:
        result.onset_errors.append(_onset_error(truth, said["since"]))


def _onset_error(truth: Truth, since: str) -> int:
    """How many sessions of the target began between the first affected one and the moment that was named."""
    stated = round(datetime.fromisoformat(since).timestamp() * 1000) * 10**6
    affected = sorted(at for kind, moments in truth.moments.items() if kind not in IN_ORDER for at in moments)
    if stated >= affected[0]:
        return sum(at < stated for at in affected)
    return sum(stated <= at < affected[0] for moments in truth.moments.values() for at in moments)


_LOADED: list[Catalogue] = []


def _scored(job: tuple[str, int]) -> Outcome:
    """One run, in whatever process."""
    if not _LOADED:
        _LOADED.append(catalogue.load())
    return outcome(_LOADED[0], *job)


def runs(kinds: list[str], seeds: range, jobs: int = 1, known: Iterable[Outcome] = ()) -> Iterator[Outcome]:
    """One outcome for each kind and seed, in any order.

    Args:
        jobs: processes.
        known: outcomes that need no run.
    """
    done = {(one.kind, one.seed): one for one in known}
    wanted = [(kind, seed) for seed in seeds for kind in kinds]
    yield from (done[job] for job in wanted if job in done)
    left = [job for job in wanted if job not in done]
    if jobs == 1:
        yield from map(_scored, left)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_scored, left, chunksize=4)


def kept(path: Path) -> Iterator[Outcome]:
    """Outcomes of earlier runs."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield Outcome(**json.loads(line))


def keep(path: Path, one: Outcome) -> None:
    """Add an outcome to those of earlier runs."""
    with path.open("a") as out:
        out.write(json.dumps(asdict(one)) + "\n")


def percentile(values: Iterable[int], share: float) -> int:
    """The value below which this share of them is; 0 without any."""
    in_order = sorted(values)
    return in_order[min(len(in_order) - 1, int(len(in_order) * share))] if in_order else 0


def summary(outcomes: list[Outcome], out: io.TextIOBase | Any) -> None:
    """A line for each kind, then what went wrong."""
    print(f"{'':38} {'runs':>5} {'targets':>7} {'false':>6} {'missed':>6} {'unknown':>7}", file=out)
    for kind in dict.fromkeys(one.kind for one in outcomes):
        some = [one for one in outcomes if one.kind == kind]
        counts = [sum(len(getattr(one, what)) for one in some) for what in ("false", "missed", "unknown")]
        print(f"{kind:38} {len(some):5} {sum(one.targets for one in some):7} {counts[0]:6} {counts[1]:6} "
              f"{counts[2]:7}", file=out)  # fmt: skip
    errors = [error for one in outcomes for error in one.onset_errors]
    if errors:
        print(f"onset: median {percentile(errors, 0.5)}, 95th percentile {percentile(errors, 0.95)} "
              f"sessions off, {len(errors)} targets", file=out)  # fmt: skip
    for one in outcomes:
        for what in ("false", "missed"):
            for note in getattr(one, what):
                print(f"{what}: {one.kind} {one.seed}: {note}", file=out)
