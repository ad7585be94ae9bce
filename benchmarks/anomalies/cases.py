"""What is looked for, fixed in advance: of each fault its sizes, the size at which it must be found, how long
it lasts, on how busy a site, and what a finding has to say to have named its cause.

The sizes are in the measure of `logscope.simulate.faults.KINDS`. "Found" is asked for at the stated size and
above, where the site has at least `least_rate` sessions a minute in the hour before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A fault as it is tried.

    Attributes:
        name: of the case; the kind of the fault unless said otherwise.
        sizes: all that are tried, in order.
        stated: the size at which it must be found.
        minutes: how long it lasts.
        least_rate: sessions a minute from which on it must be found.
        kinds: findings that name its cause.
        scope: what the finding must be about: `fleet`, `server` (the right one), `client`, …
        group: `surge`, `silence` or `shift`: which delay is asked for.
        kind: of the simulator's fault.
        measure: what the size means, for the table.
        one_server: it strikes one server.
        most_rate: sessions a minute above which the case is not tried.
        simulated: the simulator can make it; only the second generator otherwise.
    """

    name: str
    sizes: tuple[float, ...]
    stated: float
    minutes: float
    least_rate: float
    kinds: tuple[str, ...]
    scope: str = ""
    group: str = "shift"
    kind: str = ""
    measure: str = ""
    one_server: bool = False
    most_rate: float = 1e9
    simulated: bool = True

    @property
    def fault(self) -> str:
        """The simulator's name of it."""
        return self.kind or self.name


_GUESSING = ("auth_guessing",)
_CROWD = ("auth_guessing_distributed",)
_SHIFT = ("reject_shift", "outcome_shift", "termination_shift")
_WORSE = ("server_worse",)
_SLOW = ("delivery_latency",)

