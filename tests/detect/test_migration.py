"""How much of the traffic is visible, in time."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from logscope.detect.masking import Judge, exit_status
from logscope.detect.migration import step_of
from tests.detect.scenes import SECOND, Scene

HOUR = 3600


def migrated(scene: Scene) -> dict[str, Any]:
    judge = Judge()
    for batch in scene.batches():
        judge.add(batch)
    return judge.migration(scene.signals)


def by_server(scene: Scene) -> dict[str, list[tuple[int, int]]]:
    found = defaultdict(list)
    for row in migrated(scene)["migration"]:
        found[row["server"]].append((row["visible"], row["sessions"]))
    return dict(found)


def test_each_step_has_its_share() -> None:
    scene = Scene(pace_s=60.0)
    scene.by_port("mx-a", "mx-a", 200).passed("mx-a", "mx-a", 200)
    [steps] = by_server(scene).values()
    assert sum(sessions for _, sessions in steps) == 400
    shares = [visible / sessions for visible, sessions in steps]
    assert (shares[0], shares[-1]) == (0, 1)
    assert shares == sorted(shares)


def test_each_server_has_its_own_rows() -> None:
    found = by_server(Scene().by_port("mx-a", "mx-a", 30).passed("mx-b", "mx-b", 40))
    assert sum(visible for visible, _ in found["mx-a"]) == 0
    assert sum(visible for visible, _ in found["mx-b"]) == 40


def test_what_cannot_be_judged_has_no_rows() -> None:
    assert by_server(Scene().lone("mx-a", 30)) == {}


@pytest.mark.parametrize(("pace_s", "step_s"), [(1, 60), (60, 300), (600, 3600), (9000, 86_400)])
def test_the_step_fits_the_length(pace_s: float, step_s: int) -> None:
    scene = Scene(pace_s=pace_s).passed("mx-a", "mx-a", 200)
    found = migrated(scene)
    assert found["step_s"] == step_s
    assert all(row["at"] % (step_s * SECOND) == 0 for row in found["migration"])
    assert step_of([]) == 60


def test_runs_fail_on_what_they_are_told_to() -> None:
    mixed = Scene().by_port("mx-a", "mx-a", 30).passed("mx-b", "mx-b", 30).document()
    assert exit_status(mixed) == exit_status(mixed, ["masked"]) == exit_status(mixed, ["mixed"]) == 1
    assert exit_status(mixed, ["missing_header", "open_relay"]) == 0
    unknown = Scene().lone("mx-a", 30).document()
    assert exit_status(unknown, ["masked"]) == 3
    assert exit_status(unknown, ["unknown"]) == 1
