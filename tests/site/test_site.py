"""What configurations say, side by side, each with the line that says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from logscope.errors import SettingsError
from logscope.grammar import catalogue
from logscope.grammar.explain import explain
from logscope.settings import Settings, read_file
from logscope.site import Site
from logscope.site.learn import learn

HAPROXY = """\
global
    log-send-hostname edge1
    log-tag lb
defaults
    mode tcp
    option tcplog
    option dontlognull
frontend ft_smtp
    bind 192.0.2.25:25
    bind :587 accept-proxy
    log-format "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %bi:%bp"
    default_backend bk_mx
frontend ft_other
    bind 127.0.0.1:2525
    no option dontlognull
    use_backend bk_%[src] if TRUE
backend bk_mx
    source 198.51.100.5
    default-server check send-proxy-v2 check-send-proxy
    server mx-a mx-a.example.org:10024
    server mx-b 198.51.100.12:10024 no-send-proxy-v2
    server mx-c 198.51.100.13:10025
    server mx-d 198.51.100.14:10024 source 0.0.0.0 usesrc clientip
    server here 127.0.0.1:10026 source :: port 10027 addr 127.0.0.2
"""

MAIN_A = """\
myhostname = mx-a.example.org
mydestination = $myhostname, localhost, Lists.Example.org.
virtual_mailbox_domains = example.org hash:/etc/postfix/more
relay_domains = $virtual_mailbox_domains, example.net
mynetworks = 127.0.0.0/8 !198.51.100.5
  198.51.100.0/24 cidr:/etc/postfix/inner 203.0.113.0/24
proxy_interfaces = 192.0.2.25
postscreen_upstream_proxy_protocol = haproxy
"""

MASTER_A = """\
10024     inet  n - n - 1 postscreen
smtpd     pass  - - n - - smtpd
  -o smtpd_client_port_logging=yes
10025     inet  n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
  -o syslog_name=postfix/proxied
"""

MASTER_B = """\
198.51.100.12:10024 inet n - n - 1 postscreen
10025     inet  n - n - - smtpd
127.0.0.1:10026 inet n - n - - smtpd
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "haproxy.cfg").write_text(HAPROXY)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/main.cf").write_text(MAIN_A)
    (tmp_path / "a/master.cf").write_text(MASTER_A)
    (tmp_path / "b.main.cf").write_text("inet_interfaces = 198.51.100.12, 127.0.0.1\n")
    (tmp_path / "b.master.cf").write_text(MASTER_B)
    return learn([str(tmp_path / "haproxy.cfg")], [str(tmp_path / "a"), f"mx-b={tmp_path}/b.main.cf"])


def told(place: object) -> str:
    """File name and line of a place."""
    return ":".join(str(place).rpartition("/")[2].split(":")[:2])


def test_who_listens_at_the_balancer(site: Site) -> None:
    assert [
        (one.balancer, one.frontend, one.address, one.port, one.accept_proxy) for one in site.entrances
    ] == [
        ("edge1", "ft_smtp", "192.0.2.25", 25, False),
        ("edge1", "ft_smtp", "", 587, True),
        ("edge1", "ft_other", "127.0.0.1", 2525, False),
    ]
    assert [told(one.place) for one in site.entrances] == [
        "haproxy.cfg:9",
        "haproxy.cfg:10",
        "haproxy.cfg:14",
    ]
    assert (site.balancers[0].log_host, site.balancers[0].log_tag) == ("edge1", "lb")


def test_which_header_a_server_is_sent(site: Site) -> None:
    target = site.target("bk_mx", "mx-a")
    assert target is not None
    assert (target.address, target.port, target.header) == ("mx-a.example.org", 10024, "v2")
    assert (target.check, target.check_header, target.frontends) == (True, True, ("ft_smtp",))
    assert told(target.place) == "haproxy.cfg:20"
    here = site.target("bk_mx", "here")
    assert here is not None
    assert (here.check_address, here.check_port) == ("127.0.0.2", 10027)
    assert site.target("bk_mx", "mx-z") is None


@pytest.mark.parametrize(
    ("server", "verdict", "listeners"),
    [
        ("mx-a", "passed", ["mx-a.example.org/10024"]),  # by host name
        ("mx-b", "masked", ["mx-b/198.51.100.12:10024"]),  # by address
        ("mx-c", "unknown", ["mx-a.example.org/10025", "mx-b/10025"]),  # which of them, nobody says
        ("mx-d", "passed", ["mx-a.example.org/10024"]),  # the client's own address, with or without a header
        ("here", "unexpected_header", ["mx-b/127.0.0.1:10026"]),
    ],
)
def test_header_sent_against_header_expected(
    site: Site, server: str, verdict: str, listeners: list[str]
) -> None:
    route = site.route("bk_mx", server)
    assert route is not None
    assert [f"{one.mail_server}/{one.service}" for one in route.listeners] == listeners
    assert route.verdict == verdict


