"""The masking verdict for people: does the balancer hide our clients' addresses, where, and what to change.

The verdict itself is made in `detect`; this turns its document into sentences and a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from logscope.report.model import Cell, Column, Facts, Item, Note, Report, Section, Table
from logscope.report.text import visible
from logscope.report.wording import number, share, span

if TYPE_CHECKING:
    from logscope.report.tones import Tone

_Target = Mapping[str, Any]

_HEADLINES: dict[str, tuple[str, Tone]] = {
    "passed": ("Clients' addresses reach the mail servers.", "good"),
    "masked": ("MASKED: the mail servers see the balancer's address instead of their clients'.", "bad"),
    "masked_upstream": (
        "MASKED before the balancer: balancer and mail servers agree on a gateway's address.",
        "bad",
    ),
    "mixed": ("MIXED: some servers see their clients' addresses, others do not.", "bad"),
    "unexpected_header": (
        "HEADER MISMATCH: the balancer sends a PROXY header that the mail server does not expect.",
        "bad",
    ),
    "missing_header": (
        "HEADER MISMATCH: the mail server expects a PROXY header that the balancer does not send.",
        "bad",
    ),
    "unknown": ("Whether clients' addresses reach the mail servers cannot be told from these logs.", "warn"),
}
VERDICTS = tuple(_HEADLINES)
_COLUMNS = (
    Column("target", keep=10),
    Column("verdict", keep=9),
    Column("masked", right=True, keep=7),
    Column("confidence", keep=5),
    Column("since (UTC)", keep=4),
    Column("host", keep=2),
)


def tone_of(verdict: str) -> Tone:
    """What a verdict means for the person who reads it."""
    return _HEADLINES[verdict][1]


_REFUSING = ("unexpected_header", "missing_header")


def _headline(document: Mapping[str, Any]) -> tuple[str, Tone]:
    """The verdict in a sentence; of a mixture in which nothing but a mismatch is wrong, that."""
    wrong = {target["verdict"] for target in document["targets"]} - {"passed", "unknown"}
    if document["verdict"] == "mixed" and len(wrong) == 1 and wrong <= set(_REFUSING):
        return _HEADLINES[wrong.pop()]
    return _HEADLINES[document["verdict"]]


def headline(document: Mapping[str, Any]) -> list[Note]:
    """What cannot wait, and the verdict in a sentence, with the targets it is about and the step to take."""
    return [*_alarms(document), _verdict(document)]


def _verdict(document: Mapping[str, Any]) -> Note:
    text, tone = _headline(document)
    wrong = [target for target in document["targets"] if tone_of(target["verdict"]) == "bad"]
    if not wrong or len(wrong) == len(document["targets"]):
        return Note(text, tone, _next(document["verdict"], tone))
    named = ", ".join(_name(target) for target in wrong)
    return Note(f"{text} Affected: {named}.", tone, _next(document["verdict"], tone))


def _alarms(document: Mapping[str, Any]) -> list[Note]:
    """What cannot wait, whatever else is said: mail that is refused, and an open relay."""
    found = [Note(f"OUTAGE: {text}", "bad") for text in _outages(document)]
    relays = {
        one["text"]: None
        for target in document["targets"]
        for one in _evidence(target).get("consequences") or ()
        if one["kind"] == "open_relay" and one["severity"] == "critical"
    }
    return found + [Note(text, "bad") for text in relays]


def _outages(document: Mapping[str, Any]) -> list[str]:
    """Ways on which mail is refused now, and were when the logs ended."""
    refusing = [target for target in document["targets"] if _refuses(target)]
    if not refusing:
        return []
    names = ", ".join(_name(target) for target in refusing)
    return [f"mail through {names} is being refused."]


def _refuses(target: _Target) -> bool:
    states = _evidence(target).get("states") or ()
    last = states[-1]["verdict"] if states else target["verdict"]
    return last in _REFUSING


def masking_report(document: Mapping[str, Any]) -> Report:
    """The report.

    Args:
        document: `{"verdict": …, "targets": [{"frontend", "backend", "server", "mta_host", "verdict", …}]}`.
    """
    text, tone = _headline(document)
    targets = document["targets"]
    items: list[Item] = [*_alarms(document), Note(text, tone)]
    if targets:
        items.append(Table(_COLUMNS, tuple(_row(target) for target in targets)))
    sections = [Section("", tuple(items))]
    told: dict[tuple[str, ...], _Target] = {}
    sections += [_detail(target, told) for target in targets if target["verdict"] != "passed"]
    sections += _beside(targets, told)
    return Report("masking", "Masking", tuple(sections), document)


def _beside(targets: Iterable[_Target], told: dict[tuple[str, ...], _Target]) -> list[Section]:
    """What else is to be seen where all is well."""
    passed = [target for target in targets if target["verdict"] == "passed"]
    found = [(target, _signs(target, told)) for target in passed]
    return [Section(_name(target), tuple(items)) for target, items in found if items]


def _next(verdict: str, tone: Tone) -> tuple[str, ...]:
    if tone == "good":
        return ()
    what = "says what is missing" if verdict == "unknown" else "shows the evidence and what to change"
    return (f"`logscope masking` with the same files {what}.",)


def _evidence(target: _Target) -> Mapping[str, Any]:
    return target.get("evidence") or {}


def _row(target: _Target) -> tuple[Cell, ...]:
    verdict = target["verdict"]
    masked = target.get("share_masked")
    return (
        Cell(_name(target), "strong"),
        Cell(verdict, tone_of(verdict)),
        Cell("–" if masked is None else share(masked, 1)),
        Cell(_plain(target.get("confidence"))),
        Cell(_time(target.get("since")), "quiet"),
        Cell(_plain(target.get("mta_host")), "quiet"),
    )


def _detail(target: _Target, told: dict[tuple[str, ...], _Target]) -> Section:
    """All about one target.

    Args:
        told: remedies that have been told, by what they say apart from names; added to.
    """
    items: list[Item] = []
    if target.get("cause"):
        items.append(Note(str(target["cause"]), tone_of(target["verdict"])))
    items += _history(target)
    items += _consequences(target, told)
    items += _signs(target, told)
    evidence = _evidence(target)
    counts = [
        (name.replace("_", " "), Cell(number(count)))
        for name, count in evidence.items()
        if isinstance(count, int) and count and name != "ongoing"
    ]
    if counts:
        items.append(Facts(tuple(counts)))
    if lines := evidence.get("examples"):
        items.append(Note("Examples:", "quiet", tuple(_line(line) for line in lines)))
    if lines := (evidence.get("configured") or {}).get("lines"):
        items.append(Note("Configured:", "quiet", tuple(_configured(line) for line in lines)))
    if target.get("remedy"):
        items.append(_remedy(target, told))
    return Section(_name(target), tuple(items) or (Note("Nothing more is known.", "quiet"),))


_SEVERITIES: dict[str, Tone] = {"critical": "bad", "warning": "warn", "info": "plain"}


def _consequences(target: _Target, told: dict[tuple[str, ...], _Target]) -> list[Item]:
    """What followed; where another target has the same listener and addresses, only that."""
    found = _evidence(target).get("consequences") or ()
    if not found:
        return []
    alike = told.setdefault(("consequences", *(str(one["text"]) for one in found)), target)
    if alike is not target:
        return [Note(f"What followed: the same as for {_name(alike)}.", "plain")]
    return [Note(one["text"], _SEVERITIES[one["severity"]], _followed(one)) for one in found]


def _signs(target: _Target, told: dict[tuple[str, ...], _Target]) -> list[Item]:
    """What else the logs show of its listener, each once."""
    new = [
        one
        for one in _evidence(target).get("signs") or ()
        if told.setdefault(("sign", str(one["text"])), target) is target
    ]
    return [Note(one["text"], _SEVERITIES[one["severity"]]) for one in new]


def _followed(one: Mapping[str, Any]) -> tuple[str, ...]:
    """The evidence of a consequence."""
    ids = one.get("queue_ids") or ()
    more = "" if len(ids) >= one["count"] else f" and {one['count'] - len(ids)} more"
    named = (f"queue ids: {' '.join(ids)}{more}",) if ids else ()
    return (*named, *(_line(line) for line in one["examples"][:1]))


_STATES = (
    Column("from (UTC)", keep=9),
    Column("to", keep=7),
    Column("state", keep=8),
    Column("sessions", right=True, keep=5),
)


def _history(target: _Target) -> list[Item]:
    """What held when, if it changed, and what was done before."""
    states = _evidence(target).get("states") or []
    items: list[Item] = []
    if began := _began(target):
        items.append(Note(began, "plain"))
    if len(states) > 1:
        items.append(Table(_STATES, tuple(_state_row(state) for state in states)))
    return items


def _began(target: _Target) -> str:
    """Since when, until when, and after what."""
    if not target.get("since"):
        return ""
    if len(_evidence(target).get("states") or []) < 2:
        return f"Since {_time(target['since'])} UTC at least, where these sessions begin in the logs."
    text = f"Since {_time(target['since'])} UTC"
    change = _evidence(target).get("began_after")
    if change:
        where = f" on {change['host']}" if change.get("host") else ""
        text += f", {_after(change['seconds_before'])} {change['what']}{where} ({_time(change['at'])})"
    if not _evidence(target).get("ongoing"):
        text += f"; over since {_time(target['until'])}"
    return text + "."


def _after(seconds: int) -> str:
    return "just after" if seconds < 5 else f"{span(1000 * seconds)} after"


def _state_row(state: Mapping[str, Any]) -> tuple[Cell, ...]:
    verdict = state["verdict"]
    shares = ", ".join(
        f"{share(part, 1)} {kind.replace('_', ' ')}" for kind, part in sorted(state["shares"].items())
    )
    named = f"{verdict} ({shares})" if verdict == "mixed" else verdict
    return (
        Cell(_time(state["since"]), "quiet"),
        Cell(_time(state["until"]), "quiet"),
        Cell(named, tone_of(verdict)),
        Cell(number(state["sessions"])),
    )


def _time(stamp: str | None) -> str:
    """A time of the document, to the second."""
    return _plain(stamp)[:19].replace("T", " ")


def _remedy(target: _Target, told: dict[tuple[str, ...], _Target]) -> Note:
    """The steps; where another target has the same ones, only that, since they are long."""
    steps = tuple(target["remedy"])
    alike = told.setdefault(("steps", *steps), target)
    if alike is not target:  # steps that mend both at once
        return Note(f"What to do: the steps that are told for {_name(alike)}.", "strong")
    alike = told.setdefault(tuple(_unnamed(step, target) for step in steps), target)
    if alike is not target:
        return Note(f"What to do: the same as for {_name(alike)}, at this server.", "strong")
    return Note("What to do:", "strong", tuple(f"{place}. {step}" for place, step in enumerate(steps, 1)))


def _unnamed(step: str, target: _Target) -> str:
    for name in ("server", "mta_host"):
        step = step.replace(str(target[name]), f"({name})") if target.get(name) else step
    return step


def _configured(line: Mapping[str, Any]) -> str:
    where = f"{line['file']}:{line['line']}" if line["line"] else line["file"]
    return visible(f"{where}: {line['text']}".rstrip(": "))


def _line(line: Any) -> str:
    """An example line, given as text or as a mapping with its place."""
    if not isinstance(line, Mapping):
        return visible(str(line))
    where = f"{line.get('source')}:{line.get('line_number')}: " if line.get("line_number") else ""
    return where + visible(str(line.get("text") or line.get("line") or ""))


def _name(target: _Target) -> str:
    """`frontend → backend/server`, with what is known."""
    backend = "/".join(str(target[part]) for part in ("backend", "server") if target.get(part))
    where = backend or str(target.get("mta_host") or target.get("service") or "(target not known)")
    family = f" {target['family']}" if target.get("family") else ""
    return (f"{target['frontend']} → {where}" if target.get("frontend") else where) + family


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
