"""Reads haproxy.cfg, as far as it says what the logs will look like and who talks to whom.

Every directive is kept, known or not, with its file, line and columns. Of sections that stand for traffic
(`frontend`, `backend`, `listen`) the parts logscope needs are worked out: inherited defaults, listeners,
servers, the PROXY protocol on either side, log formats. Conditional blocks (`.if` … `.endif`) cannot be
decided from outside, so both branches are read and each directive keeps its conditions. Section numbers are
those of the configuration manual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from logscope.errors import Place
from logscope.haproxy.endpoints import Endpoint
from logscope.haproxy.format_items import LogFormatError
from logscope.haproxy.log_format import (
    Translated,
    as_grammar,
    translate,
    with_structured_data,
)
from logscope.haproxy.proxies import NO_DATA, Bind, Proxy, SendProxy, Server, proxies
from logscope.haproxy.sections import Directive, Reader, Section
from logscope.haproxy.stock_formats import ENVIRONMENT
from logscope.haproxy.words import ConfigError

__all__ = [
    "Bind",
    "Config",
    "ConfigError",
    "Directive",
    "Endpoint",
    "Proxy",
    "Section",
    "SendProxy",
    "Server",
    "read",
    "read_texts",
]


ERROR = "haproxy.connection_error"
STEP = "haproxy.session_step"
"""The kind of a line that a log profile has written before the session's end."""

_AT_THE_END = ("close", "any")


@dataclass(frozen=True, slots=True)
class _Format:
    """A format of a configuration, who has it, and what its lines are."""

    who: str
    log_format: str | None
    structured_format: str | None
    kind: str | None = None


def _behind(words: Sequence[str], keyword: str) -> str | None:
    """The argument of one of several `keyword argument` pairs."""
    return dict(zip(words[::2], words[1::2], strict=False)).get(keyword)


@dataclass(frozen=True)
class Config:
    """A configuration.

    Attributes:
        sections: all of them in the order of the files.
        proxies: frontends, backends and listens.
        notes: what could not be worked out, for people: variables that are not set, formats that cannot be
            read.
    """

    sections: tuple[Section, ...]
    proxies: tuple[Proxy, ...]
    notes: tuple[str, ...] = ()

    @property
    def frontends(self) -> tuple[Proxy, ...]:
        return tuple(proxy for proxy in self.proxies if proxy.is_frontend)

    @property
    def backends(self) -> tuple[Proxy, ...]:
        """Proxies that have servers to choose from."""
        return tuple(proxy for proxy in self.proxies if proxy.kind in ("backend", "listen"))

    def servers_of(self, frontend: Proxy) -> Iterator[tuple[Proxy, Server]]:
        """The servers a frontend's clients may be sent to, each with its backend."""
        names = (*frontend.backends, *([frontend.name] if frontend.kind == "listen" else []))
        for proxy in self.backends:
            if proxy.name in names:
                for server in proxy.servers:
                    yield proxy, server

    @property
    def source_addresses(self) -> frozenset[str]:
        """Addresses of its own that the configuration connects from; where none is set the system chooses."""
        sources = (server.source for proxy in self.backends for server in proxy.servers)
        return frozenset(source.address for source in sources if source and source.address)

    @cached_property
    def _formats(self) -> tuple[tuple[Translated, ...], tuple[Translated, ...], tuple[str, ...]]:
        plain: list[Translated] = []
        structured: list[Translated] = []
        problems: list[str] = []
        for entry in (*self._formats_of_frontends(), *self._formats_of_profiles()):
            try:
                if entry.log_format is not None:
                    plain.append(translate(entry.log_format, entry.kind))
                if entry.structured_format is not None:
                    # A message that says nothing is left out, or was never there.
                    plain.append(with_structured_data("", entry.structured_format, entry.kind))
                    structured.append(
                        with_structured_data(entry.log_format or "-", entry.structured_format, entry.kind)
                    )
            except LogFormatError as error:
                problems.append(f"{entry.who}: {error}")
        return tuple(plain), tuple(structured), tuple(problems)

    def _formats_of_frontends(self) -> Iterator[_Format]:
        for proxy in self.frontends:
            who = f"{proxy.place}: {proxy.kind} {proxy.name}"
            structured = proxy.structured_format
            if proxy.log_format is not None or structured is not None:
                yield _Format(who, proxy.log_format, structured)
            if proxy.error_log_format is not None:
                yield _Format(who, proxy.error_log_format, structured, ERROR)

    def _formats_of_profiles(self) -> Iterator[_Format]:
        """Formats of `on STEP format … sd …` (section 8.3.5, since 3.1).

        Only what is logged at the end is a session's line; a line of another step is not another session.
        """
        found: list[tuple[int, _Format]] = []
        for section in self.sections:
            for line in section.directives if section.kind == "log-profile" else ():
                if line.keyword != "on" or not line.arguments:
                    continue
                step, *words = line.arguments
                log_format, structured = _behind(words, "format"), _behind(words, "sd")
                structured = None if structured == NO_DATA else structured
                if log_format is not None or structured is not None:
                    kind = None if step in _AT_THE_END else ERROR if step == "error" else STEP
                    who = f"{line.place}: log-profile {section.name}"
                    entry = _Format(who, log_format, structured, kind)
                    found.append((step not in _AT_THE_END, entry))
        # A format of two steps is read as what it is at the end.
        yield from (entry for _, entry in sorted(found, key=lambda one: one[0]))

    @property
    def formats(self) -> tuple[Translated, ...]:
        """Every log format in use, stock ones included."""
        return self._formats[0]

    @property
    def structured_formats(self) -> tuple[Translated, ...]:
        """The formats before which structured data stand (`log-format-sd`), both as one template."""
        return self._formats[1]

    @property
    def format_problems(self) -> tuple[str, ...]:
        """Formats whose lines cannot be read, each with its place and reason."""
        return self._formats[2]

    @property
    def grammar(self) -> dict[str, object]:
        """The formats as a grammar, for `logscope.grammar.catalogue.load(extra=[…])`."""
        return as_grammar(self.formats)


def read(paths: Iterable[Path], environment: Mapping[str, str] | None = None) -> Config:
    """Read configuration files as HAProxy does with several `-f`: one after the other, defaults included.

    Raises:
        ConfigError: a file cannot be read, or HAProxy would refuse it for its structure.
    """
    texts = []
    for path in paths:
        try:
            texts.append((str(path), path.read_text("utf-8", "surrogateescape")))
        except OSError as error:
            hint = "Name the file that HAProxy was started with (-f)."
            raise ConfigError(
                f"cannot be read: {error.strerror}", place=Place(str(path)), hint=hint
            ) from error
    return read_texts(texts, environment)


def read_texts(texts: Iterable[tuple[str, str]], environment: Mapping[str, str] | None = None) -> Config:
    """Read configurations given as (file name, content)."""
    reader = Reader(dict(ENVIRONMENT) | dict(environment or {}))
    for file, text in texts:
        reader.read(file, text)
    sections = tuple(reader.sections)
    return Config(sections, tuple(proxies(sections)), tuple(reader.notes))
