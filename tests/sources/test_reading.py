"""Settings become what the pipeline is told; batches become the period that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from logscope.errors import GrammarError, LogscopeError
from logscope.report.wording import bounds, period
from logscope.settings import Settings
from logscope.sources.reading import Covered, grammar_files, in_period, prepare
from tests.report.fabricated import START, batch_of, session

MINUTE = 60_000_000_000


def test_a_period_holds_its_beginning_but_not_its_end() -> None:
    batch = batch_of("sessions", [session(accepted_ns=START + i * MINUTE, client_port=i) for i in range(5)])
    settings = Settings(since=START + MINUTE, until=START + 3 * MINUTE)
    assert in_period("sessions", batch, settings).column("client_port").to_pylist() == [1, 2]
    assert in_period("sessions", batch, replace(settings, until=None)).num_rows == 4
    assert in_period("sessions", batch, replace(settings, since=None)).num_rows == 3
    assert in_period("sessions", batch, Settings()) is batch


def test_a_session_without_accept_time_happened_when_the_mail_server_saw_it() -> None:
    rows = [
        session(accepted_at=None, mta_connected_at=START + MINUTE),
        session(accepted_at=None, mta_connected_at=None, ended_at=None),
    ]
    got = in_period("sessions", batch_of("sessions", rows), Settings(since=START + MINUTE))
    assert got.num_rows == 1


def test_a_period_in_which_nothing_happened_is_told_with_what_was_read() -> None:
    """Rows outside are what is told of; with one inside nothing is."""
    batch = batch_of("sessions", [session(accepted_ns=START + i * MINUTE) for i in range(5)])

    def notes(settings: Settings) -> list[str]:
        covered = Covered(settings)
        for row in range(batch.num_rows):
            covered.add("sessions", batch.slice(row, 1))
        return list(covered.notes())

    (note,) = notes(Settings(since=START + 5 * MINUTE, undated=True))
    assert note.startswith(
        f"nothing happened {bounds(START + 5 * MINUTE, None)} (a time without a date is today's)"
    )
    assert note.endswith(f"what was read is of {period(START, START + 4 * MINUTE)}")
    (note,) = notes(Settings(until=START))
    assert "today" not in note
    assert notes(Settings(since=START + 4 * MINUTE)) == []
    assert notes(Settings()) == []


def test_grammars_are_files_or_directories(tmp_path: Path) -> None:
    (tmp_path / "b.toml").touch()
    (tmp_path / "a.toml").touch()
    (tmp_path / "notes.txt").touch()
    assert grammar_files([str(tmp_path)]) == [tmp_path / "a.toml", tmp_path / "b.toml"]
    assert grammar_files([str(tmp_path / "b.toml")]) == [tmp_path / "b.toml"]
    with pytest.raises(GrammarError, match="no such grammar file"):
        grammar_files([str(tmp_path / "c.toml")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(GrammarError, match="no grammar"):
        grammar_files([str(tmp_path / "empty")])


def test_zones_and_year_reach_the_pipeline() -> None:
    ready = prepare(Settings(zones=(("", "Europe/Berlin"), ("mx-a", "UTC")), year=2024))
    assert str(ready.options.zones.of("mx-a")) == "UTC"
    assert str(ready.options.zones.of("mx-b")) == "Europe/Berlin"
    assert ready.options.year == 2024


def test_a_haproxy_configuration_teaches_formats_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(
        'frontend ft\n  mode tcp\n  bind :25\n  log-format "my own %ci:%cp %ft"\n  default_backend bk\n'
        "backend bk\n  mode tcp\n  source 10.0.0.5\n  server mx-a 10.0.0.11:10024 send-proxy\n"
    )
    plain, taught = prepare(Settings()), prepare(Settings(haproxy_cfg=(str(path),)))
    assert len(taught.catalogue) == len(plain.catalogue) + 1
    assert taught.options.balancers == {(0, 0xFFFF_0A00_0005)}


def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LogscopeError, match="cannot be read"):
        prepare(Settings(haproxy_cfg=(str(tmp_path / "haproxy.cfg"),)))
    with pytest.raises(LogscopeError, match="cannot be read"):
        prepare(Settings(postfix_config=(str(tmp_path),)))


@pytest.mark.parametrize("logging", ["yes", "no"])
def test_a_postfix_configuration_says_how_far_its_log_can_be_joined(tmp_path: Path, logging: str) -> None:
    (tmp_path / "main.cf").write_text(f"smtpd_client_port_logging = {logging}\n")
    (tmp_path / "master.cf").write_text("smtp inet n - y - - smtpd\n")
    notes = prepare(Settings(postfix_config=(str(tmp_path / "main.cf"),))).notes
    assert ["postfix/smtpd logs no client ports" in note for note in notes] == [True] * (logging == "no")
