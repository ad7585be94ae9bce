"""main.cf and master.cf."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.errors import LogscopeError
from logscope.postfix.config import Config, ConfigError, read, read_texts

MAIN = """\
# mx-a
mydomain = example.org
myhostname = mx.$mydomain
mynetworks = 127.0.0.0/8, [::1]/128
# a comment in between

    10.0.0.5
    hash:/etc/postfix/more !10.0.0.6
mydomain = example.com
postscreen_upstream_proxy_protocol = haproxy
smtpd_banner=$myhostname ESMTP
unknown_to_us =
"""

MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
10024     inet  n       -       n       -       1       postscreen
smtpd     pass  -       -       n       -       -       smtpd
submission inet n       -       n       -       -       smtpd
  -o syslog_name=postfix/$service_name
  -o smtpd_client_port_logging=yes
# in between
  -o { smtpd_recipient_restrictions = permit_sasl_authenticated, reject }
  -o smtpd_upstream_proxy_protocol=haproxy -v
[::1]:2525 inet n       -       n       -       -       smtpd -osmtpd_client_port_logging=no
policy    unix  -       n       n       -       0       spawn user=nobody argv=/usr/libexec/policy --log
127.0.0.1:10026 inet n  -       n       -       -       /usr/libexec/postfix/smtpd
"""


@pytest.fixture
def config() -> Config:
    return read_texts(MAIN, MASTER)


def service(config: Config, name: str):
    return next(entry for entry in config.services if entry.name == name)


def test_the_last_definition_counts_and_values_are_expanded_when_asked_for(config):
    assert config.parameters["smtpd_banner"].value == "$myhostname ESMTP"
    assert config.value("smtpd_banner") == "mx.example.com ESMTP"
    assert config.value("unknown_to_us") == ""
    assert config.value("never_heard_of") == ""
    assert config.value("smtpd_upstream_proxy_timeout") == "5s"


def test_a_line_that_starts_with_a_blank_continues_and_comments_do_not_interrupt(config):
    assert config.value("mynetworks") == "127.0.0.0/8, [::1]/128 10.0.0.5 hash:/etc/postfix/more !10.0.0.6"
    assert config.mynetworks == (ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.5"))
    assert read_texts("").mynetworks is None


def test_places_are_those_of_the_file(config):
    assert str(config.parameters["mynetworks"].place) == "main.cf:4:1"
    assert str(config.parameters["mydomain"].place) == "main.cf:9:1"
    overrides = service(config, "submission").overrides
    assert str(overrides["smtpd_client_port_logging"].place) == "master.cf:6:6"
    assert str(overrides["smtpd_recipient_restrictions"].place) == "master.cf:8:6"


def test_services_and_their_overrides(config):
    submission = service(config, "submission")
    assert (submission.type, submission.command, submission.private, submission.wakeup) == (
        "inet",
        "smtpd",
        "n",
        "-",
    )
    assert submission.overrides["smtpd_recipient_restrictions"].value == "permit_sasl_authenticated, reject"
    assert submission.arguments[-1] == "-v"
    assert service(config, "policy").arguments == ("user=nobody", "argv=/usr/libexec/policy", "--log")
    assert service(config, "[::1]:2525").overrides["smtpd_client_port_logging"].value == "no"


def test_tags_are_what_the_log_shows(config):
    assert config.tag(service(config, "submission")) == "postfix/submission/smtpd"
    assert config.tag(service(config, "10024")) == "postfix/postscreen"
    named = read_texts("multi_instance_name = postfix-mx\n", MASTER)
    assert named.tag(service(named, "10024")) == "postfix-mx/postscreen"


def test_who_expects_a_proxy_header_and_logs_ports(config):
    expected = {entry.name: config.upstream_proxy_protocol(entry) for entry in config.services}
    assert {name for name, protocol in expected.items() if protocol == "haproxy"} == {"10024", "submission"}
    everywhere = read_texts("smtpd_upstream_proxy_protocol = haproxy\n", MASTER)
    assert everywhere.upstream_proxy_protocol(service(everywhere, "smtpd")) == ""  # behind postscreen
    assert [entry.name for entry in config.services if config.client_port_logging(entry)] == ["submission"]


def test_listeners_by_port(config):
    assert [(entry.address, entry.port_number) for entry in config.listeners] == [
        ("", 10024),
        ("", 587),
        ("::1", 2525),
        ("127.0.0.1", 10026),
    ]
    assert config.listener(587) == service(config, "submission")
    assert config.listener(25) is None
    assert service(config, "127.0.0.1:10026").command == "smtpd"


def test_a_service_given_twice_is_the_last_one():
    config = read_texts("", MASTER + "smtpd pass - - n - - smtpd -o syslog_name=inner\n")
    assert config.tag(service(config, "smtpd")) == "inner/smtpd"
    assert sum(entry.name == "smtpd" for entry in config.services) == 1


@pytest.mark.parametrize(
    ("main", "master", "place", "message"),
    [
        ("  x = 1\n", "", "main.cf:1:3", "continues a line"),
        ("x = 1\nno equals\n", "", "main.cf:2:1", "no 'name = value'"),
        ("two words = 1\n", "", "main.cf:1:1", "no 'name = value'"),
        ("", "smtp inet n - n - -\n", "master.cf:1:1", "eight fields or more, this one has 7"),
        ("", "smtp tcp n - n - - smtpd\n", "master.cf:1:6", "unknown service type 'tcp'"),
        ("", "smtp inet n - n - - smtpd\n  -o\n", "master.cf:2:3", "'-o' without name=value"),
        ("", "smtp inet n - n - - smtpd -o a\n", "master.cf:1:27", "'-o' without name=value"),
        ("", "smtp inet n - n - - smtpd\n # c\n  -o { a = b\n", "master.cf:3:6", "'{' is not closed"),
    ],
)
def test_errors_name_the_place_and_a_next_step(main, master, place, message):
    with pytest.raises(ConfigError) as caught:
        read_texts(main, master)
    assert str(caught.value.place) == place
    assert message in caught.value.message
    assert caught.value.hint


def test_a_value_that_cannot_be_expanded_names_its_line():
    config = read_texts("a = 1\nsmtpd_banner = $myhostname ${mail_name\n")
    with pytest.raises(ConfigError, match=r"main.cf:2:1: smtpd_banner: this is not closed.*'\$\{mail_name'"):
        config.value("smtpd_banner")


def test_directories_are_read_and_a_missing_main_cf_is_an_error_in_words(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path)
    (tmp_path / "main.cf").write_text(MAIN)
    assert read(tmp_path).services == ()
    (tmp_path / "master.cf").write_text(MASTER)
    assert len(read(tmp_path).services) == 6


@given(st.text(alphabet="ab=$:{} -o#\n\t", max_size=80), st.text(alphabet="a inet-o{}=#\n", max_size=80))
def test_any_text_is_read_or_refused_in_words(main, master):
    try:
        config = read_texts(main, master)
        for name in config.parameters:
            config.value(name)
    except LogscopeError as error:
        assert error.explain()  # noqa: PT017  the message itself is what is tested
