"""Settings come from files, the environment and flags, in that order, and errors say where."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from logscope.cli.main import main
from logscope.errors import LogscopeError, SettingsError, UsageError
from logscope.settings import Settings, load, parse_moment

LOG = Path(__file__).parents[2] / "samples" / "proxy-v1" / "mail.log"
NOW = datetime(2026, 7, 26, 12, 30, tzinfo=UTC)
SECOND = 1_000_000_000


def loaded(
    tmp_path: Path, project: str = "", user: str = "", flags: dict[str, object] | None = None, **environ: str
) -> Settings:
    (tmp_path / "logscope.toml").write_text(project)
    (tmp_path / "config" / "logscope").mkdir(parents=True, exist_ok=True)
    (tmp_path / "config" / "logscope" / "config.toml").write_text(user)
    return load(flags or {}, {"XDG_CONFIG_HOME": str(tmp_path / "config")} | environ, tmp_path, NOW)


def test_later_ones_win(tmp_path: Path) -> None:
    assert loaded(tmp_path, user="year = 2001\nquiet = true").year == 2001
    assert loaded(tmp_path, "year = 2002", "year = 2001\nquiet = true") == Settings(year=2002, quiet=True)
    assert loaded(tmp_path, "year = 2002", LOGSCOPE_YEAR="2003").year == 2003
    assert loaded(tmp_path, "year = 2002", flags={"year": 2004}, LOGSCOPE_YEAR="2003").year == 2004


def test_everything_can_be_configured(tmp_path: Path) -> None:
    text = """
    tz = { default = "Europe/Berlin", mx-b = "UTC" }
    year = 2026
    grammar = "site.toml"
    haproxy_cfg = ["/etc/haproxy/haproxy.cfg"]
    postfix_config = ["mx-a", "mx-b"]
    output = "jsonl"
    color = "never"
    quiet = true
    """
    settings = loaded(tmp_path, text)
    assert settings.zone_of("mx-a") == "Europe/Berlin"
    assert settings.zone_of("mx-b") == "UTC"
    assert settings.grammars == (str(tmp_path / "site.toml"),)
    assert settings.haproxy_cfg == ("/etc/haproxy/haproxy.cfg",)
    assert settings.postfix_config == (str(tmp_path / "mx-a"), str(tmp_path / "mx-b"))
    assert (settings.output, settings.color, settings.quiet, settings.year) == ("jsonl", "never", True, 2026)


def test_the_environment_names_lists_and_zones(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path, LOGSCOPE_GRAMMAR="a.toml:b", LOGSCOPE_TZ="UTC,mx-a=Asia/Tokyo", LOGSCOPE_QUIET="1"
    )
    assert settings.grammars == ("a.toml", "b")
    assert settings.zones == (("", "UTC"), ("mx-a", "Asia/Tokyo"))
    assert settings.quiet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year = 2026\ntimezone = 'UTC'", "logscope.toml:2:1: unknown setting 'timezone'"),
        ("  yaer = 26", "1 |   yaer = 26\n      |   ^^^^\n  Did you mean 'year'?"),
        ("year = 26", "logscope.toml:1:1: 26 is no year"),
        ("year = true", "True is no year"),
        ("tz = 'Europe/Berln'", "1 | tz = 'Europe/Berln'\n      | ^^\n  Did you mean 'Europe/Berlin'?"),
        ("tz = 3", "3 names no zone"),
        ("[tz]\nmx-a = 'Nowhere/At_all'", "unknown time zone 'Nowhere/At_all'"),
        ("output = 'xml'", "unknown output 'xml'"),
        ("quiet = 'yes'", "neither true nor false"),
        ("grammar = [1]", "no file name nor a list"),
        ("year = 2026\nx = = 3", "logscope.toml:2:5: Invalid value\n    2 | x = = 3\n      |     ^"),
        ("x = [", "logscope.toml:1"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert expected in caught.value.explain()


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "logscope.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"logscope\.toml: cannot be read"):
        load({}, {}, tmp_path, NOW)


def test_a_wrong_variable_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LOGSCOPE_YEAR: 'soon' is no year"):
        loaded(tmp_path, LOGSCOPE_YEAR="soon")


def test_a_wrong_flag_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--color: unknown color 'sometimes'"):
        loaded(tmp_path, flags={"color": "sometimes"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-26", "2026-07-26T00:00:00+02:00"),
        ("2026-07-26 10:00", "2026-07-26T10:00:00+02:00"),
        ("2026-07-26T10:00:00.250Z", "2026-07-26T10:00:00.250+00:00"),
        ("2026-07-26 10:00+05:30", "2026-07-26T10:00:00+05:30"),
        ("9:05", "2026-07-26T09:05:00+02:00"),
        ("10:00:30", "2026-07-26T10:00:30+02:00"),
        ("2h", "2026-07-26T10:30:00+00:00"),
        ("90 min ago", "2026-07-26T11:00:00+00:00"),
        ("3d", "2026-07-23T12:30:00+00:00"),
        ("now", "2026-07-26T12:30:00+00:00"),
        ("today", "2026-07-26T00:00:00+02:00"),
        ("yesterday", "2026-07-25T00:00:00+02:00"),
        ("@1785060000", "2026-07-26T10:00:00+00:00"),
    ],
)
def test_times_are_written_as_people_write_them(text: str, expected: str) -> None:
    assert (
        parse_moment(text, NOW, ZoneInfo("Europe/Berlin"))
        == int(datetime.fromisoformat(expected).timestamp() * 1000) * 10**6
    )


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "@x", "@1e400", "5 parsecs"])
def test_what_is_no_time_is_told_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_moment(text, NOW, UTC)


def test_an_empty_period_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogscopeError, match="nothing would be left"):
        loaded(tmp_path, flags={"since": "10:00", "until": "9:00"})


def test_a_time_without_a_date_is_remembered_as_such(tmp_path: Path) -> None:
    assert loaded(tmp_path, flags={"since": "10:00"}).undated
    assert not loaded(tmp_path, flags={"since": "2026-07-26 10:00", "until": "now"}).undated


@pytest.mark.parametrize("command", ["sessions", "parse"])
@pytest.mark.parametrize("quiet", [False, True])
def test_a_period_that_the_log_does_not_have_is_told(
    command: str, quiet: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the listing, and in a note that says what the log has."""
    arguments = [
        command,
        str(LOG),
        "-S",
        "10:00",
        "--year",
        "2024",
        "--tz",
        "UTC",
        *(["-q"] if quiet else []),
    ]
    assert main(arguments) == 0
    output, errors = capfd.readouterr()
    assert output.startswith("No ")
    assert output.endswith(" 10:00:00 UTC.\n")
    told = "(a time without a date is today's); what was read is of 2024-11-22 09:18 – 09:20 UTC" in errors
    assert told == (not quiet)


def test_times_without_zone_are_in_the_configured_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, "tz = 'Asia/Tokyo'", flags={"since": "1970-01-02"}).since == 15 * 3600 * SECOND


def test_a_log_format_is_no_path(tmp_path: Path) -> None:
    """Its colons and slashes stay, in a file and in the environment."""
    (tmp_path / "logscope.toml").write_text("log_format = '%ci:%cp %b/%s'\n")
    assert load({}, {}, tmp_path, NOW).log_formats == ("%ci:%cp %b/%s",)
    assert load({}, {"LOGSCOPE_LOG_FORMAT": "%ci:%cp"}, tmp_path, NOW).log_formats == ("%ci:%cp",)
