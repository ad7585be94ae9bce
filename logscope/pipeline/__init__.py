"""The wiring: inputs through scanner, clocks and joins to finished sessions."""

from __future__ import annotations

from logscope.pipeline.beginnings import clocks, heads, references
from logscope.pipeline.engines import can_keep_machine_code, has_machine_code, wants_machine_code
from logscope.pipeline.extractor import Extractor
from logscope.pipeline.feed import SMALL_CHUNK, Chunk, Cut, Feed, Scanned, chunk_size, input_buffer
from logscope.pipeline.options import Counts, Input, Options
from logscope.pipeline.order import RunningOrder
from logscope.pipeline.run import JOIN_CLASSES, Pipeline, Result, run, text_of

__all__ = [
    "JOIN_CLASSES", "SMALL_CHUNK", "Chunk", "Counts", "Cut", "Extractor", "Feed", "Input", "Options",
    "Pipeline", "Result", "RunningOrder", "Scanned", "can_keep_machine_code", "chunk_size", "clocks",
    "has_machine_code", "heads", "input_buffer", "references", "run", "text_of", "wants_machine_code",
]  # fmt: skip