CASES: tuple[Case, ...] = (
    Case("surge", (1.4, 2.0, 3.0), 2.0, 10, 50, ("surge",), "fleet", "surge", measure="times the rate"),
    Case("surge, few sessions", (2.0, 3.0, 5.0), 3.0, 10, 5, ("surge",), "fleet", "surge", kind="surge",
         measure="times the rate", most_rate=50),
    Case("drop", (0.3, 0.5, 0.8), 0.5, 15, 50, ("drop", "silence"), "fleet", measure="share missing"),
    Case("silence", (1.0,), 1.0, 5, 20, ("silence",), "fleet", "silence", measure="for five minutes"),
    Case("silence, few sessions", (1.0,), 1.0, 20, 5, ("silence",), "fleet", "silence", kind="silence",
         measure="for twenty minutes", most_rate=20),
    Case("ramp", (1.6, 2.2, 3.0), 3.0, 90, 20, ("ramp", "surge"), "fleet",
         measure="times the rate at the end"),
    Case("heavy_client", (5, 10, 20, 40), 20, 15, 5, ("heavy_client",), "client", measure="sessions a minute",
         most_rate=200),
    Case("heavy_network", (10, 20, 40, 80), 40, 15, 5, ("heavy_network",), "network",
         measure="sessions a minute", most_rate=200),
    Case("rejects", (0.05, 0.1, 0.2), 0.1, 15, 50, ("reject_shift", "outcome_shift"), "fleet",
         measure="share of sessions"),
    Case("aborts", (0.05, 0.1, 0.2), 0.1, 15, 50, _SHIFT, "fleet", measure="share of sessions"),
    Case("auth_guessing", (0.67, 1.34, 4.0), 1.34, 5, 1, _GUESSING, "client",
         measure="sessions a minute, three passwords each"),
    Case("auth_guessing_distributed", (100, 200, 400), 200, 60, 1, _CROWD, "fleet",
         measure="addresses an hour"),
    Case("pregreet_wave", (10, 20, 40, 80), 40, 15, 1, ("pregreet_wave",), "fleet",
         measure="sessions a minute"),
    Case("dnsbl_surge", (10, 20, 40, 80), 40, 15, 1, ("dnsbl_surge",), "fleet", measure="sessions a minute"),
    Case("dnsbl_down", (1.0,), 1.0, 30, 50, ("dnsbl_down",), "fleet", measure="share of look-ups"),
    Case("slow_queue", (50, 200, 500), 500, 10, 20, ("queue_latency",), "fleet", measure="ms, mean"),
    Case("slow_connect", (1.5, 2.0, 4.0), 2.0, 10, 20, ("connect_latency",), "fleet", measure="times"),
    Case("slow_connect, one server", (1.5, 2.0, 4.0), 2.0, 15, 50, ("connect_latency",), "server",
         kind="slow_connect", measure="times", one_server=True),
    Case("slow_screen", (2.0, 4.0), 2.0, 30, 50, ("screen_latency",), "", measure="times"),
    Case("slow_session", (1.5, 2.0, 4.0), 2.0, 15, 50, ("session_latency",), "fleet", measure="times"),
    Case("slow_delivery_before_queue", (2, 4, 8), 4, 20, 20, (*_SLOW, "session_latency"), "fleet",
         measure="times"),
    Case("slow_delivery_in_queue", (10, 50), 50, 20, 20, _SLOW, "fleet", measure="times"),
    Case("slow_delivery_connect", (3, 10), 10, 20, 20, _SLOW, "fleet", measure="times"),
    Case("slow_delivery_transmit", (3, 10), 10, 20, 20, _SLOW, "fleet", measure="times"),
    Case("server_rejects", (0.05, 0.1, 0.2), 0.1, 15, 100, (*_WORSE, *_SHIFT), "server",
         measure="share of its sessions", one_server=True),
    Case("server_cut", (0.05, 0.1, 0.2), 0.1, 15, 100, (*_WORSE, *_SHIFT), "server",
         measure="share of its sessions", one_server=True),
    Case("server_down", (1.0,), 1.0, 15, 20, ("server_silent",), "server", "silence",
         measure="for fifteen minutes", one_server=True),
    Case("imbalance", (1.5, 2.0, 3.0), 2.0, 30, 50, ("imbalance",), "server", measure="times its part",
         one_server=True),
    Case("flapping", (6, 12), 12, 60, 20, ("flapping",), "server", measure="times an hour", one_server=True),
    Case("no_server", (1.0,), 1.0, 5, 5, ("no_server",), "fleet", "silence", measure="for five minutes"),
    Case("deferrals", (0.5, 0.9), 0.9, 30, 20, ("deferrals",), "destination",
         measure="share of one destination"),
    Case("bounces", (0.05, 0.1, 0.3), 0.1, 15, 50, ("bounces", *_SHIFT), "fleet",
         measure="share of the mail"),
    # The simulator's bounces have ordinary senders: only their recipients tell. Those of `holdout` have none.
    Case("backscatter", (10, 20, 40), 40, 15, 1, ("backscatter", "user_enumeration"), "fleet",
         measure="sessions a minute"),
    Case("slow_client", (20, 50), 50, 20, 1, ("connection_hoarding",), "client", measure="connections"),
    Case("user_enumeration", (5, 10, 20), 20, 10, 1, ("user_enumeration",), "client",
         measure="sessions a minute"),
    Case("port_scan", (20, 60), 60, 10, 1, ("connection_scan",), "client", measure="sessions a minute"),
    Case("account_takeover", (3, 5, 10), 10, 10, 1, ("account_takeover",), "user",
         measure="sessions a minute"),
    Case("sender_size", (10, 30), 30, 20, 20, ("sender_shift",), "sender",
         measure="times, one message a minute", simulated=False),
    Case("sender_recipients", (4, 8), 8, 20, 1, ("sender_shift", "account_takeover"), "",
         measure="recipients, one message a minute", simulated=False),
    Case("listener_scan", (4, 5, 7), 5, 10, 1, ("port_scan",), "client", measure="listeners, each once",
         simulated=False),
    Case("queue_growth", (4, 8), 8, 20, 20, ("queue_growth", "deferrals"), "destination",
         measure="times the mail of a slow destination", simulated=False),
    Case("large_messages", (3, 10), 10, 30, 20, ("message_size",), "fleet", measure="times"),
    Case("mta_log_loss", (0.01, 0.02, 0.1), 0.02, 15, 50, ("mta_log_loss",), "", measure="share of sessions"),
    Case("balancer_log_loss", (0.02, 0.1, 0.3), 0.1, 15, 50, ("balancer_log_loss", "bypass"), "",
         measure="share of sessions"),
    Case("log_gap", (1.0,), 1.0, 15, 20, ("log_gap",), "server", "silence", measure="for fifteen minutes",
         one_server=True),
    Case("bypass", (2, 5, 10), 5, 15, 1, ("bypass",), "server", measure="sessions a minute", one_server=True),
    Case("clock_step", (2, 5), 5, 60, 20, ("clock_step",), "server", measure="seconds", one_server=True),
    Case("clock_drift", (10, 20), 10, 120, 20, ("clock_drift", "clock_step"), "server",
         measure="seconds an hour", one_server=True),
    Case("masked", (0.5, 1.0), 1.0, 30, 20, ("masking",), "server", measure="share of its sessions",
         one_server=True),
    Case("header_missing", (1.0,), 1.0, 15, 20, _WORSE + _SHIFT, "server", measure="share of its sessions",
         one_server=True),
)  # fmt: skip

NEGATIVES = ("newsletter", "monitor", "deployment", "rotation_gap")
"""What looks like a fault and is none: anything found then is a false alarm."""

BY_NAME = {case.name: case for case in CASES}
