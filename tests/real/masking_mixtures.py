"""More scenarios for the masking verdict: several of the others' difficulties at once."""

from __future__ import annotations

from dataclasses import replace

from .masking_scenarios import BOTH_FAMILIES, HALF, INNER, INNER_PORT, TRUSTED, submission
from .model import ORDERLY, PLAIN, SUBMISSION, V1, V2, Insiders, Scenario, service

SMTPS = service(
    PLAIN, False, name="smtps", port=465, node_port=10465, daemon="smtpd", syslog_name="postfix/smtps",
    share=0.4, mix=SUBMISSION,
)  # fmt: skip

MIXTURES: dict[str, Scenario] = {
    "half-trusted": Scenario("half masked, the balancer in mynetworks", (HALF,), main=TRUSTED),
    "half-both-families": Scenario(
        "half masked, IPv6 and IPv4 clients", (HALF,), bind=BOTH_FAMILIES, ipv6_share=0.5
    ),
    "half-hub": Scenario(
        "half masked, two relays send everything, and an application server past the balancer",
        (replace(HALF, mix=ORDERLY),),
        address_pool=2,
        master=INNER,
        insiders=(Insiders("application", INNER_PORT, 1.0),),
    ),
    "half-smtpd-checks": Scenario(
        "smtpd, half masked, plain health checks",
        (replace(HALF, daemon="smtpd"),),
        server="check inter 1s",
    ),
    "half-missing-outsiders": Scenario(
        "HAProxy sends the header to mx-a only, and somebody connects without one",
        (service({"mx-a": V1, "mx-b": PLAIN}),),
        insiders=(Insiders("silent", 10024, 1.5),),
    ),
    "smtps-masked": Scenario("25 visible (version 2), 465 masked", (service(V2, share=0.6), SMTPS)),
    "submission-unexpected-v2": Scenario(
        "25 visible; 587 gets a version 2 header that it does not expect",
        (service(share=0.6), submission(V2, False)),
    ),
    "missing-and-masked": Scenario(
        "25 expects a header that is not sent; 587 masked",
        (service(PLAIN, True, share=0.5), submission(PLAIN, False, share=0.5)),
    ),
    "docker-submission-masked": Scenario(
        "a container's gateway between; 25 visible, 587 masked",
        (service(share=0.6), submission(PLAIN, False)),
        layout="docker-inside",
    ),
    "one-host-submission-masked": Scenario(
        "balancer and mail server on one host; 25 visible, 587 masked",
        (service(share=0.6), submission(PLAIN, False)),
        layout="one-host",
        hosts=("mx-a",),
    ),
    "unexpected-v2-six": Scenario(
        "version 2 sent, postscreen does not expect it, IPv6 and IPv4 clients",
        (service(V2, False),),
        bind=BOTH_FAMILIES,
        ipv6_share=0.5,
    ),
    "unexpected-v2-smtpd-six": Scenario(
        "the same without postscreen",
        (service(V2, False, daemon="smtpd"),),
        bind=BOTH_FAMILIES,
        ipv6_share=0.5,
    ),
    "masked-trusted-checks": Scenario(
        "masked, plain health checks, a monitoring host inside, the balancer in mynetworks",
        (service(PLAIN, False),),
        server="check inter 1s",
        main=TRUSTED,
        master=INNER,
        insiders=(Insiders("monitor", INNER_PORT, 1.0),),
    ),
}
