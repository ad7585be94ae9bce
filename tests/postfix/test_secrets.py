"""Nothing that a client logs in with is shown, whatever shows it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.cli.main import main
from logscope.postfix.secrets import HIDDEN, redacted, redacted_line

SECRET = base64.b64encode(b"\0alice\0open sesame").decode()
SAID = (
    "PREGREET 52 after 0.04 from [192.0.2.10]:41522: EHLO x\\r\\nAUTH PLAIN %s\\r\\n",
    "PREGREET 52 after 0.04 from [2001:db8::9]:41522: AUTH LOGIN\\r\\n%s\\r\\n",
    "COMMAND PIPELINING from [192.0.2.10]:41522 after AUTH: %s\\r\\n",
    "COMMAND PIPELINING from [192.0.2.10]:41522 after EHLO: auth login %s\\r\\nMAIL FROM:<a@b.example>\\r\\n",
    "NON-SMTP COMMAND from [192.0.2.10]:41522 after AUTH: %s",
    "BARE NEWLINE from [192.0.2.10]:41522 after EHLO: AUTH PLAIN %s",
)
SAID_TO_SMTPD = (
    "improper command pipelining after AUTH from unknown[192.0.2.77]: %s\\r\\n",
    "improper command pipelining after EHLO from unknown[2001:db8::7]:41522: AUTH PLAIN %s\\r\\n",
    "warning: non-SMTP command from unknown[192.0.2.77]: AUTH LOGIN %s",
    "something that nobody has a template for AUTH CRAM-MD5 %s",
)
COMMANDS = (
    ("parse",), ("parse", "-o", "jsonl"), ("parse", "-o", "csv"), ("parse", "--unparsed"),
    ("sessions", "-o", "jsonl"), ("trace", "192.0.2.10"), ("trace", "192.0.2.77", "-o", "jsonl"),
    ("masking",),
    ("tail", "--no-follow"), ("tail", "--no-follow", "--events"),
    ("tail", "--no-follow", "--events", "-o", "jsonl"), ("anomalies",), ("readiness",),
)  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    with path.open("w") as file:
        for daemon, texts in (("postscreen", SAID), ("smtpd", SAID_TO_SMTPD)):
            for text in texts:
                file.write(f"Nov 22 09:18:54 mx-a postfix/{daemon}[11]: {text % SECRET}\n")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_it(command: tuple[str, ...], log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main([*command, str(log), "--year", "2026"])
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    if command[0] == "parse":
        assert HIDDEN in said.out


@pytest.mark.parametrize("text", SAID + SAID_TO_SMTPD)
def test_explain_shows_it_neither(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    line = f"Nov 22 09:18:54 mx-a postfix/{'smtpd' if text in SAID_TO_SMTPD else 'postscreen'}[11]: {text}"
    main(["explain", "--suggest", line % SECRET])
    assert SECRET not in capfd.readouterr().out
    assert redacted_line(line % SECRET).endswith(HIDDEN)


@pytest.mark.parametrize(
    "text",
    [
        "EHLO x\\r\\n",
        "AUTH PLAIN\\r\\n",
        "AUTH",
        "lost connection after AUTH from unknown[192.0.2.77]",
        "said: 530 5.7.0 Must issue an AUTH LOGIN first",
        "warning: AUTH command rate limit exceeded: 31 from unknown[192.0.2.77] for service smtp",
        "warning: unknown[192.0.2.77]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted_line(text) == text


@given(st.text(), st.sampled_from(["AUTH PLAIN ", "auth\tlogin\\r\\n", "Auth XOAUTH2 \r\n"]), st.text())
def test_nothing_behind_a_login_is_left(before: str, login: str, after: str) -> None:
    found = redacted(before + "\\r\\n" + login + SECRET + after)
    assert SECRET not in found
    assert redacted(found) == found
