"""What followed from masking: each consequence, and the same signs where nobody is masked."""

from __future__ import annotations

from typing import Any

import pytest

from logscope.detect.address_lines import KINDS, LIMIT, LOGIN, AddressLines
from logscope.detect.header_lines import Example
from logscope.detect.signals import NEVER
from logscope.errors import Place
from logscope.postfix import config as postfix
from logscope.site import Site
from logscope.site.learn import mail_server
from tests.detect.scenes import LB, Scene


def masked(count: int = 40, **more: Any) -> Scene:
    """A server that sees the balancer, and one that sees its clients."""
    return Scene().by_port("mx-a", "mx-a", count, **more).passed("mx-b", "mx-b", count)


def kinds(scene: Scene, server: str = "mx-a", site: Site | None = None) -> dict[str, dict[str, Any]]:
    [target] = [one for one in scene.document(site)["targets"] if one["server"] == server]
    return {one["kind"]: one for one in target["evidence"]["consequences"]}


def site(tmp_path: Any, main_cf: str) -> Site:
    (tmp_path / "main.cf").write_text(
        "myhostname = mx-a.example.com\nmydestination = example.com\n" + main_cf
    )
    (tmp_path / "master.cf").write_text("smtp inet n - y - 1 postscreen\n")
    config = postfix.read_files(tmp_path / "main.cf", tmp_path / "master.cf")
    return Site(mail_servers=(mail_server("mx-a", config, (str(tmp_path / "main.cf"),)),))


def relayed(scene: Scene, *recipients: str, relay: str = "203.0.113.25") -> Scene:
    """Mail from the masked sessions to these recipients."""
    own = [row for row in scene.rows if row.get("masked")]
    for number, (row, recipient) in enumerate(zip(own, recipients, strict=False)):
        row["queue_ids"] = [f"4F3A2B1C{number:02d}"]
        scene.deliveries.append(
            {
                "mta_host": "mx-a",
                "queue_id": f"4F3A2B1C{number:02d}",
                "recipient": recipient,
                "relay_address": relay,
            }
        )
    return scene


def test_nothing_follows_where_nothing_was_decided() -> None:
    assert kinds(masked()) == {}


def test_whoever_sees_its_clients_has_no_consequences() -> None:
    scene = Scene().passed("mx-a", "mx-a", 40, screen="allowlisted", dnsbl_rank=4)
    assert kinds(scene) == {}


@pytest.mark.parametrize(
    ("more", "kind", "severity"),
    [
        ({"screen": "allowlisted"}, "allowlisted", "warning"),
        ({"screen": "denylisted"}, "denylisted", "critical"),
        ({"screen": "pass_old"}, "tested_once", "warning"),
        ({"dnsbl_rank": 5}, "dnsbl_on_balancer", "critical"),
        (
            {
                "rejects": [
                    {"text": "Service unavailable; Client host [10.0.0.5] blocked using bl.example.net"}
                ]
            },
            "dnsbl_on_balancer",
            "critical",
        ),
        ({"commands": {"ehlo": [1, 1], "auth": [0, 2]}}, "failed_logins", "warning"),
    ],
)
def test_what_sessions_tell(more: dict[str, Any], kind: str, severity: str) -> None:
    [(found, told)] = kinds(masked(**more)).items()
    assert (found, told["severity"]) == (kind, severity)
    assert told["count"] == (80 if kind == "failed_logins" else 40)
    assert LB in told["text"]


def test_sessions_that_are_not_joined_have_consequences_too() -> None:
    scene = Scene().masked("mx-a", "mx-a", 40)
    for row in scene.rows:
        if row.get("mta_host"):
            row["screen"] = "allowlisted"
    assert kinds(scene)["allowlisted"]["count"] == 40


def test_one_allowlisted_client_among_masked_ones_is_no_consequence() -> None:
    scene = masked()
    scene.rows[0]["screen"] = "allowlisted"
    assert kinds(scene) == {}


def test_silent_lists_are_held_against_what_is_listed_where_clients_are_seen() -> None:
    scene = masked()
    for row in scene.rows[40:60]:
        row["dnsbl_rank"] = 3
    assert kinds(scene)["dnsbl_silent"]["count"] == 20
    for row in scene.rows[40:59]:
        row["dnsbl_rank"] = None
    assert kinds(scene) == {}  # one of forty may be chance


def test_lists_that_are_set_and_never_find_anybody_are_told(tmp_path: Any) -> None:
    lists = site(tmp_path, "mynetworks = 127.0.0.0/8\npostscreen_dnsbl_sites = bl.example.net\n")
    found = kinds(masked(), site=lists)
    assert list(found) == ["dnsbl_silent"]
    assert LB in found["dnsbl_silent"]["text"]
    assert kinds(masked(19), site=lists) == {}
    untested = kinds(masked(screen="allowlisted"), site=lists)  # who is not tested is not looked up, either
    assert list(untested) == ["allowlisted"]


def lines(what: str, address: str, count: int, users: set[str] | None = None) -> AddressLines:
    example = Example("mail.log", 3, "a line")
    return AddressLines(what, "mx-a", address, count, users or set(), 9, [example])


def test_limits_and_logins_held_against_the_balancer() -> None:
    scene = masked()
    for one in (lines(LIMIT, LB, 7), lines(LOGIN, LB, 8, {"ann", "bob"}), lines(LIMIT, "192.0.2.9", 70)):
        scene.signals.addresses[one.key] = one
    found = kinds(scene)
    assert {kind: one["count"] for kind, one in found.items()} == {"limits": 7, "failed_logins": 8}
    assert found["failed_logins"]["severity"] == "critical"
    assert found["limits"]["examples"] == [{"source": "mail.log", "line_number": 3, "text": "a line"}]


