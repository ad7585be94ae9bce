"""Reads haproxy.cfg, as far as it says what the logs will look like and who talks to whom.

Every directive is kept, known or not, with its file, line and columns. Of sections that stand for traffic
(`frontend`, `backend`, `listen`) the parts logscope needs are worked out: inherited defaults, listeners,
servers, the PROXY protocol on either side, log formats. Conditional blocks (`.if` … `.endif`) cannot be
decided from outside, so both branches are read and each directive keeps its conditions. Section numbers are
those of the configuration manual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from logscope.errors import Place
from logscope.haproxy.endpoints import Endpoint
from logscope.haproxy.log_format import ENVIRONMENT, LogFormatError, Translated, as_grammar, translate
from logscope.haproxy.proxies import Bind, Proxy, SendProxy, Server, proxies
from logscope.haproxy.sections import Directive, Reader, Section
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
    def _formats(self) -> tuple[tuple[Translated, ...], tuple[str, ...]]:
        translated: list[Translated] = []
        problems: list[str] = []
        for who, log_format, kind in (*self._formats_of_frontends(), *self._formats_of_profiles()):
            try:
                translated.append(translate(log_format, kind))
            except LogFormatError as error:
                problems.append(f"{who}: {error}")
        return tuple(translated), tuple(problems)

    def _formats_of_frontends(self) -> Iterator[tuple[str, str, str | None]]:
        for proxy in self.frontends:
            who = f"{proxy.place}: {proxy.kind} {proxy.name}"
            if proxy.log_format is not None:
                yield who, proxy.log_format, None
            if proxy.error_log_format is not None:
                yield who, proxy.error_log_format, ERROR

    def _formats_of_profiles(self) -> Iterator[tuple[str, str, str | None]]:
        """Formats of `on STEP format …` (section 8.3.5, since 3.1).

        Only what is logged at the end is a session's line; a line of another step is not another session.
        """
        found: list[tuple[int, tuple[str, str, str | None]]] = []
        for section in self.sections:
            for line in section.directives if section.kind == "log-profile" else ():
                words = line.arguments
                if line.keyword == "on" and "format" in words[1:-1]:
                    log_format = words[words.index("format", 1) + 1]
                    step = words[0]
                    kind = None if step in _AT_THE_END else ERROR if step == "error" else STEP
                    who = f"{line.place}: log-profile {section.name}"
                    found.append((step not in _AT_THE_END, (who, log_format, kind)))
        # A format of two steps is read as what it is at the end.
        yield from (entry for _, entry in sorted(found, key=lambda one: one[0]))

    @property
    def formats(self) -> tuple[Translated, ...]:
        """Every log format in use, stock ones included."""
        return self._formats[0]

    @property
    def format_problems(self) -> tuple[str, ...]:
        """Formats whose lines cannot be read, each with its place and reason."""
        return self._formats[1]

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
