"""The scenarios, as data: what is configured, what the clients do, and what a masking verdict must say."""

from __future__ import annotations

from dataclasses import replace

from .masking_mixtures import MIXTURES
from .masking_scenarios import MASKING
from .model import (
    DEEP,
    MANY_FROM_ONE,
    ORDERLY,
    PLAIN,
    SUBMISSION,
    TCPLOG,
    V1,
    V2,
    Scenario,
    Service,
    service,
)

__all__ = ["PLAIN", "SCENARIOS", "TCPLOG", "V2", "Scenario", "Service", "scenario"]

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
        verdict="unknown",  # the servers are down for HAProxy, and get no sessions
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
        (service(mix=DEEP),),
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
    **MASKING,
    **MIXTURES,
}


def scenario(name: str, **changes: object) -> Scenario:
    """A scenario by name, with sizes changed."""
    return replace(SCENARIOS[name], **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
