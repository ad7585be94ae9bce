"""Access lists, as postscreen and smtpd would read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from logscope.site import Site
from logscope.site.access import PERMIT, REJECT, AccessLists, tables
from logscope.site.learn import learn

MAIN = """\
mynetworks = 127.0.0.0/8 192.0.2.0/28
postscreen_access_list = permit_mynetworks, cidr:/etc/postfix/postscreen_access.cidr
smtpd_client_restrictions = permit_mynetworks, check_client_access hash:$config_directory/clients
smtpd_recipient_restrictions = check_client_access inline:{198.51.100.77=REJECT}, permit
"""
CIDR = """\
# first match wins
192.0.2.240/29 permit
192.0.2.0/24 dunno
198.51.100.248/29 reject
0.0.0.0/0 dunno
2001:db8::/32 550 no
"""
CLIENTS = """\
203.0.113 REJECT not wanted
203.0.113.7 OK
2001:db8:1 REJECT
198.51.100.9 451 later
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name, text in (
        ("main.cf", MAIN),
        ("master.cf", ""),
        ("postscreen_access.cidr", CIDR),
        ("clients", CLIENTS),
    ):
        (tmp_path / name).write_text(text)
    return learn((), [f"mx-a={tmp_path}"])


def lists(site: Site) -> AccessLists:
    [server] = site.mail_servers
    return AccessLists(
        server, {name: Path(name).read_text() for name in tables(server) if Path(name).exists()}
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.5", {("mynetworks", PERMIT)}),
        ("192.0.2.241", {("postscreen_access_list", PERMIT)}),
        ("192.0.2.100", set()),
        ("198.51.100.250", {("postscreen_access_list", REJECT)}),
        ("2001:db8:1::5", {("postscreen_access_list", REJECT), ("smtpd_client_restrictions", REJECT)}),
        ("203.0.113.7", {("smtpd_client_restrictions", PERMIT)}),
        ("203.0.113.8", {("smtpd_client_restrictions", REJECT)}),
        ("198.51.100.9", {("smtpd_client_restrictions", REJECT)}),
        ("198.51.100.77", {("smtpd_recipient_restrictions", REJECT)}),
        ("198.51.100.78", set()),
    ],
)
def test_what_lists_decide(site: Site, address: str, expected: set[tuple[str, str]]) -> None:
    assert {one[:2] for one in lists(site).decisions(address)} == expected


def test_the_entry_is_named_with_its_line(site: Site) -> None:
    [decision] = lists(site).decisions("192.0.2.241")
    assert decision.entry.startswith("192.0.2.240/29 (")
    assert decision.entry.endswith("postscreen_access.cidr:2)")


def test_tables_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(
        "postscreen_access_list = cidr:/etc/postfix/gone, mysql:/etc/postfix/x.cf\n"
    )
    site = learn((), [f"mx-a={tmp_path}"])
    assert list(lists(site).decisions("192.0.2.1")) == []
