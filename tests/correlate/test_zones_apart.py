"""Hosts that stamp in different zones are told, with the option that mends it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from logscope.settings import Settings
from logscope.sources import open_inputs
from logscope.sources.reading import read_tables

SAMPLE = Path(__file__).resolve().parents[2] / "samples/proxy-v1"


def moved(text: str, hours: float) -> str:
    def later(match: re.Match[str]) -> str:
        stamp = datetime.strptime(f"2026 {match[0]} +0000", "%Y %b %d %H:%M:%S %z") + timedelta(hours=hours)
        return f"{stamp:%b} {stamp.day:2d} {stamp:%H:%M:%S}"

    return re.sub(r"^[A-Z][a-z]{2} [ \d]\d [\d:]{8}", later, text, flags=re.MULTILINE)


def notes(directory: Path, mail: str, **named: str) -> tuple[list[str], dict[str, int]]:
    (directory / "mail.log").write_text(mail)
    with open_inputs([str(SAMPLE / "haproxy.log"), str(directory / "mail.log")]) as inputs:
        zones = tuple((host.replace("_", "-"), zone) for host, zone in named.items())
        result = read_tables(
            inputs.sources, Settings(year=2026, zones=zones), {"sessions": ["session_id"]}, lambda *_: None
        )
    return [note for note in result.notes if "for the same clients" in note], result.quality


@pytest.mark.parametrize(("hours", "told"), [(2, "2 h ahead of"), (-5.5, "5.5 h behind")])
def test_another_zone_is_told_and_mended(tmp_path: Path, hours: float, told: str) -> None:
    mail = moved((SAMPLE / "mail.log").read_text(), hours)
    found, quality = notes(tmp_path, mail)
    assert [f"mx-{at}" in note and told in note for at, note in zip("ab", found, strict=True)] == [True] * 2
    assert quality["joined_exact"] == 0
    zones = dict(re.findall(r"--tz (\S+)=(\S+)", " ".join(found)))
    found, quality = notes(tmp_path, mail, **{host.replace("-", "_"): zone for host, zone in zones.items()})
    assert (found, quality["joined_exact"]) == ([], quality["sessions"])


def test_addresses_do_where_smtpd_logs_no_ports(tmp_path: Path) -> None:
    lines = (SAMPLE / "mail.log").read_text().splitlines(keepends=True)
    mail = "".join(re.sub(r"(\[[\d.]+\]):\d+", r"\1", line) for line in lines if "postscreen" not in line)
    assert notes(tmp_path, mail)[0] == []
    found, _ = notes(tmp_path, moved(mail, 1))
    assert ["1 h ahead of" in note for note in found] == [True, True]


@pytest.mark.parametrize("hours", [0, 0.1])
def test_the_same_zone_is_not_remarked(tmp_path: Path, hours: float) -> None:
    """Nor is a clock that is off by minutes, which is no zone."""
    assert notes(tmp_path, moved((SAMPLE / "mail.log").read_text(), hours))[0] == []
