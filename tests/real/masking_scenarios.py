"""Scenarios for the masking verdict: what hides clients in other ways, and what only looks so."""

from __future__ import annotations

from dataclasses import replace

from .model import ORDERLY, PLAIN, SUBMISSION, V1, V2, Insiders, Scenario, Service, service

BOTH_FAMILIES = (":::{port} v4v6",)
TRUSTED = {"mynetworks": "127.0.0.0/8 [::1]/128 172.20.5.0/24"}
HALF = service({"mx-a": V1, "mx-b": PLAIN}, {"mx-a": True, "mx-b": False})
SMTPD_EXPECTS = {"smtpd_upstream_proxy_protocol": "haproxy"}
#: Another listener, for those who come without the balancer.
INNER_PORT = 10026
INNER = f"{INNER_PORT}     inet  n       -       n       -       -       smtpd\n"


def submission(send: object = V1, expect: object = True, **more: object) -> Service:
    """587 beside 25."""
    values = {"syslog_name": "postfix/submission", "share": 0.4, "mix": SUBMISSION} | more
    return service(
        send, expect, name="submission", port=587, node_port=10587, daemon="smtpd", **values
    )  # fmt: skip


SMTPD_VISIBLE, SMTPD_HIDDEN = service(daemon="smtpd"), service(PLAIN, False, daemon="smtpd")
FOUR = service(bind=("203.0.113.25",), family=4)


def six(send: object, expect: object) -> Service:
    """IPv6 clients have a frontend and listeners of their own."""
    return service(
        send, expect, name="smtp6", node_port=10025, bind=("2001:db8:25::25",), family=6, daemon="smtpd",
        syslog_name="postfix/six",
    )  # fmt: skip