def test_a_client_that_fails_to_log_in_is_not_the_balancer() -> None:
    scene = masked()
    one = lines(LOGIN, "192.0.2.9", 80, {"ann", "bob"})
    scene.signals.addresses[one.key] = one
    assert kinds(scene) == {}


ELSEWHERE = ("ann@example.net", "bob@example.org", "cid@sub.example.org")


def test_an_open_relay_is_told_with_the_entry_that_trusts(tmp_path: Any) -> None:
    found = kinds(
        relayed(masked(), *ELSEWHERE, "dan@example.com"), site=site(tmp_path, "mynetworks = 10.0.0.0/8\n")
    )
    relay = found["open_relay"]
    assert (relay["severity"], relay["count"]) == ("critical", 3)
    assert relay["queue_ids"] == ["4F3A2B1C00", "4F3A2B1C01", "4F3A2B1C02"]
    assert "10.0.0.0/8" in relay["text"]
    assert "main.cf:3" in relay["text"]


def test_who_is_trusted_by_configuration_may_relay_before_anybody_does(tmp_path: Any) -> None:
    trusting = site(tmp_path, "mynetworks = 10.0.0.0/8\n")
    found = kinds(masked(), site=trusting)
    assert {kind: one["severity"] for kind, one in found.items()} == {"may_relay": "critical"}
    assert "mynetworks has 10.0.0.0/8" in found["may_relay"]["text"]
    assert "main.cf:3" in found["may_relay"]["text"]
    relay = "mynetworks = 10.0.0.0/8\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n"
    assert kinds(masked(), site=site(tmp_path, relay)) == {}
    assert kinds(masked(), site=site(tmp_path, "mynetworks = 10.9.0.0/16\n")) == {}


def test_why_the_balancer_is_allowlisted(tmp_path: Any) -> None:
    scene = masked(screen="allowlisted")
    assert "would let every client relay" in kinds(scene)["allowlisted"]["text"]
    trusting = kinds(scene, site=site(tmp_path, "mynetworks = 10.0.0.0/8\n"))
    assert "allowlist: mynetworks has 10.0.0.0/8" in trusting["allowlisted"]["text"]
    listed = kinds(scene, site=site(tmp_path, "mynetworks = 127.0.0.0/8\n"))
    assert "an entry of postscreen_access_list" in listed["allowlisted"]["text"]


@pytest.mark.parametrize("recipient", ["ann@example.com", "ann@EXAMPLE.com", "ann@sub.example.com", "ann"])
def test_mail_for_us_is_not_relayed(tmp_path: Any, recipient: str) -> None:
    assert kinds(relayed(masked(), *[recipient] * 9), site=site(tmp_path, "")) == {}


def test_who_logged_in_may_send_elsewhere(tmp_path: Any) -> None:
    scene = relayed(masked(sasl_username="ann"), *ELSEWHERE)
    assert kinds(scene, site=site(tmp_path, "")) == {}


def test_what_an_alias_sends_on_was_ours(tmp_path: Any) -> None:
    scene = relayed(masked(), *ELSEWHERE)
    for delivery in scene.deliveries:
        delivery["original_recipient"] = "all@example.com"
    assert kinds(scene, site=site(tmp_path, "")) == {}


def test_domains_in_tables_leave_a_suspicion(tmp_path: Any) -> None:
    scene = relayed(masked(), *ELSEWHERE)
    relay = kinds(scene, site=site(tmp_path, "relay_domains = hash:/etc/postfix/relay\n"))["open_relay"]
    assert (relay["severity"], relay["suspected"]) == ("warning", True)


def test_without_a_configuration_it_is_a_suspicion() -> None:
    assert kinds(relayed(masked(), *ELSEWHERE))["open_relay"]["suspected"] is True
    assert kinds(relayed(masked(), *ELSEWHERE, relay="10.0.0.80")) == {}  # to inner hosts
    assert kinds(relayed(masked(), *["ann@example.net"] * 9)) == {}  # a domain of ours that is kept elsewhere


def test_hosts_without_a_name_are_joined_with_their_mail(tmp_path: Any) -> None:
    scene = relayed(masked(), *ELSEWHERE)
    for row in (*scene.rows, *scene.deliveries):
        row["mta_host"] = None
    scene.signals.mail_hosts = {None: NEVER}
    assert kinds(scene, site=site(tmp_path, ""))["open_relay"]["count"] == 3


def test_the_worst_comes_first(tmp_path: Any) -> None:
    scene = relayed(masked(screen="allowlisted"), *ELSEWHERE)
    assert list(kinds(scene, site=site(tmp_path, ""))) == ["open_relay", "allowlisted"]


def test_every_kind_of_line_is_one_that_the_grammars_have() -> None:
    from logscope.grammar import catalogue

    assert set(KINDS) <= {template.kind for template in catalogue.load().templates}
    assert Place("x").line is None


@pytest.mark.parametrize("count", [1, 5000])
def test_a_site_may_have_very_many_domains(tmp_path: Any, count: int) -> None:
    names = " ".join(f"d{number}.example.org" for number in range(count))
    known = site(tmp_path, f"virtual_mailbox_domains = {names} example.net\n")
    relay = kinds(relayed(masked(), *ELSEWHERE), site=known)["open_relay"]
    assert relay["domains"] == ["example.org", "sub.example.org"]
