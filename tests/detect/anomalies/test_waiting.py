"""Which deferral is a recipient's first, and which delivery ends its wait."""

from __future__ import annotations

import pyarrow as pa

from logscope.detect.anomalies.columns import Columns, encoded
from logscope.detect.anomalies.waiting import WaitingMail


def look(waiting: WaitingMail, *rows: tuple[str, str, str, float]) -> tuple[list[bool], list[bool]]:
    ids, recipients, statuses, delays = zip(*rows, strict=True)
    batch = pa.record_batch({"queue_id": list(ids), "delay_s": list(delays)})
    deferred = pa.array([status == "deferred" for status in statuses]).to_numpy(zero_copy_only=False)
    first, done = waiting.look(Columns(batch), encoded(pa.array(recipients)), deferred)
    return first.tolist(), done.tolist()


def test_a_retry_is_not_another_recipient_that_waits() -> None:
    waiting = WaitingMail()
    first, _ = look(
        waiting,
        ("4aA", "a@dest.example", "deferred", 2),
        ("4aA", "b@dest.example", "deferred", 2),
        ("4aA", "a@dest.example", "deferred", 302),
    )
    assert first == [True, True, False]
    first, done = look(
        waiting,
        ("4aB", "a@dest.example", "sent", 1),
        ("4aA", "a@dest.example", "sent", 900),
        ("4aA", "a@dest.example", "sent", 900),
    )
    assert (first, done) == ([False] * 3, [False, True, False])


def test_without_queue_ids_every_deferral_counts() -> None:
    columns = Columns(pa.record_batch({"delay_s": [1.0, 2.0]}))
    deferred = pa.array([True, True]).to_numpy(zero_copy_only=False)
    first, done = WaitingMail().look(columns, encoded(pa.array(["a@x.example"] * 2)), deferred)
    assert (first.tolist(), done.tolist()) == ([True, True], [False, False])
