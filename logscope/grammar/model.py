"""What a compiled catalogue consists of: plain values that can be kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from logscope.grammar.source import Sample
from logscope.grammar.syntax import Sequence

ENVELOPE: Final = "envelope"
"""The program of what stands before a message."""
ONE_ENVELOPE: Final = "envelope {}"
"""The templates of one kind of envelope, `envelope.bsd` and `envelope.bsd_repeated` under `bsd`."""
RAW: Final = "raw"
"""The kind of envelope that is none."""
HAPROXY: Final = "haproxy"
ANY_POSTFIX: Final = "*"
"""The program tried after a Postfix daemon's own."""
SESSION: Final = "haproxy session"
"""HAProxy's lines about one client, tried under tags that are no known program (`log-tag`)."""

STRUCTURED: Final = "haproxy structured data"
"""Lines of HAProxy whose structured data have fields of their own (`log-format-sd`): matched from there
on.
"""

REST: Final = "{} (rest)"
"""The catch-alls of a program (`structured = false`), tried when nothing else matched."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template of the catalogue.

    Attributes:
        structured: whether every part that varies is a typed field.
        types: field name to its type and arguments in this template.
    """

    id: int
    kind: str
    grammar: str
    file: str
    programs: tuple[str, ...]
    text: str
    since: str
    until: str
    severity: str
    source: str
    structured: bool
    types: Mapping[str, tuple[str, tuple[str, ...]]]

    @property
    def fields(self) -> tuple[str, ...]:
        """Field names in the order of the text."""
        return tuple(self.types)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field name: its number, its kind of value, and the first type it was written with."""

    id: int
    name: str
    kind: str
    type: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What only writing, testing and explaining need to know about a template."""

    sequence: Sequence
    samples: tuple[Sample, ...]
    near_misses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """The compiled form of all grammars.

    Attributes:
        programs: program name to the word of `code` where its templates begin.
        slot_of: int16[templates, fields], slot of a field in the arena row of a template, -1 when it has
            none.
        tags: whose lines come under a name that a site chose (see `source`).
    """

    templates: list[Template]
    fields: list[FieldInfo]
    enum_texts: list[str]
    programs: Mapping[str, int]
    code: NDArray[np.int32]
    text: NDArray[np.uint8]
    slot_of: NDArray[np.int16]
    tags: Mapping[str, str]
