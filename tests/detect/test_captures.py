"""The verdict on captures of real daemons: the samples, and what is left of them when a log is missing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from logscope.detect.masking import READS, Judge, missing
from logscope.grammar import catalogue
from logscope.pipeline import Options, run
from logscope.sources import open_inputs

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FORMS = (".", "rfc3339")  # directories of a capture
EXPECTED = {
    "proxy-v1": {"mx-a": "passed", "mx-b": "passed"},
    "masked": {"mx-a": "masked", "mx-b": "masked"},
    "partial-mask": {"mx-a": "passed", "mx-b": "masked"},
}
OVERALL = {"proxy-v1": "passed", "masked": "masked", "partial-mask": "mixed"}


def document(*paths: Path) -> dict[str, Any]:
    """The verdict on some logs."""
    judge = Judge()
    with open_inputs([str(path) for path in paths]) as inputs:
        tables = {"sessions": (*READS, "events")}
        options = Options(machine_code=False)
        result = run(
            inputs.sources, catalogue.load(), options, tables, lambda _table, batch: judge.add(batch)
        )
    return judge.document(result.signals)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("capture", EXPECTED)
def test_samples(capture: str, form: str) -> None:
    found = document(*(SAMPLES / capture / form / name for name in ("haproxy.log", "mail.log")))
    assert {target["server"]: target["verdict"] for target in found["targets"]} == EXPECTED[capture]
    assert found["verdict"] == OVERALL[capture]
    assert {target["mta_host"] for target in found["targets"]} == {"mx-a", "mx-b"}
    assert {target["service"] for target in found["targets"]} == {"postfix/postscreen"}


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_files_does_not_matter(form: str) -> None:
    paths = [SAMPLES / "partial-mask" / form / name for name in ("haproxy.log", "mail.log")]
    assert document(*paths) == document(*reversed(paths))


def test_masking_is_dated_to_its_first_and_last_session() -> None:
    capture = SAMPLES / "masked"
    found = document(capture / "haproxy.log", capture / "mail.log")
    lines = (capture / "haproxy.log").read_text().splitlines()
    accepted = [line.split("[22/Nov/2026:")[1][:12] for line in lines if "[22/Nov/2026:" in line]
    since = min(datetime.fromisoformat(target["since"]) for target in found["targets"])
    until = max(datetime.fromisoformat(target["until"]) for target in found["targets"])
    assert f"{since:%H:%M:%S.%f}"[:12] == min(accepted)
    assert f"{until:%H:%M:%S.%f}"[:12] == max(accepted)


def test_example_lines_show_the_balancers_address() -> None:
    capture = SAMPLES / "masked"
    found = document(capture / "haproxy.log", capture / "mail.log")
    for target in found["targets"]:
        lines = [
            Path(line["source"]).read_text().splitlines()[line["line_number"] - 1]
            for line in target["evidence"]["examples"]
        ]
        assert any(
            f"{target['mta_host']} postfix/postscreen" in line and "172.20.5.4" in line for line in lines
        )
        assert any(f"bk_postfix/{target['server']} " in line for line in lines)


@pytest.mark.parametrize("capture", EXPECTED)
@pytest.mark.parametrize(
    ("log", "said"), [("haproxy.log", "No line of Postfix"), ("mail.log", "No line of HAProxy was read")]
)
def test_one_log_alone_is_not_enough(capture: str, log: str, said: str) -> None:
    found = document(SAMPLES / capture / log)
    assert found["verdict"] == "unknown"
    assert said in " ".join(missing(found))
