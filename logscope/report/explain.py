"""What logscope sees in a line, and where it stopped understanding it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from logscope.report.model import Cell, Facts, Item, Note, Report, Section

if TYPE_CHECKING:
    from logscope.grammar.explain import Attempt, Explanation
    from logscope.grammar.model import Template
    from logscope.grammar.suggest import Suggestion


_YEARLESS = "2000-"


def explain_report(
    explanations: Sequence[Explanation], drafts: Mapping[int, Suggestion] | None = None
) -> Report:
    """One section for each line; `drafts` are templates for some of them, by place."""
    drafts = drafts or {}
    sections = tuple(_section(one, drafts.get(place)) for place, one in enumerate(explanations))
    documents = [_document(one, drafts.get(place)) for place, one in enumerate(explanations)]
    return Report("explain", "Explain", sections, {"lines": documents})


def _section(one: Explanation, draft: Suggestion | None) -> Section:
    items: list[Item] = [Note(one.line, "strong")]
    if one.envelope is not None:
        items.append(_fields(f"envelope: {one.envelope.kind}", one.envelope, _own(one.envelope_values)))
    if one.template is not None:
        items.append(_fields(f"{one.kind} (grammar {one.template.grammar})", one.template, one.values))
        if not one.template.structured:
            items.append(
                Note("Understood only roughly: some of what varies in it is not a field of its own.", "warn")
            )
    else:
        items.append(Note(f"{one.kind}: {one.reason}", "quiet" if one.kind == "foreign" else "warn"))
        items += [_attempt(one.message, attempt) for attempt in one.nearest]
    if draft is not None:
        title = "A draft: look over names and types, then keep it as a file and try it with --grammar FILE."
        items.append(Note(title, "plain", tuple(draft.toml.splitlines())))
    return Section("", tuple(items))


def _fields(title: str, template: Template, values: Mapping[str, Any]) -> Facts:
    rows = [(title, Cell(template.source, "quiet"))]
    rows += [(f"  {name}", Cell(str(value))) for name, value in values.items() if value is not None]
    return Facts(tuple(rows))


def _attempt(message: str, attempt: Attempt) -> Note:
    """The message with a mark under the place where a template stopped matching."""
    before = max(0, attempt.mismatch.column - 1 - 40)
    shown = message[before : before + 72]
    mark = " " * (attempt.mismatch.column - 1 - before) + "^"
    title = f"{attempt.template.kind}: {attempt.mismatch}"
    return Note(title, "plain", (attempt.template.text, shown, mark))


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an envelope says beside the message. A stamp without a year is read as of the leap year 2000, of
    which no log is left.
    """
    own = {name: value for name, value in values.items() if name != "message"}
    stamp = str(own.get("stamp", ""))
    if stamp.startswith(_YEARLESS):
        own["stamp"] = f"{stamp.removeprefix(_YEARLESS).replace('T', ' ')} (no year)"
    return own


def _document(one: Explanation, draft: Suggestion | None) -> dict[str, Any]:
    return {
        "line": one.line,
        "kind": one.kind,
        "grammar": one.template.grammar if one.template else None,
        "reason": one.reason or None,
        "envelope": {name: _plain_value(value) for name, value in _own(one.envelope_values).items()},
        "fields": {name: _plain_value(value) for name, value in one.values.items()},
        "nearest": [
            {
                "kind": attempt.template.kind,
                "text": attempt.template.text,
                "column": one.column + attempt.mismatch.column - 1,
                "problem": str(attempt.mismatch),
            }
            for attempt in one.nearest
        ],
        **({"draft": draft.toml} if draft else {}),
    }


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain_value(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(entry) for entry in value]
    return str(value)
