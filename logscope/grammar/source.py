"""Grammar files as they are written: TOML read into checked values, without looking into the templates.

name = "postscreen"                    title = "Postfix postscreen(8)" programs = ["postscreen"]
last part of the syslog tag; "*" any Postfix daemon, "haproxy", "envelope" use = ["postfix-macros"]
grammars whose [macros] are visible here [macros]                               name = 'template text'
[[template]]                           kind, text, since, until, severity, source, structured, samples,
near_misses
[tags]                                 balancer = 'haproxy': whose lines come under a name of the site's own,
a log-tag, or with 'name/' = '*' a syslog_name
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logscope.errors import GrammarError, Place
from logscope.unreadable import reason, toml_mistake


@dataclass(frozen=True, slots=True)
class Sample:
    """A line (without its envelope) and every value in it."""

    line: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """One `[[template]]` as written.

    `structured` is false for a catch-all: it keeps as text what varies, and its lines do not count as
    understood whole.
    """

    kind: str
    text: str
    since: str = ""
    until: str = ""
    severity: str = "info"
    source: str = ""
    structured: bool = True
    samples: tuple[Sample, ...] = ()
    near_misses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """One grammar file as written."""

    file: str
    name: str
    title: str
    programs: tuple[str, ...]
    use: tuple[str, ...]
    macros: Mapping[str, str]
    templates: tuple[TemplateSource, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


_KEYS = {"name", "title", "programs", "use", "macros", "template", "tags"}
_WHOSE = ("haproxy", "*")
_TEMPLATE_KEYS = set(TemplateSource.__slots__)
_REQUIRED = ("kind", "text")


def read_file(path: Path) -> GrammarSource:
    """Read a grammar file.

    Raises:
        GrammarError: it cannot be read, is not TOML, or has keys that mean nothing.
    """
    try:
        return read_text(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise GrammarError(f"cannot be read: {reason(error)}", place=Place(str(path))) from error


def read_text(text: str, file: str) -> GrammarSource:
    """Read the text of a grammar file; `file` is for messages."""
    try:
        return from_mapping(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        hint = "Write template text in single quotes ('...'): nothing is an escape there."
        message, place, _ = toml_mistake(file, text, error)
        raise GrammarError(f"is not TOML: {message}", place=place, hint=hint) from error


def from_mapping(content: Mapping[str, Any], file: str) -> GrammarSource:
    """A grammar from what its TOML would contain; this is how a translated log-format becomes one."""
    _refuse_unknown(set(content) - _KEYS, _KEYS, file)
    name = content.get("name")
    if not isinstance(name, str) or not name:
        raise GrammarError("has no name; add  name = '...'  at the top", place=Place(file))
    return GrammarSource(
        file=file,
        name=name,
        title=_text(content, "title", file),
        programs=_texts(content, "programs", file),
        use=_texts(content, "use", file),
        macros={
            key: _text(content.get("macros", {}), key, f"{file}: macro {key}")
            for key in content.get("macros", {})
        },
        templates=tuple(
            _template(entry, number, file) for number, entry in enumerate(content.get("template", []), 1)
        ),
        tags=_tags(content.get("tags", {}), file),
    )


def _template(entry: Mapping[str, Any], number: int, file: str) -> TemplateSource:
    place = f"{file}: {entry.get('kind') or f'template {number}'}"
    _refuse_unknown(set(entry) - _TEMPLATE_KEYS, _TEMPLATE_KEYS, place)
    for key in _REQUIRED:
        if not entry.get(key):
            raise GrammarError(f"has no {key}", place=Place(place))
    return TemplateSource(
        kind=_text(entry, "kind", place),
        text=_text(entry, "text", place),
        since=_text(entry, "since", place),
        until=_text(entry, "until", place),
        severity=_text(entry, "severity", place) or "info",
        source=_text(entry, "source", place),
        structured=bool(entry.get("structured", True)),
        samples=tuple(_sample(sample, place) for sample in entry.get("samples", [])),
        near_misses=_texts(entry, "near_misses", place),
    )


def _sample(sample: Mapping[str, Any], place: str) -> Sample:
    _refuse_unknown(set(sample) - {"line", "values"}, {"line", "values"}, f"{place}: sample")
    if "line" not in sample or "values" not in sample:
        raise GrammarError("a sample is { line = '...', values = { ... } }", place=Place(place))
    return Sample(_text(sample, "line", place), dict(sample["values"]))


def _tags(content: Any, file: str) -> Mapping[str, str]:
    if not isinstance(content, Mapping) or not set(content.values()) <= set(_WHOSE):
        hint = f"Write  name = 'WHOSE'  below [tags], with one of {', '.join(_WHOSE)}."
        raise GrammarError("tags do not say whose lines they are", place=Place(file), hint=hint)
    return dict(content)


def _text(content: Mapping[str, Any], key: str, place: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise GrammarError(f"{key} must be text, not {value!r}", place=Place(place))
    return value


def _texts(content: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    values = content.get(key, [])
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise GrammarError(f"{key} must be a list of texts, not {values!r}", place=Place(place))
    return tuple(values)


def _refuse_unknown(unknown: set[str], known: set[str], place: str) -> None:
    if unknown:
        raise GrammarError(
            f"unknown key {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}", place=Place(place)
        )
