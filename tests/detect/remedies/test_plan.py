"""Steps with the exact lines, and what each must not do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from logscope.detect.remedies.plan import Step, Wrong, plan
from logscope.site import Site
from logscope.site.learn import learn

CFG = """\
defaults
    mode tcp
    option tcplog
frontend ft_smtp
    bind 203.0.113.25:25
    default_backend bk_smtp
backend bk_smtp
    server mx-a 10.0.0.11:{port}{options} # ours
"""
POSTSCREEN = """\
{port} inet n - n - 1 postscreen
  -o soft_bounce=yes
smtpd pass - - n - - smtpd
submission inet n - n - - smtpd
"""
SMTPD = """\
{port} inet n - n - - smtpd
submission inet n - n - - smtpd
"""


class Lab:
    """Configurations of one balancer and one mail server, before and after."""

    def __init__(
        self, home: Path, master: str = POSTSCREEN, options: str = "", main: str = "", port: int = 10024
    ) -> None:
        self.files = {
            home / "haproxy.cfg": CFG.format(port=port, options=options),
            home / "main.cf": f"myhostname = mx-a.example.com\n{main}",
            home / "master.cf": master.format(port=port),
        }
        self.home = home
        self._write()

    def _write(self) -> None:
        for path, text in self.files.items():
            path.write_text(text)

    @property
    def site(self) -> Site:
        return learn([str(self.home / "haproxy.cfg")], [f"mx-a={self.home}"])

    def plan(
        self, *, shared: bool = False, relayed: bool = False, peers: tuple[str, ...] = ("10.0.0.5",)
    ) -> list[Step]:
        site = self.site
        [route] = site.routes
        wrong = Wrong(route.verdict, frozenset({"ft_smtp"}), route, peers, shared, relayed)
        return plan([wrong], site, {str(path): text for path, text in self.files.items()})

    def apply(self, step: Step) -> None:
        """What `patch` would do, by the lines that a diff takes and gives."""
        for name, diff in step.diffs.items():
            old = self.files[Path(name)].splitlines()
            new: list[str] = []
            at = 0
            for line in diff.splitlines()[2:]:
                if line.startswith("@@"):
                    start = int(line.split()[1].split(",")[0][1:]) - 1
                    start += 1 if line.split()[1].endswith(",0") else 0
                    new += old[at:start]
                    at = start
                elif line.startswith("+"):
                    new.append(line[1:])
                else:
                    assert old[at] == line[1:], (old[at], line)
                    new += [line[1:]] if line.startswith(" ") else []
                    at += 1
            self.files[Path(name)] = "\n".join([*new, *old[at:]]) + "\n"
        self._write()


def titles(steps: list[Step]) -> list[str]:
    return [step.title for step in steps]


@pytest.mark.parametrize("master", [POSTSCREEN, SMTPD])
def test_masked_clients_come_through_without_a_gap(tmp_path: Path, master: str) -> None:
    lab = Lab(tmp_path, master)
    assert lab.site.routes[0].verdict == "masked"
    verdicts, ports = [], []
    for step in lab.plan():
        lab.apply(step)
        [route] = lab.site.routes
        verdicts.append(route.verdict)
        ports.append({one.port for one in lab.site.listeners})
    # Before the switch all is as it was, from then on the header is sent to a listener that expects it.
    assert sorted(set(verdicts)) == ["masked", "passed"]
    assert verdicts == sorted(verdicts)
    switch = verdicts.index("passed")
    assert {10024, 10125} <= ports[switch]  # the old one is still there, so that the step can be undone
    assert 10024 not in ports[-1]
    assert lab.site.routes[0].listeners[0].address == "10.0.0.11"


def test_the_header_is_expected_by_one_service_only(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for step in lab.plan():
        lab.apply(step)
    assert "upstream_proxy_protocol" not in lab.files[tmp_path / "main.cf"]
    assert [one.port for one in lab.site.listeners if one.expects_header] == [10125]
    assert "soft_bounce" in lab.files[tmp_path / "master.cf"]  # the copy has the options of the original


def test_two_postscreens_share_their_cache_before_there_are_two(tmp_path: Path) -> None:
    names = titles(Lab(tmp_path).plan())
    [cache] = [place for place, name in enumerate(names) if "cache" in name]
    [new] = [place for place, name in enumerate(names) if "add a listener" in name]
    assert cache < new
    assert not any("cache" in name for name in titles(Lab(tmp_path, SMTPD).plan()))
    shared = Lab(tmp_path, main="postscreen_cache_map = proxy:btree:/var/lib/postfix/ps_cache\n")
    assert not any("cache" in name for name in titles(shared.plan()))


def test_the_balancer_logs_its_port_meanwhile(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.apply(lab.plan()[0])
    assert lab.site.log_options[0].logs_source_port
    assert not any("log the address and port" in name for name in titles(lab.plan()))


def test_a_header_that_is_not_expected_is_read_where_it_comes(tmp_path: Path) -> None:
    lab = Lab(tmp_path, options=" send-proxy-v2 check")
    [step] = lab.plan()
    lab.apply(step)
    assert lab.site.routes[0].verdict == "passed"
    assert [one.expects_header for one in lab.site.listeners] == [True, False]


def test_where_others_come_too_the_header_gets_a_listener_of_its_own(tmp_path: Path) -> None:
    lab = Lab(tmp_path, SMTPD, options=" send-proxy", port=25)
    for step in lab.plan(shared=True):
        lab.apply(step)
    assert lab.site.routes[0].verdict == "passed"
    assert {one.port: one.expects_header for one in lab.site.listeners} == {
        25: False,
        587: False,
        10125: True,
    }


def test_a_header_that_is_missing_is_sent(tmp_path: Path) -> None:
    lab = Lab(tmp_path, main="postscreen_upstream_proxy_protocol = haproxy\n", options=" check port 10024")
    [step] = lab.plan()
    assert list(step.diffs) == [str(tmp_path / "haproxy.cfg")]
    lab.apply(step)
    assert lab.site.routes[0].verdict == "passed"
    line = lab.files[tmp_path / "haproxy.cfg"].splitlines()[-1]
    assert line.strip() == "server mx-a 10.0.0.11:10024 check port 10024 send-proxy check-send-proxy # ours"


@pytest.mark.parametrize(
    ("options", "after"),
    [
        (" check", "10.0.0.11:10125 check send-proxy"),
        (" check port 10024", "10.0.0.11:10125 check port 10125 send-proxy check-send-proxy"),
        (" check port 2525", "10.0.0.11:10125 check port 2525 send-proxy"),
        (" weight 10024", "10.0.0.11:10125 weight 10024 send-proxy"),
    ],
)
def test_checks_go_where_connections_go(tmp_path: Path, options: str, after: str) -> None:
    lab = Lab(tmp_path, options=options)
    for step in lab.plan():
        lab.apply(step)
    assert lab.files[tmp_path / "haproxy.cfg"].splitlines()[-1].strip() == f"server mx-a {after} # ours"


def test_an_open_relay_is_closed_first(tmp_path: Path) -> None:
    lab = Lab(tmp_path, main="mynetworks = 127.0.0.0/8, 10.0.0.0/24\n")
    first = lab.plan(relayed=True)[0]
    assert "open relay" in first.title
    lab.apply(first)
    server = lab.site.mail_servers[0]
    assert server.trusts("10.0.0.5")[0] is False
    assert server.trusts("10.0.0.6")[0] is True
    assert lab.site.routes[0].verdict == "masked"


def test_a_trusted_balancer_loses_its_trust_at_last(tmp_path: Path) -> None:
    lab = Lab(tmp_path, main="mynetworks =\n    127.0.0.0/8\n    10.0.0.5\n")
    steps = lab.plan()
    assert "trust" in steps[-1].title
    for step in steps:
        lab.apply(step)
    assert re.search(r"^mynetworks = 127\.0\.0\.0/8$", lab.files[tmp_path / "main.cf"], re.MULTILINE)


def test_on_one_host_trust_is_narrowed_for_the_service_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path, SMTPD, main="mynetworks = 127.0.0.0/8 192.0.2.0/24\n")
    [first, *_] = lab.plan(relayed=True, peers=("127.0.0.1",))
    lab.apply(first)
    assert lab.site.mail_servers[0].trusts("127.0.0.1")[0] is True
    assert lab.files[tmp_path / "master.cf"].splitlines()[1].strip() == "-o mynetworks=192.0.2.0/24"


def test_the_new_listener_is_told_apart_in_the_log(tmp_path: Path) -> None:
    named = SMTPD.replace("smtpd\n", "smtpd\n  -o syslog_name=postfix/mx\n", 1)
    for master, tag in ((SMTPD, "postfix/proxied/smtpd"), (named, "postfix/mx-proxied/smtpd")):
        lab = Lab(tmp_path, master)
        for step in lab.plan():
            lab.apply(step)
        assert lab.site.routes[0].listeners[0].tag == tag


@pytest.mark.parametrize("relayed", [True, False])
def test_a_balancer_on_the_same_host_is_mended_too(tmp_path: Path, *, relayed: bool) -> None:
    lab = Lab(tmp_path, SMTPD, main="mynetworks = 127.0.0.0/8 192.0.2.0/24\n")
    for step in lab.plan(relayed=relayed, peers=("127.0.0.1",)):
        lab.apply(step)
        submission = next(one for one in lab.site.listeners if one.port == 587)
        assert not submission.expects_header
    assert lab.site.routes[0].verdict == "passed"
    assert lab.site.mail_servers[0].trusts("127.0.0.1")[0] is True
    lines = lab.files[tmp_path / "master.cf"].splitlines()
    own = lines[: lines.index("submission inet n - n - - smtpd")]
    assert ["-o mynetworks=192.0.2.0/24" in line for line in own].count(True) == relayed
    assert not any("mynetworks" in line for line in lines[len(own) :])
