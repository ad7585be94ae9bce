"""Verdicts by configuration alone, and beside the logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logscope.detect.masking import exit_status, of_configuration, with_configuration
from logscope.site import Site
from logscope.site.learn import learn
from tests.detect.scenes import Scene

CFG = """\
frontend ft_smtp
    bind :25
    default_backend bk_smtp
frontend ft_inner
    bind :2525 accept-proxy
    default_backend bk_smtp
backend bk_smtp
    server mx-a 10.0.0.11:10024{options}
"""
MASTER = "10024 inet n - n - 1 postscreen\n"
EXPECTED = MASTER + "  -o postscreen_upstream_proxy_protocol=haproxy\n"


def site(home: Path, options: str = "", master: str | None = MASTER) -> tuple[Site, dict[str, str]]:
    cfg = home / "haproxy.cfg"
    cfg.write_text(CFG.format(options=options))
    texts = {str(cfg): cfg.read_text()}
    if master is None:
        return learn([str(cfg)], []), texts
    for name, text in (("main.cf", "myhostname = mx-a.example.com\n"), ("master.cf", master)):
        (home / name).write_text(text)
        texts[str(home / name)] = text
    return learn([str(cfg)], [f"mx-a={home}"]), texts


@pytest.mark.parametrize(
    ("options", "master", "verdict", "status"),
    [
        ("", MASTER, "masked", 1),
        (" send-proxy", MASTER, "unexpected_header", 1),
        ("", EXPECTED, "missing_header", 1),
        (" send-proxy-v2", EXPECTED, "passed", 0),
        (" source 0.0.0.0 usesrc clientip", MASTER, "passed", 0),
        ("", None, "unknown", 3),
    ],
)
def test_by_configuration_alone(
    tmp_path: Path, options: str, master: str | None, verdict: str, status: int
) -> None:
    document = of_configuration(*site(tmp_path, options, master))
    assert document["verdict"] == verdict
    assert exit_status(document) == status
    assert [target["frontend"] for target in document["targets"]] == ["ft_smtp", "ft_inner"]
    for target in document["targets"]:
        assert bool(target["remedy"]) == (status == 1)
        assert "haproxy.cfg:8" in target["cause"]


def judged(scene: Scene, tmp_path: Path, options: str, master: str = MASTER) -> dict[str, Any]:
    known, texts = site(tmp_path, options, master)
    document = with_configuration(scene.document(), known, texts)
    [target] = document["targets"]
    return target


def scene(what: str) -> Scene:
    found = Scene()
    getattr(found, what)("mx-a", "mx-a", 30)
    return found


def test_what_was_found_is_mended_in_the_files(tmp_path: Path) -> None:
    target = judged(scene("by_port"), tmp_path, "")
    assert target["evidence"]["configured"]["verdict"] == "masked"
    assert any("+10.0.0.11:10125" in step for step in target["remedy"])
    lines = target["evidence"]["configured"]["lines"]
    assert [(Path(line["file"]).name, line["line"]) for line in lines] == [
        ("haproxy.cfg", 8),
        ("master.cf", 1),
    ]


def test_a_file_that_is_not_in_force_is_told_as_such(tmp_path: Path) -> None:
    target = judged(scene("by_port"), tmp_path, " send-proxy", EXPECTED)
    assert target["verdict"] == "masked"
    assert "not what ran" in target["cause"]
    assert "postfix reload" in target["remedy"][0]


def test_what_has_been_mended_needs_no_step(tmp_path: Path) -> None:
    found = Scene().by_port("mx-a", "mx-a", 30).passed("mx-a", "mx-a", 60)
    target = judged(found, tmp_path, " send-proxy", EXPECTED)
    assert "has been since" in target["cause"]
    assert not any("not in force" in step for step in target["remedy"])


def test_a_target_that_the_logs_leave_open_has_the_verdict_of_the_files(tmp_path: Path) -> None:
    found = Scene().lone("mx-a", 30)
    target = judged(found, tmp_path, "")
    assert target["verdict"] == "masked"
    assert target["confidence"] < 0.5


def test_what_passes_needs_nothing(tmp_path: Path) -> None:
    target = judged(scene("passed"), tmp_path, " send-proxy", EXPECTED)
    assert (target["verdict"], target["remedy"]) == ("passed", [])


def test_a_header_expected_by_smtpd_behind_postscreen_is_told(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(CFG.format(options=" send-proxy"))
    (tmp_path / "main.cf").write_text("smtpd_upstream_proxy_protocol = haproxy\n")
    (tmp_path / "master.cf").write_text(MASTER)
    document = of_configuration(learn([str(tmp_path / "haproxy.cfg")], [f"mx-a={tmp_path}"]), {})
    assert document["verdict"] == "unexpected_header"
    assert "postscreen takes the connection" in document["targets"][0]["cause"]
