"""The masking verdict: every verdict from a small table, and what must never be called masked."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from logscope.detect.header_lines import NO_ADDRESS, REFUSED, TOLD, Example, HeaderLines
from logscope.detect.masking import VERDICTS, exit_status, missing, with_configuration
from logscope.detect.signals import NEVER
from logscope.errors import ExitCode, Place
from logscope.site import Site
from logscope.site.facts import Listener, Route
from logscope.site.facts import Target as SiteTarget
from tests.detect.scenes import COMMANDS, LB, START, Scene

CONTRACT = {
    "frontend", "backend", "server", "mta_host", "service", "family", "verdict", "cause", "confidence",
    "share_masked", "since", "until", "evidence", "remedy",
}  # fmt: skip
HEADER_TAKEN_FOR_A_COMMAND = COMMANDS | {"unknown": [0, 1]}


def scenes() -> dict[str, tuple[Scene, str]]:
    """Set-ups with the verdict that both servers must get."""
    two = {"srv1": "mx-a", "srv2": "mx-b"}

    def each(scene: Scene, what: str, count: int = 40, **more: object) -> Scene:
        for server, host in two.items():
            getattr(scene, what)(server, host, count, **more)
        return scene

    return {
        "passed": (each(Scene(), "passed"), "passed"),
        "masked, ports logged": (each(Scene(), "by_port"), "masked"),
        "masked, whole seconds": (each(Scene(), "masked"), "masked"),
        "masked, fine stamps": (each(Scene(coarse=False), "masked"), "masked"),
        "masked, the joins do not know the address": (each(Scene(), "masked", known=False), "masked"),
        "masked, clocks 7 s apart": (each(Scene(clock_s=7), "masked", known=False), "masked"),
        "masked, busy": (each(Scene(pace_s=0.05), "masked", 300), "masked"),
        "masked, on one host": (each(Scene(), "masked", peer_address="127.0.0.1"), "masked"),
        "masked, health checks": (each(Scene(), "masked").checks("mx-a", 200).checks("mx-b", 200), "masked"),
        "masked, five sessions": (each(Scene(), "masked", 5), "masked"),
        "header told": (each(Scene(), "by_text"), "unexpected_header"),
        "header as first command": (
            each(Scene(), "masked", commands=HEADER_TAKEN_FOR_A_COMMAND),
            "unexpected_header",
        ),
        "header as first command, ports logged": (
            each(Scene(), "by_port", commands=HEADER_TAKEN_FOR_A_COMMAND),
            "unexpected_header",
        ),
        "header missing": (each(Scene(), "refused"), "missing_header"),
        "header missing, some lines lost": (each(Scene(), "refused", lines=12), "missing_header"),
    }


@pytest.mark.parametrize("name", scenes())
def test_verdict_of_a_set_up(name: str) -> None:
    scene, expected = scenes()[name]
    document = scene.document()
    assert [target["verdict"] for target in document["targets"]] == [expected, expected]
    assert document["verdict"] == expected
    hosts = {target["server"]: target["mta_host"] for target in document["targets"]}
    assert hosts == {"srv1": "mx-a", "srv2": "mx-b"}


def hard_negatives() -> dict[str, Scene]:
    """Set-ups in which every client is visible."""
    return {
        "health checks": Scene().passed("mx-a", "mx-a", 30).checks("mx-a", 500),
        "few clients": Scene().passed("mx-a", "mx-a", 30, client_address="198.51.100.7"),
        "one relay hub inside": Scene().passed(
            "mx-a", "mx-a", 200, client_address="10.1.1.9", peer_address="10.1.1.9", helo="hub.example.net"
        ),
        "submission from one application server": Scene().passed(
            "mx-a", "mx-a", 200, client_address="10.1.1.8", peer_address="10.1.1.8", helo="app1"
        ),
        "clients past the balancer": Scene().passed("mx-a", "mx-a", 40).direct("mx-a", 200),
        "a relay past the balancer": Scene(pace_s=0.3)
        .passed("mx-a", "mx-a", 100)
        .direct("mx-a", 300, "10.1.1.7"),
        "mail server lines lost": Scene()
        .passed("mx-a", "mx-a", 60)
        .lone("mx-a", 20)
        .direct("mx-a", 20, "10.1.1.7"),
        "scanners at the port": _scanned(Scene().passed("mx-a", "mx-a", 60)),
        "two sessions joined by a reused port": Scene()
        .passed("mx-a", "mx-a", 100)
        .by_port("mx-a", "mx-a", 2),
        "the balancer's own mail": Scene()
        .passed("mx-a", "mx-a", 40)
        .passed("mx-a", "mx-a", 10, client_address=LB, peer_address=LB),
        "unexplained sessions and checks": Scene()
        .passed("mx-a", "mx-a", 60)
        .lone("mx-a", 6)
        .checks("mx-a", 300),
    }


def _scanned(scene: Scene) -> Scene:
    lines = HeaderLines(REFUSED, "mx-a", "postfix/postscreen")
    for number in range(50):
        lines.add(START + number * 10**9, 1, Example("mail.log", number, "warning: haproxy read: EOF"))
    scene.signals.lines.append(lines)
    return scene


@pytest.mark.parametrize("name", hard_negatives())
def test_never_masked(name: str) -> None:
    document = hard_negatives()[name].document()
    assert [target["verdict"] for target in document["targets"]] == ["passed"]
    assert exit_status(document) is ExitCode.FINE


def test_half_masked_is_mixed_with_a_verdict_each() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40).masked("mx-b", "mx-b", 40)
    assert scene.verdicts() == {"mx-a": "passed", "mx-b": "masked"}
    document = scene.document()
    assert document["verdict"] == "mixed"
    assert exit_status(document) is ExitCode.FINDING


def test_half_refused_is_mixed_with_a_verdict_each() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40).refused("mx-b", "mx-b", 40)
    assert scene.verdicts() == {"mx-a": "passed", "mx-b": "missing_header"}
    assert scene.document()["verdict"] == "mixed"


def test_one_frontend_of_two_on_the_same_servers() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40)
    scene.masked(
        "mx-a",
        "mx-a",
        30,
        frontend="ft_submission",
        backend="bk_submission",
        service="postfix/submission/smtpd",
    )
    targets = {target["frontend"]: target for target in scene.document()["targets"]}
    assert targets["ft_smtp"]["verdict"] == "passed"
    assert targets["ft_submission"]["verdict"] == "masked"
    assert targets["ft_submission"]["service"] == "postfix/submission/smtpd"
    assert "smtpd_upstream_proxy_protocol=haproxy" in " ".join(targets["ft_submission"]["remedy"])


def test_one_family_of_two() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40).masked("mx-a", "mx-a", 40, client_address="2001:db8::7")
    verdicts = {target["family"]: target["verdict"] for target in scene.document()["targets"]}
    assert verdicts == {"IPv4": "passed", "IPv6": "masked"}


def test_a_change_in_time_is_mixed_and_dated() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40)
    changed_at = scene.now
    [target] = scene.masked("mx-a", "mx-a", 20).document()["targets"]
    assert target["verdict"] == "mixed"
    assert target["share_masked"] == pytest.approx(1 / 3, abs=0.02)
    assert 0 <= datetime.fromisoformat(target["since"]).timestamp() - changed_at / 1e9 < 20
    assert [state["verdict"] for state in target["evidence"]["states"]] == ["passed", "masked"]
    assert [state["sessions"] for state in target["evidence"]["states"]] == [40, 20]
    assert target["evidence"]["states"][1]["since"] == target["since"]
    assert target["evidence"]["ongoing"]


def test_five_masked_among_many_are_found() -> None:
    scene = Scene().passed("mx-a", "mx-a", 100).by_port("mx-a", "mx-a", 5)
    assert scene.verdicts() == {"mx-a": "mixed"}


def nameless(scene: Scene) -> Scene:
    """The headers that came had no address."""
    for lines in scene.signals.lines:
        lines.reasons[NO_ADDRESS] = lines.count
    return scene


def test_a_header_without_an_address_is_told_from_one_that_never_comes() -> None:
    missing_, unknown = (
        scene.document()["targets"][0]
        for scene in (
            Scene().refused("mx-a", "mx-a", 40),
            nameless(Scene().refused("mx-a", "mx-a", 40)),
        )
    )
    assert missing_["verdict"] == unknown["verdict"] == "missing_header"
    assert "does not send" in missing_["cause"]
    assert "PROXY UNKNOWN" in unknown["cause"]
    assert "PROXY UNKNOWN" not in " ".join(missing_["remedy"])
    assert "accept-proxy" in " ".join(unknown["remedy"])


def test_a_configuration_in_order_does_not_contradict_a_header_without_an_address() -> None:
    document = nameless(Scene().refused("mx-a", "mx-a", 40)).document()
    place = Place("haproxy.cfg", line=9)
    site = Site(routes=(Route(SiteTarget(
        "edge1", "bk_smtp", "mx-a", ("ft_smtp",), "10.0.0.11", 10024, "v1", False, False, "", None, "", False,
        False, False, place,
    ), (Listener("mx-a", "10024", "postscreen", "postfix/postscreen", "", 10024, True, None, True, None,
        False, place),)),))  # fmt: skip
    [target] = with_configuration(document, site, {})["targets"]
    assert target["evidence"]["configured"]["verdict"] == "passed"
    assert "is not what ran" not in target["cause"]
    assert "accept-proxy" in " ".join(target["remedy"])
    assert "reload" not in target["remedy"][0]


def test_masked_after_a_short_mismatch_is_not_all_mismatch() -> None:
    """One daemon was reloaded a while before the other; then nobody sends or expects a header."""
    scene = Scene().passed("mx-a", "mx-a", 40).by_text("mx-a", "mx-a", 6)
    lines = HeaderLines(TOLD, "mx-a", "postfix/postscreen")
    for number in range(6):
        lines.add(START, 1, Example("mail.log", number, "PREGREET"), "postscreen.pregreet_proxy_v1")
        lines.add(
            START, 1, Example("mail.log", number, "PIPELINING"), "postscreen.command_pipelining_proxy_v1"
        )
    scene.signals.lines.append(lines)
    [target] = scene.masked("mx-a", "mx-a", 20).document()["targets"]
    states = [state["verdict"] for state in target["evidence"]["states"]]
    assert states == ["passed", "unexpected_header", "masked"]
    assert (target["evidence"]["header_unexpected"], target["evidence"]["masked"]) == (6, 20)


@pytest.mark.parametrize(
    ("scene", "missing_log"),
    [
        (Scene().direct("mx-a", 30), "balancer's log is missing"),
        (Scene().lone("mx-a", 30), "mail log of the host behind bk_smtp/mx-a is missing"),
        (Scene(), "balancer's log is missing"),
        (Scene().lone("srv9", 30).passed("mx-a", "mx-a", 30), "mail log of the host behind bk_smtp/srv9"),
    ],
)
def test_what_is_missing_is_said(scene: Scene, missing_log: str) -> None:
    document = scene.document()
    assert missing_log in " ".join(missing(document))


def test_what_holds_at_last_is_what_is_failed_on() -> None:
    """An outage that began in the middle makes the whole `mixed`, and is one all the same."""
    begun = Scene().passed("mx-a", "mx-a", 40).refused("mx-a", "mx-a", 40).document()
    over = Scene().refused("mx-a", "mx-a", 40).passed("mx-a", "mx-a", 40).document()
    assert begun["verdict"] == over["verdict"] == "mixed"
    assert exit_status(begun, ["missing_header"]) is ExitCode.FINDING
    assert exit_status(over, ["missing_header"]) is ExitCode.FINE


def test_unknown_has_its_own_exit_status() -> None:
    assert exit_status(Scene().lone("mx-a", 30).document()) is ExitCode.NO_EVIDENCE


def test_a_server_that_cannot_be_judged_leaves_the_others_their_verdict() -> None:
    document = Scene().lone("srv9", 30).passed("mx-a", "mx-a", 30).document()
    assert document["verdict"] == "passed"
    assert {target["verdict"] for target in document["targets"]} == {"passed", "unknown"}


def test_clocks_apart_do_not_make_visible_clients_masked() -> None:
    scene = Scene(seed=3)
    scene.lone("mx-a", 40)
    for row in list(scene.rows):
        later = row["accepted_at"] + 7200 * 10**9
        scene.rows.append(scene._mail("mx-a", later, later + 10**9, peer_address=row["client_address"]))
    assert scene.verdicts() == {"mx-a": "passed"}


@pytest.mark.parametrize(("strangers", "verdict"), [(0, "passed"), (4, "unknown")])
def test_a_server_that_took_few_sessions_and_named_their_clients_sees_them(
    strangers: int, verdict: str
) -> None:
    scene = Scene(seed=5).lone("mx-a", 30)
    for row in scene.rows[2:26:4]:  # a minute late: smtpd was held back, and the clients had left
        late = row["accepted_at"] + 61 * 10**9
        scene.rows.append(scene._mail("mx-a", late, late, peer_address=row["client_address"]))
    for number in range(strangers):
        scene.direct("mx-a", 1, f"203.0.113.{number + 1}")
    assert scene.verdicts() == {"mx-a": verdict}
    if verdict == "passed":
        [target] = scene.document()["targets"]
        assert (target["confidence"], target["evidence"]["passed"]) == (0.6, 6)


def test_one_log_of_two_nameless_hosts_tells_them_apart_by_the_listener() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40).by_port("mx-b", "mx-b", 12, client_known_from="timing")
    by_time: dict[str, Any] = {"client_known_from": "timing", "service": "postfix/smtpd"}
    scene.passed("mx-b", "mx-b", 11, **by_time)  # of one client, who comes to the other server, too
    scene.lone("mx-b", 17)
    for row in scene.rows[-17:]:
        row["join_confidence"] = "ambiguous"  # of several that fit none was chosen
    for row in scene.rows:
        row["mta_host"] = None
    scene.signals.mail_hosts = {None: NEVER}
    assert scene.verdicts() == {"mx-a": "passed", "mx-b": "masked"}


def test_few_sessions_of_a_nameless_host_that_may_be_another_servers_judge_nobody() -> None:
    by_time: dict[str, Any] = {"client_known_from": "timing", "service": "postfix/smtpd"}
    scene = Scene().passed("mx-a", "mx-a", 60, **by_time).passed("mx-b", "mx-b", 3, **by_time)
    scene.lone("mx-b", 59)
    for row in scene.rows:
        row["mta_host"] = None
    scene.signals.mail_hosts = {None: NEVER}
    assert scene.verdicts() == {"mx-a": "passed", "mx-b": "unknown"}


def test_header_lines_of_two_nameless_hosts_are_of_both() -> None:
    scene = Scene().refused("mx-a", "mx-a", 30).refused("mx-b", "mx-b", 30)
    [one, other] = scene.signals.lines
    scene.signals.lines = [one]
    one.mta_host, one.count = None, 60
    one.sample.add(other.sample.times())
    scene.signals.mail_hosts = {None: NEVER}
    assert scene.verdicts() == {"mx-a": "missing_header", "mx-b": "missing_header"}
    few = Scene().refused("mx-a", "mx-a", 30).refused("mx-b", "mx-b", 30, lines=0)  # those of one of them
    few.signals.lines[0].mta_host = None
    few.signals.mail_hosts = {None: NEVER}
    assert few.verdicts() == {"mx-a": "missing_header", "mx-b": "unknown"}


def test_what_came_from_the_balancer_and_fits_nothing_is_named() -> None:
    scene = Scene().lone("mx-a", 30)
    for number in range(19):
        at = START + (7200 + 40 * number) * 10**9
        scene.rows.append(scene._mail("mx-a", at, at + 10**9, peer_address=LB))
    [cause] = missing(scene.document())
    assert f"19 came from {LB}" in cause
    assert "%bi:%bp" in cause


@pytest.mark.parametrize(("refused", "verdict"), [(60, "unexpected_header"), (4, "masked")])
def test_a_header_that_is_refused_is_sent_to_clients_of_either_family(refused: int, verdict: str) -> None:
    header: dict[str, Any] = {"commands": {"unknown": [0, 1]}, "client_known_from": "timing"}
    plain: dict[str, Any] = {"client_known_from": "timing"}
    six: dict[str, Any] = {"client_address": "2001:db8::7"}
    scene = Scene().by_port("mx-a", "mx-a", refused, **header).by_port("mx-a", "mx-a", 64 - refused, **plain)
    scene.by_port("mx-a", "mx-a", 9, **header | six).by_port("mx-a", "mx-a", 21, **plain | six)
    found = {target["family"]: target["verdict"] for target in scene.document()["targets"]}
    assert found == {"IPv4": verdict, "IPv6": verdict}


def test_of_as_many_sessions_at_two_listeners_either_will_do() -> None:
    scene = Scene().passed("mx-a", "mx-a", 20).passed("mx-a", "mx-a", 20, service=None)
    [target] = scene.document()["targets"]
    assert (target["verdict"], target["service"]) == ("passed", "postfix/postscreen")


def test_the_document_is_the_contract() -> None:
    for scene, verdict in scenes().values():
        document = scene.document()
        assert set(document) == {"verdict", "targets"}
        for target in document["targets"]:
            assert set(target) == CONTRACT
            assert target["verdict"] in VERDICTS
            assert len(target["evidence"]["examples"]) in (1, 2, 3)
            assert all({"source", "line_number"} <= set(line) for line in target["evidence"]["examples"])
            assert bool(target["remedy"]) == (verdict != "passed")
            assert 0 < target["confidence"] <= 1
            for moment in (target["since"], target["until"]):
                assert (moment is None) == (verdict == "passed")
                assert moment is None or datetime.fromisoformat(moment).tzinfo is not None
        json.dumps(document)


def test_remedies_name_the_service_and_the_server() -> None:
    remedies = {name: scene.document()["targets"][0]["remedy"] for name, (scene, _) in scenes().items()}
    masked = " ".join(remedies["masked, whole seconds"])
    assert "-o postscreen_upstream_proxy_protocol=haproxy" in masked
    assert "server srv1" in masked
    assert "send-proxy" in masked
    assert "master.cf on mx-a" in masked
    assert "send-proxy" in " ".join(remedies["header missing"])
    assert "-o postscreen_upstream_proxy_protocol=haproxy" in " ".join(remedies["header told"])


def test_the_port_is_to_be_logged_until_it_is() -> None:
    hint = "%sq/%bq %bi:%bp"
    by_time = Scene().by_port("mx-a", "mx-a", 40, client_known_from="timing")
    assert hint in by_time.document()["targets"][0]["remedy"][0]
    known = Scene().by_port("mx-a", "mx-a", 40)
    assert hint not in " ".join(known.document()["targets"][0]["remedy"])


def test_masked_sessions_that_stray_from_another_target_make_no_mixture() -> None:
    scene = Scene().by_port("mx-a", "mx-a", 80, client_known_from="timing", frontend="ft_other")
    scene.passed("mx-a", "mx-a", 60).by_port("mx-a", "mx-a", 5, client_known_from="timing")
    verdicts = {target["frontend"]: target["verdict"] for target in scene.document()["targets"]}
    assert verdicts == {"ft_other": "masked", "ft_smtp": "passed"}


def test_masked_sessions_that_are_known_by_the_port_are_its_own() -> None:
    scene = Scene().by_port("mx-a", "mx-a", 80, client_known_from="timing", frontend="ft_other")
    scene.passed("mx-a", "mx-a", 60).by_port("mx-a", "mx-a", 5)
    verdicts = {target["frontend"]: target["verdict"] for target in scene.document()["targets"]}
    assert verdicts == {"ft_other": "masked", "ft_smtp": "mixed"}


def test_the_other_family_on_the_same_way_mostly_shares_its_fate() -> None:
    six = {"client_address": "2001:db8::7", "client_known_from": "timing"}
    scene = Scene().by_port("mx-a", "mx-a", 80, client_known_from="timing").passed("mx-a", "mx-a", 35)
    scene.passed("mx-a", "mx-a", 35, client_address="2001:db8::7")
    verdicts = {
        one["family"]: one["verdict"] for one in scene.by_port("mx-a", "mx-a", 9, **six).document()["targets"]
    }
    assert verdicts == {"IPv4": "mixed", "IPv6": "mixed"}


@pytest.mark.parametrize("since", [True, False], ids=["since", "until"])
def test_few_of_the_other_family_that_change_with_it_are_enough(since: bool) -> None:
    six = {"client_address": "2001:db8::7"}
    scene = Scene()
    for seen in (since, not since):
        if seen:
            scene.passed("mx-a", "mx-a", 40).passed("mx-a", "mx-a", 2, **six)
        else:
            scene.by_port("mx-a", "mx-a", 40).by_port("mx-a", "mx-a", 1, **six)
    verdicts = {one["family"]: one["verdict"] for one in scene.document()["targets"]}
    assert verdicts == {"IPv4": "mixed", "IPv6": "mixed"}


def test_few_of_the_other_family_that_do_not_change_with_it_are_an_accident() -> None:
    six = {"client_address": "2001:db8::7"}
    scene = Scene().passed("mx-a", "mx-a", 2, **six).by_port("mx-a", "mx-a", 1, **six)
    scene.passed("mx-a", "mx-a", 40).by_port("mx-a", "mx-a", 40).passed("mx-a", "mx-a", 20, **six)
    verdicts = {one["family"]: one["verdict"] for one in scene.document()["targets"]}
    assert verdicts == {"IPv4": "mixed", "IPv6": "passed"}


def test_what_looks_like_a_refusal_before_the_first_line_about_one_is_none() -> None:
    """A client that is cut off looks alike: it says nothing, and is told as little."""
    scene = Scene().refused("mx-a", "mx-a", 6, lines=0).passed("mx-a", "mx-a", 40).refused("mx-a", "mx-a", 40)
    scene.signals.mail_hosts["mx-a"] = START, scene.now + 10 * 10**9
    [target] = scene.document()["targets"]
    assert [state["verdict"] for state in target["evidence"]["states"]] == ["passed", "missing_header"]


def test_visible_sessions_that_may_be_another_frontends_make_no_mixture() -> None:
    """Two services of one name: what is joined by address and time may be the other's."""
    scene = Scene().passed("mx-a", "mx-a", 56, frontend="ft_submission", backend="bk_submission")
    scene.by_port("mx-a", "mx-a", 79).passed("mx-a", "mx-a", 4, client_known_from="timing")
    verdicts = {target["frontend"]: target["verdict"] for target in scene.document()["targets"]}
    assert verdicts == {"ft_smtp": "masked", "ft_submission": "passed"}


def test_a_server_is_the_host_of_its_name_though_times_join_its_sessions_elsewhere() -> None:
    """The same few clients are at both servers; clocks differ."""
    scene = Scene().passed("mx-a", "mx-a", 90).passed("mx-b", "mx-a", 70, client_known_from="timing")
    scene.masked("mx-b", "mx-b", 60)
    assert scene.verdicts() == {"mx-a": "passed", "mx-b": "masked"}
