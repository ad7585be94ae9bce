"""Stamps of a source in UTC: years, zones, folds; and the same however the lines are cut into batches."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope.syslog.clock import NULL, YEARLESS, ZONED, Clock, OffsetTracker, ZoneOrigin
from logscope.syslog.years import Reference, YearOrigin, best_reference, in_years, rotation_date
from logscope.syslog.zone_names import zone
from logscope.syslog.zones import DAY, HOUR, SECOND, Zones, offset_at

HOSTS = ["lb", "mx-a", "mx-b"]


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[arg-type, misc]


def without_year(moments: np.ndarray) -> np.ndarray:
    """As if of the year 2000."""
    stamps = [datetime.fromtimestamp(int(moment) // SECOND, UTC).replace(year=2000) for moment in moments]
    return np.array([int(stamp.timestamp()) * SECOND for stamp in stamps], np.int64)


def resolve(clock, stamps, *, kind=YEARLESS, host=None, accepted=None, duration=None, cuts=(), in_utc=False):
    stamps = np.asarray(stamps, np.int64)
    kinds = np.broadcast_to(np.asarray(kind, np.int8), stamps.shape)
    hosts = np.zeros(stamps.shape, np.int32) if host is None else np.asarray(host, np.int32)
    parts = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(stamps)), len(stamps)]
    for low, high in pairwise(edges):
        part = slice(low, high)
        parts.append(
            clock.resolve(
                stamps[part],
                kinds[part],
                hosts[part],
                HOSTS.__getitem__,
                None if accepted is None else np.asarray(accepted, np.int64)[part],
                None if duration is None else np.asarray(duration, np.int64)[part],
                accepted_in_utc=in_utc,
            )
        )
    logged = np.concatenate([part.logged_at for part in parts])
    return logged, np.concatenate([part.accepted_at for part in parts])


GAPS = st.lists(st.integers(-20, 86400) | st.integers(-20, 300 * 86400), min_size=1, max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=6)
STARTS = st.integers(at(2003, 1, 1) // SECOND, at(2035, 1, 1) // SECOND)


def lines(start: int, gaps: list[int]) -> np.ndarray:
    """Instants of lines, from seconds since 1970 and the gaps in seconds."""
    return (start + np.cumsum([0, *gaps])) * SECOND


@given(STARTS, GAPS, CUTS, st.integers(-58, 300))
def test_years_follow_from_a_reference_near_the_first_line_and_from_the_order(start, gaps, cuts, days):
    moments = lines(start, gaps)
    clock = Clock(Reference.accept_date(int(moments[0]) + days * DAY))
    logged, _ = resolve(clock, without_year(moments), cuts=cuts)
    assert logged.tolist() == moments.tolist()
    assert clock.year_origins == {YearOrigin.ACCEPT_DATE}


@given(STARTS, st.lists(st.integers(-20, 86400), min_size=1, max_size=60), CUTS)
def test_years_follow_from_the_end_of_a_file(start, gaps, cuts):
    moments = lines(start, gaps)
    clock = Clock(best_reference(now=0, modified=int(moments[-1])))
    logged, _ = resolve(clock, without_year(moments), cuts=cuts)
    assert logged.tolist() == moments.tolist()
    assert clock.year_origins == {YearOrigin.MODIFIED}


@given(STARTS, GAPS, CUTS, st.data())
def test_accept_dates_overrule_a_wrong_reference(start, gaps, cuts, data):
    moments = lines(start, gaps)
    durations = np.array([data.draw(st.integers(0, 60_000)) for _ in moments])
    accepted = moments - durations * 1_000_000
    year = datetime.fromtimestamp(start, UTC).year
    clock = Clock(Reference.year(year + data.draw(st.integers(-3, 3))))
    logged, accepted_at = resolve(
        clock, without_year(moments), accepted=accepted, duration=durations, cuts=cuts
    )
    assert logged.tolist() == moments.tolist()
    assert accepted_at.tolist() == accepted.tolist()
    assert clock.year_origins == {YearOrigin.ACCEPT_DATE}


def test_new_year_turns_and_turns_back_for_a_straggler():
    moments = np.array(
        [
            at(2026, 12, 31, 23, 59, 58),
            at(2027, 1, 1, 0, 0, 0),
            at(2026, 12, 31, 23, 59, 59),
            at(2027, 1, 1, 0, 0, 1),
        ]
    )
    for reference in (Reference.year(2026), Reference.end(at(2027, 1, 3), YearOrigin.MODIFIED)):
        assert resolve(Clock(reference), without_year(moments))[0].tolist() == moments.tolist()
    first_is_late = moments[1:]
    found, _ = resolve(Clock(Reference.accept_date(at(2026, 12, 31, 23, 0, 0))), without_year(first_is_late))
    assert found.tolist() == first_is_late.tolist()


def test_a_leap_day_needs_no_leap_year_to_be_read():
    stamps = np.array([at(2000, 2, 28, 12), at(2000, 2, 29, 12), at(2000, 3, 1, 12), at(2000, 12, 31, 12)])
    assert in_years(stamps, np.full(4, 2028)).tolist() == [
        at(2028, 2, 28, 12), at(2028, 2, 29, 12), at(2028, 3, 1, 12), at(2028, 12, 31, 12),
    ]  # fmt: skip
    assert in_years(stamps, np.full(4, 2026)).tolist() == [
        at(2026, 2, 28, 12), at(2026, 3, 1, 12), at(2026, 3, 1, 12), at(2026, 12, 31, 12),
    ]  # fmt: skip


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(2004, 2035),
    st.lists(st.integers(-20, 1400), min_size=20, max_size=60),
    CUTS,
)
def test_a_fold_is_resolved_by_the_order_of_lines(name, year, gaps, cuts):
    """Lines up to 23 minutes apart (the shortest fold lasts 30), from three hours before a change on."""
    there = zone(name)
    hours = np.arange(at(year, 1, 2), at(year, 12, 30), HOUR)
    changes = hours[1:][np.diff(offset_at(there, hours)) != 0]
    assert len(changes) == 2
    for change in changes.tolist():
        moments = change - 3 * HOUR + np.cumsum(gaps) * SECOND
        clock = Clock(Reference.year(year), Zones(default=there))
        logged, _ = resolve(clock, without_year(moments + offset_at(there, moments)), cuts=cuts)
        assert logged.tolist() == moments.tolist()


def test_both_passes_of_the_hour_that_exists_twice_are_told_apart():
    moments = np.arange(at(2026, 10, 24, 23, 0, 0), at(2026, 10, 25, 3, 0, 0), 60 * SECOND)
    berlin = zone("Europe/Berlin")
    late = moments.copy()
    late[100], late[101] = late[101], late[100]  # a little disorder changes nothing
    clock = Clock(Reference.year(2026), Zones(default=berlin))
    logged, _ = resolve(clock, without_year(late + offset_at(berlin, late)))
    assert logged.tolist() == late.tolist()
    assert clock.zone_origins == {"lb": ZoneOrigin.OPTION}


def test_each_host_has_its_zone():
    moments = np.array([at(2026, 7, 1, 12), at(2026, 7, 1, 12, 0, 1), at(2026, 7, 1, 12, 0, 2)])
    local = moments + np.array([2 * HOUR, 0, -4 * HOUR])
    zones = Zones({"mx-a": zone("UTC"), "mx-b": zone("America/New_York")}, zone("Europe/Berlin"))
    logged, _ = resolve(Clock(Reference.year(2026), zones), without_year(local), host=[0, 1, 2])
    assert logged.tolist() == moments.tolist()


def test_stamps_with_a_zone_or_a_year_keep_them():
    stamps = [at(2026, 7, 1, 12), at(2000, 7, 1, 14, 0, 1), at(2026, 7, 1, 14, 0, 2), NULL]
    clock = Clock(Reference.year(2026), Zones(default=zone("Europe/Berlin")))
    logged, _ = resolve(clock, stamps, kind=[ZONED, YEARLESS, 0, 0])
    assert logged.tolist() == [at(2026, 7, 1, 12), at(2026, 7, 1, 12, 0, 1), at(2026, 7, 1, 12, 0, 2), NULL]
    assert clock.year_origins == {YearOrigin.STAMP, YearOrigin.OPTION}


@settings(max_examples=30)
@given(st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "America/New_York"]), CUTS, st.data())
def test_accept_dates_are_read_in_the_zone_their_difference_from_the_stamp_shows(name, cuts, data):
    there = zone(name)
    gaps = data.draw(st.lists(st.integers(0, 7200), min_size=1, max_size=60))
    moments = lines(at(2026, 6, 1) // SECOND, gaps)
    durations = np.array([data.draw(st.integers(0, 300_000)) for _ in moments])
    accepted_utc = moments - durations * 1_000_000
    accepted = accepted_utc + offset_at(there, accepted_utc)
    clock = Clock(Reference.year(2026))
    logged, accepted_at = resolve(
        clock, moments, kind=ZONED, accepted=accepted, duration=durations, cuts=cuts
    )
    assert logged.tolist() == moments.tolist()
    assert accepted_at.tolist() == accepted_utc.tolist()
    assert clock.zone_origins == {"lb": ZoneOrigin.STAMP}


def test_summer_time_is_followed_through_pairs_and_one_late_line_is_not():
    berlin = zone("Europe/Berlin")
    moments = np.arange(at(2026, 3, 29, 0, 30), at(2026, 3, 29, 1, 30), 60 * SECOND)
    accepted = moments + offset_at(berlin, moments)
    accepted[5] -= 3600 * SECOND  # a line that came an hour late
    _, accepted_at = resolve(Clock(Reference.year(2026)), moments, kind=ZONED, accepted=accepted)
    expected = moments.copy()
    expected[5] -= 3600 * SECOND
    wrong = np.flatnonzero(accepted_at != expected)
    first_after_the_change = 30
    assert wrong.tolist() == [first_after_the_change, first_after_the_change + 1]


def test_accept_dates_in_utc_show_the_zone_of_the_stamps():
    moments = np.arange(at(2026, 7, 1, 12), at(2026, 7, 1, 12, 10), 30 * SECOND)
    clock = Clock(Reference.year(2026))
    logged, accepted_at = resolve(clock, without_year(moments + 2 * HOUR), accepted=moments, in_utc=True)
    assert logged.tolist() == moments.tolist()
    assert accepted_at.tolist() == moments.tolist()
    assert clock.zone_origins == {"lb": ZoneOrigin.ACCEPT_DATE}


def test_with_nothing_known_the_zone_is_utc_and_said_to_be_assumed():
    clock = Clock(Reference.year(2026))
    assert resolve(clock, [at(2000, 7, 1, 12)])[0].tolist() == [at(2026, 7, 1, 12)]
    assert clock.zone_origins == {"lb": ZoneOrigin.ASSUMED}


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 2 * HOUR, HOUR, NULL]), st.integers(-400, 400)), min_size=1, max_size=40
    ),
    CUTS,
)
def test_offsets_do_not_depend_on_the_cut(pairs, cuts):
    apart = np.array(
        [NULL if offset == NULL else offset + noise * SECOND for offset, noise in pairs], np.int64
    )
    whole = OffsetTracker().follow(apart)
    tracker = OffsetTracker()
    edges = [0, *sorted(cut for cut in cuts if cut < len(apart)), len(apart)]
    parts = [tracker.follow(apart[low:high]) for low, high in pairwise(edges)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mail.log-20261122", date(2026, 11, 22)),
        ("mail.log-20261122.gz", date(2026, 11, 22)),
        ("haproxy.2026-11-22.log.xz", date(2026, 11, 22)),
        ("mail.log-2026112203", date(2026, 11, 22)),
        ("mail.log.1", None),
        ("mail-20260231.log", None),
        ("backup-12026112233.log", None),
        ("mx2026-1122.log", None),
    ],
)
def test_rotation_dates(name, expected):
    assert rotation_date(name) == expected


def test_the_best_reference_wins():
    known = {"now": at(2030, 5, 1), "modified": at(2029, 5, 1)}
    assert best_reference(**known).origin is YearOrigin.MODIFIED
    assert best_reference(**known, year=2026).origin is YearOrigin.OPTION
    assert best_reference(**known, year=2026, name="mail.log-20261122").origin is YearOrigin.ROTATION
    best = best_reference(**known, year=2026, name="mail.log-20261122", accepted=at(2025, 1, 1))
    assert best.origin is YearOrigin.ACCEPT_DATE
    assert best_reference(now=at(2030, 5, 1)).origin is YearOrigin.NOW
    assert best.first_year(at(2000, 12, 31)) == 2024
