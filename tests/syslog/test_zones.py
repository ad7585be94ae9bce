"""Local time to UTC and back, checked against Python's own datetime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logscope.syslog.zone_names import zone
from logscope.syslog.zones import SECOND, Zones, offset_at, to_utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "+05:45",
    "UTC-3",
]
MOMENTS = st.lists(st.integers(946684800, 2145916800), min_size=1, max_size=20)


def nanoseconds(moment: datetime) -> int:
    return round((moment - EPOCH).total_seconds()) * SECOND


def utc_time(*parts: int) -> int:
    return nanoseconds(datetime(*parts, tzinfo=UTC))  # type: ignore[arg-type, misc]


@given(st.sampled_from(NAMES), MOMENTS)
def test_offsets_are_pythons(name, seconds):
    expected = [
        round(datetime.fromtimestamp(moment, zone(name)).utcoffset().total_seconds()) * SECOND
        for moment in seconds
    ]
    assert offset_at(zone(name), np.array(seconds) * SECOND).tolist() == expected


@given(st.sampled_from(NAMES), MOMENTS)
def test_utc_is_one_of_the_two_instants_a_local_time_can_be(name, seconds):
    utc = np.array(seconds) * SECOND
    first, fold = to_utc(zone(name), utc + offset_at(zone(name), utc))
    assert np.all((first == utc) | (first + fold == utc))
    assert np.all(fold >= 0)


@given(st.sampled_from(NAMES), MOMENTS)
def test_folds_and_gaps_are_resolved_as_python_does(name, seconds):
    local = [EPOCH + timedelta(seconds=moment) for moment in seconds]
    first, fold = to_utc(zone(name), np.array(seconds) * SECOND)
    for at, moment in enumerate(local):
        expected = [moment.replace(tzinfo=zone(name), fold=which).astimezone(UTC) for which in (0, 1)]
        assert first[at] == nanoseconds(expected[0])
        if fold[at]:
            assert first[at] + fold[at] == nanoseconds(expected[1])


def test_the_hour_that_exists_twice_is_told():
    local = np.array([utc_time(2026, 10, 25, 2, 30), utc_time(2026, 10, 25, 3, 0)])
    first, fold = to_utc(zone("Europe/Berlin"), local)
    assert fold.tolist() == [3600 * SECOND, 0]
    assert first.tolist() == [
        utc_time(2026, 10, 25, 0, 30),
        utc_time(2026, 10, 25, 2, 0),
    ]


def test_zones_are_named_for_all_hosts_or_for_one():
    zones = Zones({"mx-a": zone("UTC")}, zone("Europe/Berlin"))
    assert zones.of("mx-a.example.org") == zone("UTC")
    assert zones.of("mx-b") == zone("Europe/Berlin")
    assert Zones().of("mx-b") is None
