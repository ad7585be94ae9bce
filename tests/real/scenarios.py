"""The scenarios, as data: what is configured, what the clients do, and what a masking verdict must say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

V1, V2, PLAIN = "send-proxy", "send-proxy-v2", ""

#: The documented expansion of `option tcplog` (HAProxy manual, section 8.2.2).
TCPLOG = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"

#: How often each behaviour of `clients.BEHAVIOURS` occurs.
EVERYDAY = {
    "clean": 40,
    "starttls": 14,
    "multi_msg": 8,
    "multi_rcpt": 6,
    "pipelining": 6,
    "unknown_rcpt": 6,
    "relay_denied": 6,
    "auth_fail": 4,
    "bad_helo": 3,
    "unknown_sender": 2,
    "content_reject": 2,
    "pregreet": 4,
    "drop_before_greeting": 3,
    "drop_after_greeting": 2,
    "drop_after_ehlo": 3,
    "drop_after_rcpt": 3,
    "drop_in_data": 3,
    "rst_before_greeting": 1,
    "rst_after_ehlo": 2,
    "rst_in_data": 2,
    "rst_after_rcpt": 2,
    "idle_after_ehlo": 1,
    "idle_at_once": 1,
    "quit_close": 3,
    "probe": 2,
    "rubbish": 2,
    "http": 1,
    "early_pipelining": 2,
    "tls_abandoned": 1,
    "reuse_port": 4,
    "bounce": 2,
    "slow": 3,
}
#: No screening test is failed on purpose, and nothing takes long.
ORDERLY = {
    "clean": 50,
    "starttls": 12,
    "multi_msg": 10,
    "unknown_rcpt": 8,
    "relay_denied": 6,
    "quit_close": 6,
    "drop_after_ehlo": 4,
    "drop_after_rcpt": 4,
    "rst_in_data": 2,
    "rst_after_ehlo": 2,
    "slow": 10,
    "auth_fail": 3,
}
SUBMISSION = {"submit": 8, "auth_fail": 3, "starttls": 1, "relay_denied": 2, "quit_close": 1}


@dataclass(frozen=True)
class Service:
    """One public port, its backend, and the Postfix service behind it on each server."""

    name: str = "smtp"
    port: int = 25
    node_port: int = 10024
    daemon: str = "postscreen"  # or smtpd
    send: Mapping[str, str] = field(default_factory=lambda: {"mx-a": V1, "mx-b": V1})
    expect: Mapping[str, bool] = field(default_factory=lambda: {"mx-a": True, "mx-b": True})
    syslog_name: str = ""
    master_options: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, int] = field(default_factory=lambda: EVERYDAY)
    share: float = 1.0  # of the sessions

    def shows_client(self, host: str) -> bool:
        """Whether Postfix logs the true client: a header is sent, and read."""
        return bool(self.send[host]) and self.expect[host]

    def masking(self, host: str) -> str:
        """What a masking verdict has to say of this service on this server."""
        match bool(self.send[host]), self.expect[host]:
            case True, True:
                return "passed"
            case False, False:
                return "masked"
            case True, False:
                return "unexpected_header"
        return "missing_header"


@dataclass(frozen=True)
class Scenario:
    """One set-up with its traffic. Sizes are defaults; the command line can change them."""

    what: str
    services: tuple[Service, ...] = (Service(),)
    main: Mapping[str, str] = field(default_factory=dict)  # main.cf parameters, on every server
    frontend: tuple[str, ...] = ()  # more lines of the frontends
    backend: tuple[str, ...] = ()
    server: str = ""  # more words of every server line
    log_format: str = ""  # instead of `option tcplog`
    bind: tuple[str, ...] = ("203.0.113.25",)
    port_logging: bool = False  # smtpd_client_port_logging
    address_pool: int = 120  # how many client addresses there are
    ipv6_share: float = 0.0
    gap_s: float = 0.4  # mean pause of a client slot between two sessions
    burst: bool = False  # everybody arrives within seconds
    rfc5424: bool = False  # HAProxy logs with microseconds
    reduce_repeats: bool = False  # rsyslog's "message repeated N times"
    sessions: int = 120
    concurrency: int = 12


def both(value: object) -> dict[str, object]:
    return {"mx-a": value, "mx-b": value}


def service(send: object = V1, expect: object = True, **more: object) -> Service:
    """A service that is the same on both servers, unless a mapping says otherwise."""
    send = send if isinstance(send, dict) else both(send)
    expect = expect if isinstance(expect, dict) else both(expect)
    return Service(send=send, expect=expect, **more)  # type: ignore[arg-type]


MANY_FROM_ONE = {
    # The point is the overlap, so Postfix's own limits are out of the way and verdicts are quick.
    "default_process_limit": "400",
    "smtpd_client_connection_count_limit": "0",
    "postscreen_greet_wait": "2s",
}

SCENARIOS: dict[str, Scenario] = {
    "proxied-v1": Scenario("send-proxy on both servers, postscreen expects it", port_logging=False),
    "proxied-v1-ports": Scenario("as proxied-v1, with smtpd_client_port_logging", port_logging=True),
    "proxied-v2": Scenario("send-proxy-v2 on both servers", (service(V2),)),
    "one-address": Scenario(
        "many overlapping sessions of one client address, smtpd logs no ports",
        (service(mix=ORDERLY),),
        main=MANY_FROM_ONE,
        address_pool=1,
        burst=True,
        sessions=300,
        concurrency=300,
    ),
    "few-addresses": Scenario(
        "overlapping sessions of five client addresses, smtpd logs no ports",
        (service(mix=ORDERLY),),
        main=MANY_FROM_ONE,
        address_pool=5,
        sessions=300,
        concurrency=60,
    ),
    "masked": Scenario("no PROXY header, none expected", (service(PLAIN, False),)),
    "masked-ports": Scenario(
        "no PROXY header; the balancer logs %bi:%bp",
        (service(PLAIN, False),),
        log_format=TCPLOG + " %bi:%bp",
        port_logging=True,
    ),
    "masked-ports-stripped": Scenario(
        "no PROXY header; the balancer logs %bi:%bp, smtpd logs no ports",
        (service(PLAIN, False),),
        log_format=TCPLOG + " %bi:%bp",
    ),
    "half-masked": Scenario(
        "mx-a gets and expects the header, mx-b neither",
        (service({"mx-a": V1, "mx-b": PLAIN}, {"mx-a": True, "mx-b": False}),),
    ),
    "half-masked-one-address": Scenario(
        "half masked, and every session from one address",
        (service({"mx-a": V1, "mx-b": PLAIN}, {"mx-a": True, "mx-b": False}, mix=ORDERLY),),
        main=MANY_FROM_ONE,
        address_pool=1,
        sessions=80,
        concurrency=20,
    ),
    "masked-mynetworks": Scenario(
        "no PROXY header, and the balancer is in mynetworks: everybody is allowlisted and may relay",
        (service(PLAIN, False),),
        main={"mynetworks": "127.0.0.0/8 [::1]/128 172.20.5.0/24"},
    ),
    "unexpected-v1": Scenario("PROXY v1 sent, postscreen does not expect it", (service(V1, False),)),
    "unexpected-v1-ignored": Scenario(
        "PROXY v1 sent, not expected, and the pregreet test only logs",
        (service(V1, False),),
        main={"postscreen_greet_action": "ignore"},
    ),
    "unexpected-v1-mynetworks": Scenario(
        "PROXY v1 sent, not expected, the balancer in mynetworks",
        (service(V1, False),),
        main={"mynetworks": "127.0.0.0/8 [::1]/128 172.20.5.0/24"},
    ),
    "unexpected-v2": Scenario("PROXY v2 sent, postscreen does not expect it", (service(V2, False),)),
    "unexpected-v2-deep": Scenario(
        "PROXY v2 sent, not expected, deep protocol tests on",
        (service(V2, False),),
        main={
            "postscreen_pipelining_enable": "yes",
            "postscreen_non_smtp_command_enable": "yes",
            "postscreen_bare_newline_enable": "yes",
            "postscreen_greet_action": "ignore",
        },
    ),
    "unexpected-v1-smtpd": Scenario(
        "PROXY v1 sent, smtpd (no postscreen) does not expect it", (service(V1, False, daemon="smtpd"),)
    ),
    "missing": Scenario("postscreen expects a header that is not sent", (service(PLAIN, True),)),
    "missing-smtpd": Scenario(
        "smtpd (no postscreen) expects a header that is not sent", (service(PLAIN, True, daemon="smtpd"),)
    ),
    "half-missing": Scenario(
        "both expect the header, HAProxy sends it to mx-a only", (service({"mx-a": V1, "mx-b": PLAIN}),)
    ),
    "smtpd": Scenario("send-proxy to smtpd, no postscreen, no ports", (service(daemon="smtpd"),)),
    "smtpd-ports": Scenario(
        "send-proxy to smtpd, no postscreen, smtpd_client_port_logging",
        (service(daemon="smtpd"),),
        port_logging=True,
    ),
    "smtpd-masked": Scenario("no postscreen, no header", (service(PLAIN, False, daemon="smtpd"),)),
    "ipv6": Scenario(
        "IPv6 and IPv4 clients through `bind :::25 v4v6` (IPv4 is logged as ::ffff:…)",
        bind=(":::{port} v4v6",),
        ipv6_share=0.5,
    ),
    # With send-proxy, checks send the header too unless they have a port of their own.
    "checks-tcp": Scenario(
        "plain TCP health checks of a port that expects a header", server="check port 10024 inter 2s"
    ),
    "checks-v1": Scenario("health checks with a PROXY v1 header", server="check check-send-proxy inter 2s"),
    "checks-v2": Scenario(
        "health checks with a PROXY v2 header (LOCAL)",
        (service(V2),),
        server="check check-send-proxy inter 2s",
    ),
    "checks-masked": Scenario(
        "no header; plain TCP health checks", (service(PLAIN, False),), server="check inter 2s"
    ),
    "checks-smtp": Scenario(
        "option smtpchk, which postscreen's teaser fails",
        server="check inter 2s",
        backend=("option smtpchk EHLO probe.example.com",),
    ),
    "checks-smtp-smtpd": Scenario(
        "option smtpchk against smtpd",
        (service(PLAIN, False, daemon="smtpd"),),
        server="check inter 2s",
        backend=("option smtpchk EHLO probe.example.com",),
    ),
    "logasap": Scenario(
        "option logasap: the line comes when the connection is made", frontend=("option logasap",)
    ),
    "dontlognull": Scenario(
        "option dontlognull: silent sessions have no balancer line", frontend=("option dontlognull",)
    ),
    "rfc5424": Scenario("HAProxy logs in RFC 5424 with microseconds", rfc5424=True),
    "submission-masked": Scenario(
        "25 visible, 587 masked, told apart by syslog_name",
        (
            service(share=0.6),
            service(
                PLAIN,
                False,
                name="submission",
                port=587,
                node_port=10587,
                daemon="smtpd",
                syslog_name="postfix/submission",
                mix=SUBMISSION,
                share=0.4,
                master_options={"smtpd_client_restrictions": "permit"},
            ),
        ),
    ),
    "submission-visible": Scenario(
        "587 visible, 25 masked",
        (
            service(PLAIN, False, share=0.6),
            service(
                name="submission",
                port=587,
                node_port=10587,
                daemon="smtpd",
                syslog_name="postfix/submission",
                mix=SUBMISSION,
                share=0.4,
            ),
        ),
    ),
    "repeated": Scenario(
        "header missing, and rsyslog folds repeated messages",
        (service(PLAIN, True),),
        reduce_repeats=True,
        gap_s=0.05,
    ),
    "deep-tests": Scenario(
        "postscreen's deep protocol tests: good clients come twice",
        main={
            "postscreen_pipelining_enable": "yes",
            "postscreen_non_smtp_command_enable": "yes",
            "postscreen_bare_newline_enable": "yes",
        },
        address_pool=60,
    ),
    "limits": Scenario(
        "masked, and Postfix's per-client limits hit the balancer",
        (service(PLAIN, False, mix=ORDERLY),),
        main={"smtpd_client_connection_count_limit": "3", "smtpd_client_connection_rate_limit": "40"},
    ),
    "level-2": Scenario(
        "compatibility_level 2: WHITELISTED and BLACKLISTED", main={"compatibility_level": "2"}
    ),
}


def scenario(name: str, **changes: object) -> Scenario:
    """A scenario by name, with sizes changed."""
    return replace(SCENARIOS[name], **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
