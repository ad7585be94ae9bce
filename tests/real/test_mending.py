"""The remedies, applied to real daemons while mail goes on: nothing is lost, and then every client is "
"seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .mending import IN_FLIGHT, Mended, mend
from .prerequisites import missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
]

#: Scenario, and what is found of it before.
FAULTS = {
    "masked": "masked",
    "masked-mynetworks": "masked",
    "smtpd-masked": "masked",
    "submission-masked": "mixed",
    "unexpected-v1": "unexpected_header",
    "missing": "missing_header",
    "mismatched-both-ways": "mixed",
    "one-host-masked": "masked",
}
REFUSING = ("unexpected-v1", "missing", "mismatched-both-ways")
TRUSTING = ("masked-mynetworks", "one-host-masked")


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Mended]]:
    """What came of mending a scenario; all are mended at the same time, since they mostly wait."""
    home = tmp_path_factory.mktemp("mended")
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        running: dict[str, Future[Mended]] = {name: pool.submit(mend, name, home / name) for name in FAULTS}
        yield lambda name: running[name].result(timeout=170)


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found_and_gone(mended: Callable[[str], Mended], name: str) -> None:
    found = mended(name)
    assert found.before["verdict"] == FAULTS[name]
    assert {target["verdict"] for target in found.after["targets"]} == {"passed"}, found.after
    assert {target["evidence"]["configured"]["verdict"] for target in found.after["targets"]} == {"passed"}


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in REFUSING])
def test_no_mail_is_refused_meanwhile(mended: Callable[[str], Mended], name: str) -> None:
    attempts = [one for one in mended(name).attempts if not one["relay"]]
    assert len(attempts) > 50
    assert [one for one in attempts if not one["ok"]] == []


@pytest.mark.parametrize("name", REFUSING)
def test_mail_that_was_refused_comes_through(mended: Callable[[str], Mended], name: str) -> None:
    found = mended(name)
    before = found.attempts[: found.began]
    after = [one for one in found.mended if not one["relay"]]
    assert before
    assert after
    assert not any(one["ok"] for one in before)
    assert [one for one in after if not one["ok"]] == []


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_relayed_that_should_not_be(mended: Callable[[str], Mended], name: str) -> None:
    found = mended(name)
    relayed = [place for place, one in enumerate(found.attempts) if one["relay"] and one["ok"]]
    if name not in TRUSTING:
        assert relayed == []
        return
    # Everybody could; that is told with the queue ids, and ends with the first step on each server.
    closing = ["open relay" in step for step in found.steps]
    assert closing[: sum(closing)] == [True] * len(found.before["targets"])
    [told] = [
        one for one in found.before["targets"][0]["evidence"]["consequences"] if one["kind"] == "open_relay"
    ]
    assert told["queue_ids"]
    assert relayed
    assert max(relayed) < found.done[sum(closing) - 1] + IN_FLIGHT