MASKING: dict[str, Scenario] = {
    # --- in order, and looking otherwise ---
    "few-clients": Scenario("three clients", (service(mix=ORDERLY),), address_pool=3),
    "one-hub": Scenario("one relay sends everything", (service(mix=ORDERLY),), address_pool=1),
    "hub-smtpd": Scenario(
        "one relay sends everything, no postscreen",
        (service(mix=ORDERLY, daemon="smtpd"),),
        address_pool=1,
    ),
    "inner-application": Scenario(
        "an application server inside sends past the balancer, as much as all others together",
        master=INNER,
        insiders=(Insiders("application", INNER_PORT, 0.5),),
    ),
    "outsiders": Scenario(
        "somebody connects to the port that expects a header, without one",
        insiders=(Insiders("silent", 10024, 1.0),),
    ),
    "forger": Scenario(
        "somebody connects to the port that expects a header with one of his own: 127.0.0.1",
        insiders=(Insiders("forger", 10024, 2.0),),
    ),
    "transparent": Scenario(
        "the balancer connects from its clients' addresses (usesrc clientip)",
        (service(PLAIN, False),),
        layout="transparent",
        backend=("source 0.0.0.0 usesrc clientip",),
        verdict="passed",
    ),
    "trusted-passed": Scenario("the balancer is in mynetworks, and the header arrives", main=TRUSTED),
    "checks-v1-smtpd": Scenario(
        "smtpd, health checks with a header", (SMTPD_VISIBLE,), server="check check-send-proxy inter 1s"
    ),
    "checks-tcp-smtpd": Scenario(
        "smtpd, plain health checks of the port that expects a header",
        (SMTPD_VISIBLE,),
        server="check port 10024 inter 1s",
    ),
    "checks-smtp-header": Scenario(
        "smtpd, option smtpchk with a header",
        (SMTPD_VISIBLE,),
        server="check check-send-proxy inter 1s",
        backend=("option smtpchk EHLO probe.example.com",),
    ),
    "checks-tcp-check": Scenario(
        "smtpd, tcp-check that reads the greeting and says QUIT",
        (SMTPD_VISIBLE,),
        server="check check-send-proxy inter 1s",
        backend=("option tcp-check", "tcp-check expect rstring ^220", "tcp-check send QUIT\\r\\n"),
    ),
    "checks-v2-local": Scenario(
        "smtpd, checks with a PROXY v2 header (LOCAL)",
        (service(V2, daemon="smtpd"),),
        server="check check-send-proxy inter 1s",
    ),
    "monitor": Scenario(
        "a monitoring host inside asks the inner listener for its greeting",
        master=INNER,
        insiders=(Insiders("monitor", INNER_PORT, 1.0),),
    ),
    "docker-passed": Scenario(
        "a container's gateway between, and the header arrives", layout="docker-inside"
    ),
    "one-host": Scenario(
        "balancer and mail server on one host, the header arrives",
        (service(),),
        layout="one-host",
        hosts=("mx-a",),
    ),
    "two-frontends": Scenario("25 and 587, both visible", (service(share=0.6), submission())),
    "two-frontends-one-name": Scenario(
        "25 and 587 log under one name, both visible",
        (service(share=0.6, daemon="smtpd"), submission(syslog_name="")),
    ),
    "smtpd-v2": Scenario("send-proxy-v2 to smtpd", (service(V2, daemon="smtpd"),)),
    # --- masked ---
    "one-host-masked": Scenario(
        "balancer and mail server on one host: 127.0.0.1 is in mynetworks",
        (service(PLAIN, False),),
        layout="one-host",
        hosts=("mx-a",),
    ),
    "one-host-smtpd-masked": Scenario(
        "the same without postscreen",
        (SMTPD_HIDDEN,),
        layout="one-host",
        hosts=("mx-a",),
    ),
    "docker-masked": Scenario(
        "a container's gateway between balancer and server, no header",
        (service(PLAIN, False),),
        layout="docker-inside",
    ),
    "docker-smtpd-masked": Scenario("the same without postscreen", (SMTPD_HIDDEN,), layout="docker-inside"),
    "docker-before": Scenario(
        "a container's gateway before the balancer", layout="docker-before", verdict="masked_upstream"
    ),
    "docker-before-six": Scenario(
        "the userland proxy stands before the balancer, for IPv6 clients only",
        layout="docker-before-six",
        ipv6_share=0.4,
        verdict="mixed",
    ),
    "unix-front": Scenario(
        "clients come to the balancer by a unix socket: it sends PROXY UNKNOWN",
        layout="unix-front",
        verdict="missing_header",
    ),
    "masked-hub": Scenario(
        "one relay sends everything, masked", (service(PLAIN, False, mix=ORDERLY),), address_pool=1
    ),
    "masked-six": Scenario(
        "IPv6 clients masked, IPv4 clients seen", (FOUR, six(PLAIN, False)), ipv6_share=0.4
    ),
    "masked-four": Scenario(
        "IPv4 clients masked, IPv6 clients seen",
        (
            service(PLAIN, False, bind=FOUR.bind, family=4),
            six(V1, True),
        ),
        ipv6_share=0.4,
    ),
    "masked-both-families": Scenario(
        "IPv6 and IPv4 clients masked",
        (service(PLAIN, False),),
        bind=BOTH_FAMILIES,
        ipv6_share=0.5,
    ),
    "masked-application": Scenario(
        "masked, and an application server inside sends past the balancer",
        (service(PLAIN, False),),
        master=INNER,
        insiders=(Insiders("application", INNER_PORT, 1.0),),
    ),
    "masked-checks-smtpd": Scenario(
        "masked, smtpd, plain health checks", (SMTPD_HIDDEN,), server="check inter 1s"
    ),
    "masked-checks-tcp-check": Scenario(
        "masked, smtpd, checks that read the greeting and say QUIT",
        (SMTPD_HIDDEN,),
        server="check inter 1s",
        backend=("option tcp-check", "tcp-check expect rstring ^220", "tcp-check send QUIT\\r\\n"),
    ),
    "masked-trusted-smtpd": Scenario(
        "masked, smtpd, the balancer in mynetworks", (SMTPD_HIDDEN,), main=TRUSTED
    ),
    "masked-smtpd-parameter": Scenario(
        "no header; smtpd_upstream_proxy_protocol set behind postscreen",
        (service(PLAIN, False),),
        main=SMTPD_EXPECTS,
    ),
    "masked-one-name": Scenario(
        "25 visible, 587 masked, both log under one name",
        (service(share=0.6, daemon="smtpd"), submission(PLAIN, False, syslog_name="")),
    ),
    "both-frontends-masked": Scenario(
        "25 and 587, both masked", (service(PLAIN, False, share=0.6), submission(PLAIN, False))
    ),
    "half-smtpd": Scenario(
        "smtpd: mx-a gets and expects the header, mx-b neither",
        (replace(HALF, daemon="smtpd"),),
    ),
    # --- mismatches ---
    "unexpected-smtpd-parameter": Scenario(
        "PROXY v1 sent; smtpd_upstream_proxy_protocol set behind postscreen, which expects nothing",
        (service(V1, False),),
        main=SMTPD_EXPECTS,
    ),
    "unexpected-v2-mynetworks": Scenario(
        "PROXY v2 sent, not expected, the balancer in mynetworks",
        (service(V2, False),),
        main=TRUSTED,
    ),
    "unexpected-v2-smtpd": Scenario(
        "PROXY v2 sent, smtpd does not expect it", (service(V2, False, daemon="smtpd"),)
    ),
    "unexpected-checks": Scenario(
        "PROXY v1 sent and not expected, health checks with the header",
        (service(V1, False),),
        server="check check-send-proxy inter 1s",
    ),
    "unexpected-one-host": Scenario(
        "PROXY v1 not expected on one host: 127.0.0.1 is allowlisted",
        (service(V1, False),),
        layout="one-host",
        hosts=("mx-a",),
    ),
    "unexpected-six": Scenario(
        "PROXY v1 not expected, IPv6 and IPv4 clients",
        (service(V1, False),),
        bind=BOTH_FAMILIES,
        ipv6_share=0.5,
    ),
    "half-unexpected": Scenario(
        "both get the header, mx-b does not expect it",
        (service(V1, {"mx-a": True, "mx-b": False}),),
    ),
    "mismatched-both-ways": Scenario(
        "mx-a expects a header and gets none, mx-b gets one and does not expect it",
        (service({"mx-a": PLAIN, "mx-b": V1}, {"mx-a": True, "mx-b": False}),),
    ),
    "missing-checks": Scenario(
        "the header is missing; plain health checks", (service(PLAIN, True),), server="check inter 1s"
    ),
    "missing-six": Scenario(
        "the header is missing, IPv6 and IPv4 clients",
        (service(PLAIN, True),),
        bind=BOTH_FAMILIES,
        ipv6_share=0.5,
    ),
    "submission-unexpected": Scenario(
        "25 visible; 587 gets a header that it does not expect", (service(share=0.6), submission(V1, False))
    ),
    "submission-missing": Scenario(
        "25 visible; 587 expects a header that it does not get", (service(share=0.6), submission(PLAIN, True))
    ),
    # --- since ---
    "masked-since": Scenario(
        "masked from the middle on", (service(),), later=(service(PLAIN, False),), sessions=200
    ),
    "masked-until": Scenario(
        "masked until the middle", (service(PLAIN, False),), later=(service(),), sessions=200
    ),
    "masked-since-smtpd": Scenario(
        "smtpd, masked from the middle on", (SMTPD_VISIBLE,), later=(SMTPD_HIDDEN,), sessions=200
    ),
    "missing-since": Scenario(
        "postscreen expects a header from the middle on",
        (service(PLAIN, False),),
        later=(service(PLAIN, True),),
        sessions=200,
    ),
    "header-lost-since": Scenario(
        "HAProxy sends no header any more from the middle on",
        (service(),),
        later=(service(PLAIN, True),),
        sessions=200,
    ),
    "unexpected-since": Scenario(
        "postscreen expects no header any more from the middle on",
        (service(),),
        later=(service(V1, False),),
        sessions=200,
    ),
    "one-server-since": Scenario(
        "mx-b is masked from the middle on", (service(),), later=(HALF,), sessions=200
    ),
    "few-masked": Scenario(
        "masked for the last tenth or fifth",
        (service(),),
        later=(service(PLAIN, False),),
        sessions=200,
        change_at=0.8,
    ),
}
