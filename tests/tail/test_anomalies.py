"""`logscope tail --anomalies`: told beside the sessions, and only what makes sense is taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from anomalies.holdout import Fault, Week

from logscope.cli.main import main
from logscope.cli.unusual import Unusual
from logscope.detect.anomalies import READS
from logscope.detect.anomalies.live import LiveFinder
from logscope.live import Live

HOUR = 3600
NOTHING = pa.RecordBatch.from_pylist([], pa.schema([]))


class Told:
    """Alerts that are only noted."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def finding(self, finding: Any) -> None:
        self.kinds.append(finding.kind)


def test_a_finding_is_told_once_to_the_user_and_to_whom_alerts_go() -> None:
    told: list[str] = []
    alerts = Told()
    view = Unusual(LiveFinder(), told.append, cast(Any, alerts))
    week = Week(22, 20_000, [Fault("volume_surge", 4 * HOUR, 1200, 5.0)], days=0.25, lines=False)
    for _, batch in week.batches():
        names = [name for name in READS["sessions"] if name in batch.schema.names]
        finished = SimpleNamespace(
            count=batch.num_rows, sessions=lambda wanted, rows=batch: rows.select(
                [name for name in wanted if name in rows.schema.names]
            ), new=lambda rows: rows, message_table=lambda _: NOTHING, delivery_table=lambda _: NOTHING,
        )  # fmt: skip
        assert names
        view.show(finished, cast(Live, SimpleNamespace(closing=False)))
        view.pause(cast(Live, SimpleNamespace(closing=True, busy=False)))
    assert alerts.kinds == ["surge"]
    assert [line.split(" ")[0] for line in told][:1] == ["warning"]
    assert sum("More sessions than usual" in line for line in told) == 1


@pytest.mark.parametrize("other", [["--events"], ["--state", "kept"]])
def test_what_cannot_be_together_is_refused(
    other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", "--anomalies", *other, str(tmp_path / "mail.log")]) == 2
    assert "--anomalies looks at sessions" in capsys.readouterr().err


@pytest.mark.parametrize(
    "how",
    [
        ["--baseline", "usual.json"],
        ["--sensitivity", "high"],
        ["--maintenance", "22:00/23:30"],
        ["--allow-client", "192.0.2.9"],
    ],
)
def test_how_to_judge_without_the_question_is_refused(
    how: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", *how, "mail.log"]) == 2
    assert "Add --anomalies" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (["--allow-client", "nobody"], "--allow-client: 'nobody'"),
        (["--sensitivity", "very"], "--sensitivity: 'very' is no level"),
        (["--maintenance", "22:00"], "--maintenance: '22:00' has no end"),
    ],
)
def test_how_to_judge_has_to_make_sense(
    how: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", "--anomalies", *how, "mail.log"]) == 2
    assert complaint in capsys.readouterr().err
