"""Simulated sessions tell the stories that real ones tell, and those that the relay tells: the samples are of
HAProxy 2.6 and Postfix 3.7, the relay is run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import logscope
from logscope.relay.rim.passwords import hashed
from logscope.relay.rim.run import Relay
from logscope.relay.rim.traffic import Traffic
from logscope.relay.rim.witness import Witness
from logscope.relay.traffic.behaviours import BEHAVIOURS, Behaviour
from logscope.relay.traffic.plan import Profile
from logscope.relay.traffic.talk import Talk
from logscope.simulate import Options
from logscope.simulate.journal import Style
from tests.relay.running import run

from .reading import write

RELAY = """\
drain = "2s"
[log]
format = "rfc3339"
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
accept_proxy_from = ["127.0.0.1"]
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT1"
send_proxy = "v1"
[[mta]]
host = "mx-a"
error_sleep = 0
unknown_domains = ["nowhere.example"]
timeout = "2s"
client_port_logging = true
client_limits = { connection_count = 0, connection_rate = 0 }
certificate = "self-signed"
users = "users"
[mta.domains]
"example.com" = USERS
[mta.screen]
greet_wait = "300ms"
dnsbl_sites = ["zen.dnsbl.example"]
deny = ["198.51.100.64/27"]
[mta.dns_zone]
"zen.dnsbl.example" = { "198.51.100.0/26" = "127.0.0.4" }
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
""".replace("USERS", str([f"user{number}" for number in range(1, 61)]))
"""A site like the simulated one, for clients that cannot wait."""
RELAYED = {
    "delivered": ("clean", "encrypted", "several", "many_recipients"),
    "unknown_user": ("unknown_recipient",),
    "relay_denied": ("relaying",),
    "helo_rejected": ("bad_helo",),
    "sender_rejected": ("unknown_sender",),
    "lost_connect": ("closed_after_greeting", "reset_after_greeting", "port_scan"),
    "screen_hangup": ("closed_before_greeting", "reset_before_greeting", "port_scan"),
    "lost_ehlo": ("closed_after_helo", "reset_after_helo"),
    "lost_rcpt": ("closed_in_envelope", "reset_in_envelope"),
    "lost_data": ("closed_in_content", "reset_in_content"),
    "listed": ("relaying", "bad_helo", "guessing"),
    "denylisted": ("relaying", "bad_helo", "guessing"),
    "pregreet": ("early_then_quits", "early_then_gone"),
    "quit": ("look_in",),
    "bad_password": ("guessing",),
}
"""The same, of the relay's clients."""
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
TELLING = (
    "haproxy.tcp_session",
    "postscreen.reject",
    "smtpd.decision",
    "smtpd.lost_connection",
    "smtpd.timeout",
)
"""Of these lines what they say is compared too: how the session ended, which reply was given, and when."""
Story = tuple[str, ...]


async def early_then_quits(talk: Talk) -> None:
    """Speaks before the server has, and takes the refusal politely."""
    await talk.send(f"EHLO {talk.helo}\r\n".encode())
    if (await talk.reply()).startswith("220"):  # it is known already, and let through
        await talk.reply()
    await talk.mail(talk.recipients[0])
    await talk.quit()


async def early_then_gone(talk: Talk) -> None:
    """Speaks before the server has, and leaves when it has."""
    await talk.send(f"EHLO {talk.helo}\r\n".encode())
    await talk.reply()
    await talk.leave()


EARLY = {act.__name__: Behaviour(act, "pregreet") for act in (early_then_quits, early_then_gone)}


def stories(files: list[Path], behaviours: dict[tuple[str, int], str]) -> dict[str, set[Story]]:
    """Of each behaviour the kinds of lines of its sessions, in order; mail once, however many messages."""
    events = logscope.read_events(*files)
    telling = events[events["kind"].isin(TELLING)].astype(object)
    telling = telling.where(telling.notna(), None)
    kind_of = dict(
        zip(zip(events["source"], events["line_number"], strict=True), events["kind"], strict=True)
    )
    for row in telling.to_dict("records"):
        said = (row.get(column) for column in ("termination_state", "reply_code", "dsn", "stage"))
        kind_of[row["source"], row["line_number"]] = " ".join(
            [row["kind"], *(str(word) for word in said if word is not None)]
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
def relayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Story]]:
    """What the relay logs of clients of all kinds."""
    directory = tmp_path_factory.mktemp("relayed")
    (directory / "users").write_text(f"alice@example.com:{hashed('right')}\n")
    mix = {name: 2 for names in RELAYED.values() for name in names} | dict.fromkeys(EARLY, 8)
    mix |= {"guessing": 6, "relaying": 6, "bad_helo": 6}
    profile = Profile("all kinds", dict(sorted(mix.items())), per_second=60, clients=90)
    made: list[Traffic] = []

    async def play(relay: Relay, _ports: list[int]) -> None:
        made.append(Traffic(relay, profile, 7, 5.0, directory / "truth.jsonl"))
        await made[0].run()

    with pytest.MonkeyPatch.context() as patch:
        for name, behaviour in EARLY.items():
            patch.setitem(BEHAVIOURS, name, behaviour)
        run(directory, RELAY, play, Witness())
    made[0].finish()
    rows = map(json.loads, (directory / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    behaviours = {(row["client_ip"], row["client_port"]): row["behaviour"] for row in rows}
    return stories([directory / "haproxy.log", directory / "mail.log"], behaviours)


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


@pytest.mark.parametrize("behaviour", RELAYED)
def test_a_simulated_client_leaves_the_lines_that_one_of_the_relay_leaves(
    simulated: dict[str, set[Story]], relayed: dict[str, set[Story]], behaviour: str
) -> None:
    real = set().union(*(relayed[name] for name in RELAYED[behaviour]))
    assert simulated[behaviour]
    assert simulated[behaviour] - real == set()
