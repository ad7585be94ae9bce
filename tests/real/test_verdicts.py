"""The masking verdict on set-ups of real daemons that are harder to judge than those of `test_real`.

`python -m tests.real.verdicts` does the same for captures of every scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .capture import capture
from .prerequisites import missing
from .verdicts import SERVER_NAMES, VARIANTS, Logs, varied, wrong

HARD = {
    "docker-before-six": 100,
    "docker-smtpd-masked": 50,
    "inner-application": 50,
    "masked-six": 60,
    "masked-since": 160,
    "mismatched-both-ways": 40,
    "one-host-masked": 50,
    "transparent": 50,
    "two-frontends-one-name": 60,
    "unexpected-v2-mynetworks": 40,
    "unix-front": 40,
}

LINES: Logs = (
    ["Nov 22 09:21:04 edge1 haproxy[3]: 192.0.2.1:2 [22/Nov/2026:09:21:04.001] ft_smtp bk_smtp/mx-b 1/0/9"],
    [
        "Nov 22 09:21:04 mx-b postfix/smtpd[9073]: connect from mx1.mail.example[192.0.2.1]:2",
        "Nov 22 09:21:05 mx-a postfix/smtpd[9073]: connect from mx6.mail.example[2001:db8::1]",
    ],
)


def test_what_a_variant_takes_out() -> None:
    text = {name: [*some[0], *some[1]] for name, some in ((n, v(LINES)) for n, v in VARIANTS.items())}
    assert f"bk_smtp/{SERVER_NAMES['mx-b']} 1/0/9" in text["other server names"][0]
    assert all(".example.net " in line for line in text["full host names"])
    assert "smtpd[9073]: connect from unknown[192.0.2.1]:2" in text["no reverse names"][1]
    assert text["no reverse names"][2].endswith("unknown[2001:db8::1]")
    assert text["skewed clocks"][1].startswith("Nov 22 09:21:00 mx-b")
    assert text["skewed clocks"][2].startswith("Nov 22 09:21:07 mx-a")
    assert text["begun late"] == text[""]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Gives the directory of a scenario's capture, once it is done."""
    home = tmp_path_factory.mktemp("captures")
    with ThreadPoolExecutor(len(HARD)) as pool:
        running: dict[str, Future[dict[str, Any]]] = {
            name: pool.submit(capture, name, home / name, sessions=sessions, seed=5, limit_s=150)
            for name, sessions in HARD.items()
        }

        def done(name: str) -> Path:
            running[name].result(timeout=200)
            return home / name

        yield done


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))
@pytest.mark.parametrize("variant", ["", "other server names", "skewed clocks"])
@pytest.mark.parametrize("name", HARD)
def test_the_verdict_is_right(captures: Callable[[str], Path], name: str, variant: str) -> None:
    directory = captures(name)
    assert list(wrong(directory, varied(directory, "traditional", variant))) == []
