"""The catalogue of all grammars, found, compiled and kept.

Grammars are looked for inside the package (as the wheel has them), else in the checkout beside it, and then
in the user's own directories, `$XDG_CONFIG_HOME/logscope/grammars` (by default under `~/.config`).
Compiling them takes seconds. The result is kept under a hash of every file that went into it: that of the
package's own grammars beside them since the package was built, any other in the private cache directory of
`engine`.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.errors import GrammarError, Place
from logscope.grammar import ops
from logscope.grammar.fields import SLOTS, Kind
from logscope.grammar.interpret import Machine
from logscope.grammar.model import Detail, FieldInfo, Tables, Template
from logscope.grammar.source import GrammarSource, from_mapping, read_file
from logscope.unreadable import reason

Extra: TypeAlias = Path | str | Mapping[str, Any]
"""A grammar file, or what its TOML would contain."""

_HERE = Path(__file__).parent


class Catalogue:
    """All templates, compiled, with the numbers that the scanned rows use.

    Attributes:
        templates: in the order of their ids.
        fields: in the order of their ids.
        tags: whose lines come under a name that a site chose: `haproxy` or `*` for Postfix.
        kinds: the template kinds, each once.
        kind_of: int32[templates], index into `kinds`.
        slot_of: int16[templates, fields], -1 where a template lacks the field.
        widths: int64[templates], slots of a row.
        captures: int8[fields], how a capture enters the arena (PLAIN, WIDE, INTERNED).
    """

    def __init__(self, tables: Tables, details: list[Detail] | Callable[[], list[Detail]]) -> None:
        self.templates: list[Template] = tables.templates
        self.fields: list[FieldInfo] = tables.fields
        self.enum_texts: list[str] = tables.enum_texts
        self.programs: Mapping[str, int] = tables.programs
        self.tags: Mapping[str, str] = tables.tags
        self.code, self.text, self.slot_of = tables.code, tables.text, tables.slot_of
        self.kinds: list[str] = list(dict.fromkeys(template.kind for template in self.templates))
        self._details = details
        self._ids = {info.name: info.id for info in self.fields}

    def __len__(self) -> int:
        return len(self.templates)

    def field_id(self, name: str) -> int:
        """Number of a field, -1 when no template has it."""
        return self._ids.get(name, -1)

    def enum_code(self, word: str) -> int:
        """Number of an enum word, -1 when there is none such."""
        return self.enum_texts.index(word) if word in self.enum_texts else -1

    def has_kind(self, kind: str) -> NDArray[np.bool_]:
        """bool[templates]: which templates are of a kind; one that ends in a dot names a whole program."""
        return np.array(
            [t.kind == kind or (kind.endswith(".") and t.kind.startswith(kind)) for t in self.templates],
            np.bool_,
        )

    @cached_property
    def kind_of(self) -> NDArray[np.int32]:
        """int32[templates], index into `kinds`."""
        numbers = {kind: number for number, kind in enumerate(self.kinds)}
        return np.array([numbers[template.kind] for template in self.templates], np.int32)

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """int64[templates], slots of a row."""
        slots = np.array([SLOTS[Kind(info.kind)] for info in self.fields] or [0], np.int64)
        return np.asarray(((self.slot_of >= 0) * slots).sum(axis=1), np.int64)

    @cached_property
    def captures(self) -> NDArray[np.int8]:
        """int8[fields], how a capture enters the arena."""
        how = {Kind.ADDRESS: ops.WIDE, Kind.NAME: ops.INTERNED}
        return np.array([how.get(Kind(info.kind), ops.PLAIN) for info in self.fields] or [0], np.int8)

    @cached_property
    def details(self) -> list[Detail]:
        """Syntax tree, samples and near misses of each template; read from disk when first asked for."""
        return self._details if isinstance(self._details, list) else self._details()

    @cached_property
    def machine(self) -> Machine:
        """The interpreter of this catalogue's table."""
        return Machine(self.code, self.text)


# --- finding and keeping -------------------------------------------------------------------------


