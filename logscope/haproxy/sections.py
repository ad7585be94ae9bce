"""Lines of haproxy.cfg gathered into sections, nothing lost: every directive with its file, line and
columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from logscope.errors import Place, did_you_mean
from logscope.haproxy.words import ConfigError, Word, split_line


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a section.

    Attributes:
        words: keyword and arguments, with columns.
        negated: whether `no` stood in front.
        conditions: the `.if` lines it stands under, negated ones with `!` in front.
    """

    words: tuple[Word, ...]
    place: Place
    negated: bool = False
    conditions: tuple[str, ...] = ()

    @property
    def keyword(self) -> str:
        return self.words[0].text

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words[1:])

    def argument(self, number: int) -> str:
        """An argument by its number from 0; empty when there are fewer."""
        return self.words[number + 1].text if number + 1 < len(self.words) else ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section as written.

    Attributes:
        kind: `global`, `defaults`, `frontend`, `backend`, `listen`, `peers`, ….
        name: empty for sections that have none.
        base: the `defaults` it names with `from`; empty when it names none.
    """

    kind: str
    name: str
    base: str
    place: Place
    directives: tuple[Directive, ...] = ()


_SECTIONS = frozenset(
    {
        *(
            "global",
            "defaults",
            "frontend",
            "backend",
            "listen",
            "peers",
            "resolvers",
            "mailers",
            "userlist",
            "program",
        ),
        *(
            "cache",
            "ring",
            "log-forward",
            "log-profile",
            "http-errors",
            "fcgi-app",
            "crt-store",
            "traces",
            "acme",
        ),
    }
)
_MACROS = frozenset({".if", ".elif", ".else", ".endif", ".notice", ".warning", ".alert", ".diag"})
_ENVIRONMENT_WORDS = ("setenv", "presetenv")


@dataclass
class Reader:
    """Reads files one after the other.

    Attributes:
        environment: variables; `setenv` and `presetenv` of a global section add to it.
        sections: what was read so far.
        notes: variables that are not set.
    """

    environment: dict[str, str]
    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _branches: list[str] = field(default_factory=list)

    def read(self, file: str, text: str) -> None:
        """Read one file.

        Raises:
            ConfigError: a quote or `.if` is not closed, a directive stands outside of any section, or a
                section lacks its name.
        """
        self._branches = []
        began = len(self.sections)  # a file does not go on with the last section of the one before
        place = Place(file, 1)
        for number, line in enumerate(text.splitlines(), 1):
            place = Place(file, number, 1, line)
            words = split_line(line, lambda name, at=place: self._lookup(name, at), file, number)  # type: ignore[misc]
            if words:
                self._line(
                    words, replace(place, column=words[0].column, width=len(words[0].text) or 1), began
                )
        if self._branches:
            raise ConfigError(".if without .endif", place=place, hint="Add the missing .endif.")

    def _lookup(self, name: str, place: Place) -> str | None:
        if name in self.environment:
            return self.environment[name]
        builtin = {
            ".FILE": place.file,
            ".LINE": str(place.line),
            ".SECTION": self.sections[-1].kind if self.sections else "",
        }
        if name not in builtin:
            self.notes.append(f"{place}: the variable {name} is not set here; HAProxy may know it")
        return builtin.get(name)

    def _line(self, words: list[Word], place: Place, began: int) -> None:
        keyword = words[0].text
        if keyword in _MACROS:
            self._macro(words, place)
        elif keyword in _SECTIONS and not self._is_keyword_inside(keyword):
            self.sections.append(_section(words, place))
        elif len(self.sections) == began:
            hint = (
                did_you_mean(keyword, _SECTIONS)
                or "Begin with a section such as 'global' or 'frontend NAME'."
            )
            raise ConfigError(f"{keyword!r} stands before any section", place=place, hint=hint)
        else:
            self._directive(words, place)

    def _is_keyword_inside(self, keyword: str) -> bool:
        """`acme` and `cache` begin sections and are also words inside some."""
        return keyword == "acme" and bool(self.sections) and self.sections[-1].kind == "crt-store"

    def _macro(self, words: list[Word], place: Place) -> None:
        keyword, rest = words[0].text, " ".join(word.text for word in words[1:])
        if keyword == ".if":
            self._branches.append(rest)
        elif keyword in (".elif", ".else", ".endif") and not self._branches:
            raise ConfigError(
                f"{keyword} without .if", place=place, hint="Remove it, or add the .if it belongs to."
            )
        elif keyword == ".elif":
            self._branches[-1] = rest
        elif keyword == ".else":
            self._branches[-1] = f"!({self._branches[-1]})"
        elif keyword == ".endif":
            self._branches.pop()

    def _directive(self, words: list[Word], place: Place) -> None:
        negated = words[0].text == "no" and len(words) > 1
        directive = Directive(tuple(words[1:] if negated else words), place, negated, tuple(self._branches))
        section = self.sections[-1]
        self.sections[-1] = replace(section, directives=(*section.directives, directive))
        if section.kind == "global" and directive.keyword in _ENVIRONMENT_WORDS:
            self._set(directive)

    def _set(self, directive: Directive) -> None:
        name, value = directive.argument(0), directive.argument(1)
        if directive.keyword == "setenv" or name not in self.environment:
            self.environment[name] = value


def _section(words: list[Word], place: Place) -> Section:
    texts = [word.text for word in words]
    base = ""
    if "from" in texts[1:]:
        at = texts.index("from", 1)
        if at + 1 == len(texts):
            raise ConfigError(
                "'from' names no defaults section", place=place, hint="Write 'from NAME', or leave it out."
            )
        base = texts[at + 1]
        texts = texts[:at]
    name = texts[1] if len(texts) > 1 else ""
    if not name and texts[0] in ("frontend", "backend", "listen"):
        raise ConfigError(f"this {texts[0]} has no name", place=place, hint=f"Write '{texts[0]} NAME'.")
    return Section(texts[0], name, base, place)
