"""Changes of configuration files as diffs that `patch` takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from logscope.detect.remedies.edits import HIDDEN, Draft

MASTER = """\
smtp      inet  n       -       n       -       1       postscreen
  -o soft_bounce=yes
# a comment among the options

  -o smtpd_banner=x

# of the next
submission inet n       -       n       -       -       smtpd
"""


def test_a_block_is_a_line_with_what_continues_it() -> None:
    draft = Draft("master.cf", MASTER)
    assert draft.block(1) == [1, 2, 3, 4, 5]
    assert draft.block(8) == [8]


def test_lines_keep_their_numbers_while_others_come_and_go() -> None:
    draft = Draft("x", "a\nb\nc\n")
    draft.insert_after(1, ["new"])
    draft.insert_after(0, ["first"])
    draft.remove([2])
    draft.replace(3, "C")
    draft.append(["last"])
    assert draft.text == "first\na\nnew\nC\nlast\n"
    assert draft.line(2) == ""


def test_each_diff_tells_what_changed_since_the_one_before(tmp_path: Path) -> None:
    draft = Draft("/etc/postfix/master.cf", MASTER)
    draft.insert_after(5, ["  -o late=1"])
    one = draft.diff()
    draft.remove([8])
    other = draft.diff()
    assert draft.diff() == ""
    (tmp_path / "etc/postfix").mkdir(parents=True)
    file = tmp_path / "etc/postfix/master.cf"
    file.write_text(MASTER)
    for diff in (one, other):
        subprocess.run(["patch", "-p1", "-d", str(tmp_path)], input=diff, text=True, check=True, stdout=-3)
    assert file.read_text() == draft.text


def test_passwords_are_not_shown() -> None:
    text = "a\nstats auth admin:hunter2\nb\nc\n"
    draft = Draft("haproxy.cfg", text)
    draft.replace(3, "B")
    assert "hunter2" not in draft.diff()
    draft.replace(2, "stats auth admin:hunter3")
    assert HIDDEN in draft.diff()