def test_a_listener_says_which_line_makes_it_expect_a_header(site: Site) -> None:
    screen, proxied = site.mail_servers[0].listeners
    assert (screen.expects_header, told(screen.header_place)) == (True, "main.cf:8")
    assert (proxied.expects_header, told(proxied.header_place)) == (True, "master.cf:5")
    assert (proxied.tag, proxied.own_name, screen.own_name) == ("postfix/proxied/smtpd", True, False)
    inner = site.mail_servers[0].behind_postscreen[0]
    assert (inner.port, inner.logs_client_port, told(inner.port_place)) == (None, True, "master.cf:3")
    assert not proxied.logs_client_port
    assert proxied.port_place is None


@pytest.mark.parametrize(
    ("address", "trusted", "entry"),
    [
        ("127.0.0.1", True, "127.0.0.0/8"),
        ("198.51.100.5", False, "198.51.100.5"),
        ("::ffff:198.51.100.6", True, "198.51.100.0/24"),
        ("203.0.113.1", None, "cidr:/etc/postfix/inner"),  # the table comes first
        ("2001:db8::1", None, "cidr:/etc/postfix/inner"),
    ],
)
def test_mynetworks(site: Site, address: str, trusted: bool | None, entry: str) -> None:
    answer, by = site.mail_servers[0].trusts(address)
    assert answer is trusted
    assert by is not None
    assert by.entry == entry
    assert told(by.place) == "main.cf:5"


def test_mynetworks_that_postfix_chooses(site: Site) -> None:
    assert site.mail_servers[1].networks is None
    assert site.mail_servers[1].trusts("127.0.0.1") == (None, None)
    assert site.mail_servers[1].networks_style == "subnet"  # compatibility level 0


def test_addresses_of_the_balancer_and_how_each_is_known(site: Site) -> None:
    assert {(one.address, one.how, told(one.place)) for one in site.balancer_addresses} == {
        ("198.51.100.5", "source", "haproxy.cfg:20"),
        ("127.0.0.1", "loopback", "haproxy.cfg:24"),  # what comes from there may be anybody on that host
        ("192.0.2.25", "bind", "haproxy.cfg:9"),
        ("192.0.2.25", "proxy_interfaces", "main.cf:7"),
    }
    assert sorted(map(str, site.peer_addresses)) == ["192.0.2.25", "198.51.100.5"]


def test_domains_that_are_ours(site: Site) -> None:
    assert site.domains == {"mx-a.example.org", "lists.example.org", "example.org", "example.net"}
    named = {one.name: (one.parameter, told(one.place)) for one in site.mail_servers[0].domains}
    assert named["example.net"] == ("relay_domains", "main.cf:4")


def test_how_the_balancer_logs(site: Site) -> None:
    smtp, other = site.log_options
    assert smtp.logs_source_port
    assert told(smtp.format_place) == "haproxy.cfg:11"
    assert told(smtp.options["dontlognull"]) == "haproxy.cfg:7"
    assert "dontlognull" not in other.options
    assert not other.logs_source_port
    assert told(other.format_place) == "haproxy.cfg:6"
    assert [entry["kind"] for entry in site.grammars[0]["template"]] == ["haproxy.tcp_session"] * 2


def test_a_mail_server_is_found_by_the_host_in_its_lines(site: Site) -> None:
    assert site.mail_server("MX-A") is site.mail_server("mx-a.example.org") is site.mail_servers[0]
    assert site.mail_server("mx-b") is site.mail_servers[1]
    assert site.mail_server("mx-z") is None


def test_several_balancers_keep_their_own_defaults(tmp_path: Path) -> None:
    (tmp_path / "1.cfg").write_text("defaults\n option httplog\n")
    (tmp_path / "2.cfg").write_text("frontend a\n bind :25\n")
    together = learn([str(tmp_path)])
    apart = learn([f"edge1={tmp_path}/1.cfg", f"edge2={tmp_path}/2.cfg"])
    assert "httplog" in together.log_options[0].options
    assert "httplog" not in apart.log_options[0].options
    assert [one.name for one in apart.balancers] == ["edge1", "edge2"]