def grammar_files() -> list[Path]:
    """The grammar files of the package (or checkout) and of the user."""
    return sorted(grammar_directory().glob("*.toml")) + sorted(_user_directory().glob("*.toml"))


def grammar_directory() -> Path:
    """Where the grammars of the package (or checkout) are."""
    packaged, checkout = _HERE.parent / "_grammars", _HERE.parent.parent / "grammars"
    return packaged if packaged.is_dir() else checkout


def _user_directory() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME")
    with suppress(RuntimeError):
        return (Path(configured) if configured else Path.home() / ".config") / "logscope" / "grammars"
    return Path(os.devnull)


def load(extra: Iterable[Extra] = (), files: Iterable[Path] | None = None) -> Catalogue:
    """The compiled catalogue, from disk when it was compiled before.

    Args:
        extra: more grammars: files, or what their TOML would contain.
        files: instead of the usual grammar files.

    Raises:
        GrammarError: a grammar is wrong.
    """
    paths = list(grammar_files() if files is None else files)
    extras = list(extra)
    paths += [Path(entry) for entry in extras if not isinstance(entry, Mapping)]
    mappings = [entry for entry in extras if isinstance(entry, Mapping)]
    name = _kept_name(paths, mappings)
    directory = engine.cache_directory("catalogue")
    base = directory and directory / name
    for kept in (grammar_directory() / name, base):
        catalogue = kept and _cached(kept, paths, mappings)
        if catalogue:
            return catalogue
    return _compiled(paths, mappings, base)


def keep(directory: Path) -> None:
    """Compile the grammars of a directory and put the result beside them, in the place of what was there."""
    paths = sorted(directory.glob("*.toml"))
    base = directory / _kept_name(paths, [])
    for old in set(directory.glob("catalogue-*.pickle")) - {base, _details_file(base)}:
        old.unlink()
    if not (base.exists() and _details_file(base).exists()):
        _compiled(paths, [], base)
        for written in (base, _details_file(base)):
            written.chmod(0o644)


def read_sources(paths: Iterable[Path], mappings: Iterable[Mapping[str, Any]] = ()) -> list[GrammarSource]:
    """The grammars of these files, each file once."""
    unique = {path.resolve(): path for path in paths}
    return [read_file(path) for path in unique.values()] + [
        from_mapping(entry, str(entry.get("name", "grammar"))) for entry in mappings
    ]


def _compiled(paths: list[Path], mappings: list[Mapping[str, Any]], base: Path | None) -> Catalogue:
    from logscope.grammar.build import build

    tables, details = build(read_sources(paths, mappings))
    if base is not None:
        with suppress(OSError):
            # Details first: whoever finds the tables must find them too.
            _write(_details_file(base), details)
            _write(base, tables)
    return Catalogue(tables, details)


def _cached(base: Path, paths: list[Path], mappings: list[Mapping[str, Any]]) -> Catalogue | None:
    tables: Tables | None = _read(base)

    def details() -> list[Detail]:
        kept: list[Detail] | None = _read(_details_file(base))
        return _compiled(paths, mappings, base).details if kept is None else kept

    return None if tables is None else Catalogue(tables, details)


def _read(path: Path) -> Any:
    """What was kept, or None. The directory is the package's, or private to the user (see `engine`): nobody
    else can put code there.
    """
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, ValueError, IndexError):
        return None


def _kept_name(paths: list[Path], mappings: list[Mapping[str, Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        for path in [*paths, *sorted(_HERE.rglob("*.py"))]:
            digest.update(f"\0{path.name}\0".encode())
            digest.update(path.read_bytes())
    except OSError as error:
        raise GrammarError(f"cannot be read: {reason(error)}", place=Place(str(path))) from error
    digest.update(repr(mappings).encode())
    return f"catalogue-{digest.hexdigest()}.pickle"


def _details_file(base: Path) -> Path:
    return base.with_suffix(".details.pickle")


def _write(path: Path, content: object) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)
    Path(name).replace(path)
