"""A live run's stage as bytes, open sessions included, so that another process can go on with it.

The objects are pickled. What follows from the grammars, and buffers, which hold nothing between two moves,
are left out and made anew; inputs are attached again by `Live.go_on`.

Bytes are only as good as the code that wrote them: `key` names the code and the grammars, and whoever keeps
the bytes keeps the key beside them. They are read from a directory that only the user can write to, and
nothing but logscope's own and numeric types is made of them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.inputs import Plans
from logscope.correlate.join import Joiner
from logscope.correlate.tables import HEAP_TOP, TOP
from logscope.errors import InputError
from logscope.grammar.catalogue import Catalogue
from logscope.live import Live
from logscope.pipeline import Options
from logscope.store.packing import packed, unpacked

_PACKAGE = Path(__file__).resolve().parent.parent
_TRUSTED = ("logscope", "numpy", "pyarrow", "zoneinfo", "datetime", "collections")
_BUILTINS = {"set", "frozenset", "bytearray", "slice", "range", "complex", "object", "getattr"}


def key(catalogue: Catalogue, options: Options, wanted: str = "") -> str:
    """What bytes have to come from to be of use: the same code, grammars, options and wishes."""
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(repr((catalogue.kinds, [info.name for info in catalogue.fields])).encode())
    digest.update(catalogue.slot_of.tobytes() + wanted.encode())
    digest.update(pickle.dumps((options.zones, options.year, sorted(options.balancers), options.envelope)))
    return digest.hexdigest()


def frozen(live: Live) -> bytes:
    """A stage as bytes, between two of its moves."""
    stream = io.BytesIO()
    _Freezer(stream, live.catalogue).dump(live)
    return packed(stream.getbuffer())


def thawed(data: bytes, catalogue: Catalogue) -> Live:
    """The stage that bytes were made of; `Live.go_on` gives it its inputs.

    Raises:
        InputError: these are no such bytes.
    """
    try:
        live = _Thawer(io.BytesIO(unpacked(data)), catalogue).load()
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise InputError(f"the state cannot be read: {error}") from None
    assert isinstance(live, Live)
    return live


class _Freezer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, catalogue: Catalogue) -> None:
        super().__init__(stream, protocol=5)
        self._catalogue = catalogue

    def persistent_id(self, obj: Any) -> str | None:
        """The catalogue is not written; the reader has it."""
        return "catalogue" if obj is self._catalogue else None

    def reducer_override(self, obj: Any) -> Any:
        """What follows from the catalogue is made of it anew; of memory, what is in use is kept."""
        if isinstance(obj, Plans):
            return Plans, (self._catalogue,)
        if isinstance(obj, Joiner):
            rest = obj.without_room()
            memory, heap = rest.pop("_memory"), rest.pop("heap")
            used = np.array(memory[: memory[TOP]], np.int64)  # a list, in plain Python
            return _joiner, (used, len(memory), heap[: memory[HEAP_TOP]].copy(), len(heap), rest)
        return NotImplemented


class _Thawer(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, catalogue: Catalogue) -> None:
        super().__init__(stream)
        self._catalogue = catalogue

    def persistent_load(self, _pid: Any) -> Catalogue:
        return self._catalogue

    def find_class(self, module: str, name: str) -> Any:
        """Names that bytes of ours can hold."""
        trusted = module.partition(".")[0] in _TRUSTED or (module == "builtins" and name in _BUILTINS)
        if not trusted:
            raise pickle.UnpicklingError(f"{module}.{name} is nothing that was kept")
        return super().find_class(module, name)


def _joiner(
    used: NDArray[np.int64], words: int, text: NDArray[np.uint8], room: int, rest: dict[str, Any]
) -> Joiner:
    """A joiner with memory as large as it was, of which the beginning is in use."""
    joiner = Joiner.__new__(Joiner)
    vars(joiner).update(rest)
    memory, joiner.heap = np.zeros(words, np.int64), np.zeros(room, np.uint8)
    memory[: len(used)], joiner.heap[: len(text)] = used, text
    joiner._memory = memory if joiner._machine_code else memory.tolist()
    return joiner