def test_settings_read_it_once_and_name_paths_from_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "m.cf").write_text("myhostname = mx.example.org\n")
    (tmp_path / "s.cf").write_text(MASTER_B)
    (tmp_path / "logscope.toml").write_text("postfix_config = ['mx-c=m.cf+s.cf']\n")
    settings = Settings(**read_file(tmp_path / "logscope.toml"))
    assert settings.site is settings.site
    assert settings.site.mail_servers[0].name == "mx-c"
    assert len(settings.site.listeners) == 3
    assert Settings().site == Site()


@pytest.mark.parametrize(
    ("postfix", "message"),
    [
        ("nowhere", "nowhere: no such file or directory"),
        ("odd.txt", "odd.txt: this is neither a main.cf nor a master.cf"),
        ("a.cf+b.cf", "a.cf: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postfix: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.txt").touch()
    with pytest.raises(SettingsError) as caught:
        learn((), [postfix])
    assert str(caught.value) == message
    assert caught.value.hint


def test_a_directory_without_configurations(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no configuration"):
        learn([str(tmp_path)])


def test_lines_under_names_of_their_own_are_those_of_the_daemons_configured(site: Site) -> None:
    assert site.tags == {"lb": "haproxy"}
    grammars = catalogue.load(site.grammars)
    assert (
        explain("Nov 22 08:41:56 edge1 lb[3]: Proxy ft_smtp started.", grammars).kind == "haproxy.proxy_state"
    )
    assert explain("Nov 22 08:41:56 edge1 lb[3]: what is this", grammars).kind == "unparsed"
    assert explain("Nov 22 08:41:56 edge1 other[3]: what is this", grammars).kind == "foreign"


def test_a_syslog_name_tells_postfix_from_others(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("syslog_name = haproxy\n")
    (tmp_path / "master.cf").write_text("587 inet n - n - - smtpd\n  -o syslog_name=mail/msa\n")
    site = learn((), [str(tmp_path)])
    assert site.tags == {"haproxy/": "*", "mail/msa/": "*"}
    grammars = catalogue.load(site.grammars)
    line = "Nov 22 08:41:56 mx-a {}[3]: what is this"
    assert explain(line.format("mail/msa/policyd"), grammars).kind == "unparsed"
    assert explain(line.format("mail/policyd"), grammars).kind == "foreign"
    assert explain(line.format("haproxy"), grammars).reason.endswith("of haproxy matches")


def test_whose_host_a_server_is(site: Site) -> None:
    assert site.hosts_of_servers["mx-a"] == "mx-a.example.org"
    assert site.hosts_of_servers["mx-d"] == "198.51.100.14"  # nothing says whose address that is
    assert site.hosts_of_servers["here"] == "mx-b"  # who listens there
    assert site.names_of_hosts["mx-a"] == "mx-a.example.org"
    assert site.logs_as("mx-a", ["MX-A.example.org", "mx-b", None]) == "MX-A.example.org"
    assert site.logs_as("mx-d", ["mx-a", "198.51.100.14"]) == "198.51.100.14"
    assert site.logs_as("mx-a", ["mx-b"]) is None
    assert site.logs_as("mx-z", ["mx-a"]) is None


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ("mx-a 198.51.100.11:10024 send-proxy", False),  # another host, whose configuration was not given
        ("mx-a [2001:db8::11]:10024 send-proxy", True),  # perhaps the same, by its other family
        ("mx-a mx-a.example.org:10024 send-proxy", True),  # whose address nothing says
        ("backup 198.51.100.12:10024 send-proxy", True),
    ],
)
def test_a_host_that_is_named_at_another_address_is_not_meant(
    tmp_path: Path, other: str, known: bool
) -> None:
    (tmp_path / "haproxy.cfg").write_text(
        f"backend bk_mx\n server {other}\n server mx-b 198.51.100.12:10024\n"
    )
    (tmp_path / "main.cf").write_text("myhostname = mx-b.example.org\n")
    (tmp_path / "master.cf").write_text("10024 inet n - n - 1 postscreen\n")
    first, second = learn([str(tmp_path / "haproxy.cfg")], [f"mx-b={tmp_path}"]).routes
    assert bool(first.listeners) is known
    assert first.verdict == ("unexpected_header" if known else "unknown")
    assert second.verdict == "masked"


def test_a_server_name_that_stands_for_several_hosts_says_nothing(tmp_path: Path) -> None:
    cfg = tmp_path / "haproxy.cfg"
    cfg.write_text(
        "backend bk_a\n server one mx-a.example.org:25\n server two mx-b:25\n"
        "backend bk_b\n server one mx-b.example.org:25\n server two mx-b:587\n"
    )
    assert learn([str(cfg)]).hosts_of_servers == {"two": "mx-b"}
