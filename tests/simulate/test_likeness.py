"""Simulated sessions tell the stories that real ones tell: the samples are of HAProxy 2.6 and Postfix 3.7."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import logscope
from logscope.simulate import Options
from logscope.simulate.journal import Style

from .reading import write

SAMPLES = Path(__file__).parents[2] / "samples"
ALIKE = {
    "delivered": ("clean", "starttls", "multi_msg", "multi_rcpt", "quit_close"),
    "unknown_user": ("unknown_rcpt",),
    "relay_denied": ("relay_denied",),
    "helo_rejected": ("bad_helo",),
    "lost_connect": ("drop_before_greeting",),
    "screen_hangup": ("drop_before_greeting",),
    "lost_ehlo": ("drop_after_ehlo",),
    "lost_rcpt": ("drop_after_rcpt",),
    "lost_data": ("drop_in_data", "rst_in_data"),
    "listed": ("clean",),
    "denylisted": ("clean",),
    "quit": ("probe",),
    "bad_password": ("auth_fail",),
    "timeout": ("idle_after_ehlo",),
}
"""A simulated client's behaviour, and what clients of the samples are called that behave like it."""
SOMETIMES = {
    "smtpd.hostname_mismatch",  # depends on the name service,
    "smtpd.tls_established",  # on the client,
    "postfix.sasl_problem",  # on where passwords are checked,
    "dnsblog.listed",  # on how many lists have it
}
MAIL = ("cleanup.", "qmgr.", "virtual.", "discard.", "smtp.", "bounce.")
PASSED = ("postscreen.pass_new", "postscreen.pass_old", "postscreen.allowlisted")
"""Which of these lines says so is a matter of what came before."""
Story = tuple[str, ...]


def stories(files: list[Path], behaviours: dict[tuple[str, int], str]) -> dict[str, set[Story]]:
    """Of each behaviour the kinds of lines of its sessions, in order; mail once, however many messages."""
    events = logscope.read_events(*files)
    kind_of = dict(
        zip(zip(events["source"], events["line_number"], strict=True), events["kind"], strict=True)
    )
    found = defaultdict(set)
    sessions = logscope.read_sessions(*files, tz="UTC")
    for address, port, evidence in zip(
        sessions["client_address"], sessions["client_port"], sessions["events"], strict=True
    ):
        kinds: list[str] = []
        for line in evidence:
            kind = kind_of[line["source"], line["line_number"]]
            kind = "mail" if kind.startswith(MAIL) else "pass" if kind in PASSED else kind
            if kind not in SOMETIMES and kinds[-1:] != [kind]:
                kinds.append(kind)
        if (address, port) in behaviours:
            found[behaviours[address, port]].add(tuple(kinds))
    return found


@cache
def real_stories() -> dict[str, set[Story]]:
    found = defaultdict(set)
    for name in ("proxy-v1", "partial-mask"):
        directory = SAMPLES / name
        rows = map(json.loads, (directory / "truth.jsonl").read_text(encoding="utf-8").splitlines())
        behaviours = {(row["client_ip"], row["client_port"]): row["behaviour"] for row in rows}
        for behaviour, told in stories(
            [directory / "haproxy.log", directory / "mail.log"], behaviours
        ).items():
            found[behaviour] |= told
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Story]]:
    directory = tmp_path_factory.mktemp("likeness")
    options = Options(900, duration_s=86400.0, seed=9, smtpd_ports=True)
    files = write(options, Style(), directory)
    rows = map(json.loads, (directory / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    behaviours = {
        (row["client_address"], row["client_port"]): row["behaviour"]
        for row in rows
        if row["service"] == "smtp"  # the samples have no submission
    }
    return stories(files, behaviours)


@pytest.mark.parametrize("behaviour", ALIKE)
def test_a_simulated_client_leaves_the_lines_that_a_real_one_leaves(
    simulated: dict[str, set[Story]], behaviour: str
) -> None:
    real = set().union(*(real_stories()[name] for name in ALIKE[behaviour]))
    assert simulated[behaviour]
    assert simulated[behaviour] - real == set()
