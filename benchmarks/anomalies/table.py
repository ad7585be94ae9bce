"""The score as tables for `docs/anomalies.md`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from .cases import CASES, Case
from .score import Compared, Event, Scored, is_stated, named, pairs_of, tally
from .weeks import Label

Pairs = list[tuple[Label, list[Event]]]


def document(split: str, weeks: Sequence[Scored], compared: Sequence[Compared]) -> str:
    """All tables, as Markdown."""
    parts = [
        _weeks(split, weeks), _totals(weeks), _other_kind(weeks), _faults(weeks), _controls(weeks, compared),
        _false(weeks),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _percent(part: float) -> str:
    return "–" if part != part else f"{100 * part:.1f} %"


def _simulated(weeks: Sequence[Scored]) -> list[Scored]:
    return [week for week in weeks if not week.spec.sort.startswith("other")]


def _weeks(split: str, weeks: Sequence[Scored]) -> str:
    sorts = Counter(week.spec.sort for week in weeks)
    faults = sum(len(week.labels) for week in weeks)
    told = ", ".join(f"{count} {name}" for name, count in sorted(sorts.items()))
    sizes = sorted(week.per_day for week in weeks)
    return (
        f"{len(weeks)} weeks of the {split} split ({told}), {faults:,} faults in them, sites of "
        f"{sizes[0]:,.0f} to {sizes[-1]:,.0f} sessions a day. Judging took "
        f"{sum(week.seconds for week in weeks) / 60:.0f} minutes of CPU."
    )


def _totals(weeks: Sequence[Scored]) -> str:
    simulated = _simulated(weeks)
    rows = ["| | asked for | measured |", "|---|---|---|"]
    stated: Pairs = [pair for pair in pairs_of(simulated) if is_stated(pair[0])]
    whole = tally(stated)
    clean = [week for week in weeks if week.spec.sort.endswith("clean")]
    for low, high, name in (
        (0, 1e3, "below 1,000"),
        (1e3, 1e4, "1,000 to 10,000"),
        (1e4, 1e9, "above 10,000"),
    ):
        some = [week for week in clean if low <= week.per_day < high]
        if some:
            mean = sum(len(week.false) for week in some) / len(some)
            most = max(len(week.false) for week in some)
            rows.append(
                f"| false alarms a clean week, {name} sessions a day ({len(some)} weeks) | ≤ 1 | "
                f"{mean:.2f}, at most {most} |"
            )
    days = sum(week.days for week in weeks)
    false = sum(len(week.false) for week in weeks)
    right = sum(len(week.events) - len(week.false) for week in weeks)
    rows.append(f"| false alarms a day, all weeks | | {false / max(days, 1):.3f} |")
    rows.append(
        f"| precision, all weeks ({right + false} findings) | ≥ 95 % | "
        f"{_percent(right / max(1, right + false))} |"
    )
    rows.append(f"| recall at the stated sizes ({whole.of} faults) | ≥ 95 % | {_percent(whole.recall)} |")
    for group, asked in (("surge", 3), ("silence", 3), ("shift", 15)):
        own = tally(pair for pair in stated if _case(pair[0]).group == group)
        rows.append(
            f"| median delay, {group} ({own.of} faults) | ≤ {asked} min | {_minutes(own.median_min)} |"
        )
    rows.append(f"| cause named ({whole.found} found) | ≥ 90 % | {_percent(whole.accuracy)} |")
    rows.append(f"| findings for each fault found | | {whole.findings / max(1, whole.found):.2f} |")
    return "\n".join(rows)


def _other_kind(weeks: Sequence[Scored]) -> str:
    others = [week for week in weeks if week.spec.sort.startswith("other")]
    if not others:
        return ""
    own = tally(pair for pair in pairs_of(others) if is_stated(pair[0]))
    false = sum(len(week.false) for week in others)
    right = sum(len(week.events) - len(week.false) for week in others)
    return (
        f"Of these, {len(others)} weeks are of the second generator, whose rhythm, noise, clients and faults "
        f"are made in another way: {own.found} of {own.of} faults found, {own.named} with their cause, "
        f"precision {_percent(right / max(1, right + false))}, {false} false alarms."
    )


def _case(label: Label) -> Case:
    return next(case for case in CASES if case.name == label.case)


def _faults(weeks: Sequence[Scored]) -> str:
    by_case: dict[str, Pairs] = defaultdict(list)
    for pair in pairs_of(_simulated(weeks)):
        by_case[pair[0].case].append(pair)
    rows = [
        (
            "| fault | size | lasts | sessions a minute | stated size | recall there | median delay | cause "
            "| smallest found at 90 % |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        pairs = by_case.get(case.name, [])
        stated = tally(pair for pair in pairs if is_stated(pair[0]))
        rows.append(
            f"| {case.name} | {case.measure} | {case.minutes:g} min | ≥ {case.least_rate:g} "
            f"| {case.stated:g} | {stated.found} of {stated.of} | {_minutes(stated.median_min)} "
            f"| {_percent(stated.accuracy)} | {_smallest(case, pairs)} |"
        )
    return "\n".join(rows)


def _minutes(value: float) -> str:
    return "–" if value != value else f"{value:.1f} min"


def _smallest(case: Case, pairs: Pairs) -> str:
    """The smallest size from which on nine of ten are found, where it was tried at least three times."""
    enough = [pair for pair in pairs if pair[0].rate >= case.least_rate]
    best = "–"
    for size in sorted(case.sizes, reverse=True):
        own = [pair for pair in enough if pair[0].size == size]
        if len(own) < 3:
            continue
        if sum(bool(events) for _, events in own) < 0.9 * len(own):
            break
        best = f"{size:g}"
    return best


def _controls(weeks: Sequence[Scored], compared: Sequence[Compared]) -> str:
    if not compared:
        return ""
    some = [week for week in weeks if week.curves]
    rows = [
        (
            f"Over {len(some)} of these weeks, at the stated sizes, each at the same number of false alarms "
            "(or the nearest number below); a fault that was missed counts as found after its length and ten "
            "minutes."
        ),
        "",
        "| | false alarms | recall | mean delay | median delay |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {one.name} | {one.false} | {_percent(one.result.recall)} | "
        f"{_minutes(one.result.mean_min)} | {_minutes(one.result.median_min)} |"
        for one in compared
    ]
    return "\n".join(rows)


def _false(weeks: Sequence[Scored]) -> str:
    kinds = Counter(event.kind for week in weeks for event in week.false)
    if not kinds:
        return "There were no false alarms."
    return (
        "False alarms by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) + "."
    )


# --- for whoever works on the detectors ---------------------------------------------------------------------


def misses(weeks: Sequence[Scored]) -> Iterator[str]:
    """Each fault that was missed or misnamed at its stated size, and each false alarm, one on a line."""
    for week in weeks:
        head = f"{week.spec.sort} {week.spec.seed} ({week.per_day:,.0f} a day, {week.seconds:.0f} s)"
        for label, events in zip(week.labels, week.hits, strict=True):
            told = ", ".join(f"{one.kind} {one.scope}" for one in events)
            stated = "" if is_stated(label) else " (below)"
            day = (label.start_s - week.start_s) / 86400
            where = f"{label.case} {label.size:g} {label.server} at {label.rate:.0f}/min, day {day:.2f}"
            if not events:
                yield f"{head}: missed{stated} {where}"
            elif len(events) > 1 or not named(label, events):
                yield f"{head}: named{stated} {where}: {told}"
        for one in week.false:
            at = (one.since - week.start_s) / 86400
            late = (one.detected - one.since) / 60
            yield f"{head}: false {one.kind} {one.scope} at day {at:.2f}, after {late:.0f} min"


def brief(weeks: Sequence[Scored]) -> str:
    """One line."""
    pairs = [pair for pair in pairs_of(weeks) if is_stated(pair[0])]
    whole = tally(pairs)
    false = sum(len(week.false) for week in weeks)
    seconds = median(week.seconds for week in weeks) if weeks else 0
    return (
        f"{len(weeks)} weeks: recall {whole.found}/{whole.of}, cause {whole.named}/{whole.found}, "
        f"{false} false, median delay {whole.median_min:.1f} min, {seconds:.1f} s a week"
    )
