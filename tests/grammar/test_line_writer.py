"""Writing many lines gives the same text as writing one."""

from __future__ import annotations

from logscope.grammar import catalogue
from logscope.grammar.errors import RenderError
from logscope.grammar.render import LineWriter, render_kind


def test_every_sample_is_written_as_alone() -> None:
    """Once while its plan is made, and once by the plan."""
    loaded = catalogue.load()
    writer = LineWriter(loaded)
    written = 0
    for template in loaded.templates:
        for sample in loaded.details[template.id].samples:
            values = dict(sample.values)
            try:
                expected = render_kind(loaded, template.kind, values)
            except RenderError:
                continue  # an earlier template of the kind claims some of these fields
            assert [writer.write(template.kind, values) for _ in range(2)] == [expected] * 2
            written += 1
    assert written > 2000


def test_a_plan_is_left_when_its_values_do_not_fit() -> None:
    """The same fields take another alternative: `PROXY UNKNOWN` has no room for addresses."""
    writer = LineWriter(catalogue.load())
    values = {"queue_id": "A1B2C", "recipient": "a@b.example", "relay": "none", "delay_s": 1, "reply": "x"}
    values |= dict.fromkeys(
        ("delay_before_queue_s", "delay_in_queue_s", "delay_connect_s", "delay_transmit_s"), 0.25
    )
    values |= {"dsn": "2.0.0", "status": "sent"}
    first = writer.write("smtp.delivery", values)
    assert writer.write("smtp.delivery", values | {"status": "deferred"}) == first.replace(
        b"=sent", b"=deferred"
    )
