"""Texts of simulated sessions: PROXY headers as Postfix shows them, replies with the right names."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import numpy as np

from logscope.relay.escape import escaped
from logscope.relay.header import SIGNATURE, Endpoint, Header, encode_v1, encode_v2
from logscope.simulate import Fault, Options, Simulation
from logscope.simulate.columns import to_arrow
from logscope.simulate.journal import Style
from logscope.simulate.layout import *
from logscope.simulate.site import PUBLIC_ADDRESS, PUBLIC_ADDRESS_6

from .reading import write

DAY = Options(300, duration_s=86400.0, seed=6)


def pool_of(options: Options) -> tuple[np.ndarray, list[str], list[str | None]]:
    """The sessions of a site, the text of their PROXY headers, and why they were refused."""
    simulation = Simulation(options, machine_code=False)
    (block,) = simulation.blocks()
    pool = simulation.texts(block)
    texts = [
        to_arrow(pool, block.sessions[column], None, simulation.kernel).to_pylist()
        for column in (S_HEADER_TEXT, S_REASON)
    ]
    return block.sessions, texts[0], texts[1]


def header_of(s: np.ndarray, i: int) -> Header:
    number = (int(s[S_HI, i]) & (1 << 64) - 1) << 64 | int(s[S_LO, i]) & (1 << 64) - 1
    address = IPv6Address(number)
    client = Endpoint(str(address.ipv4_mapped or address), int(s[S_PORT, i]))
    return Header(client, Endpoint(PUBLIC_ADDRESS if address.ipv4_mapped else PUBLIC_ADDRESS_6, 25))


def test_headers_of_version_2_are_those_that_a_balancer_sends() -> None:
    site = replace(DAY, header="v2", faults=(Fault("header_unexpected", 0.0),))
    s, headers, _ = pool_of(site)
    versions = set()
    for i, text in enumerate(headers):
        if text is not None:
            header = header_of(s, i)
            versions.add(header.source is not None and header.source.is_ipv6)
            assert text == escaped(encode_v2(header)[len(SIGNATURE) :])
    assert versions == {False, True}


def test_the_length_of_a_header_of_version_1_is_its_own(tmp_path: Path) -> None:
    site = replace(DAY, sessions=100, faults=(Fault("header_unexpected", 0.0),))
    write(site, Style(), tmp_path)
    text = (tmp_path / "mail.log").read_text()
    found = re.findall(r"PREGREET (\d+) after 0 from \S+: PROXY TCP4 (\S+) (\S+) (\d+) (\d+)", text)
    assert len(found) > 40
    for length, source, destination, source_port, port in found:
        header = Header(Endpoint(source, int(source_port)), Endpoint(destination, int(port)))
        assert int(length) == len(encode_v1(header))


def test_refusals_name_what_is_refused() -> None:
    s, _, reasons = pool_of(replace(DAY, sessions=1500))
    by_kind = {
        kind: {reasons[i] for i in np.flatnonzero(s[S_REJECT] == kind)} for kind in range(len(REJECTS))
    }
    assert by_kind[R_NOTHING] == {None}
    assert all(
        re.fullmatch(r"<victim\d+@elsewhere\.example>: Relay access denied", str(x))
        for x in by_kind[R_RELAY_DENIED]
    )
    listed = r"Service unavailable; client \[[0-9a-f:.]+\] blocked using zen\.dnsbl\.example"
    assert all(re.fullmatch(listed, str(x)) for x in by_kind[R_LISTED])
    unknown = r"<nobody\d+@example\.com>: Recipient address rejected: User unknown in virtual mailbox table"
    assert all(re.fullmatch(unknown, str(x)) for x in by_kind[R_UNKNOWN_USER])
    assert min(len(by_kind[kind]) for kind in (R_RELAY_DENIED, R_LISTED, R_UNKNOWN_USER)) > 3
