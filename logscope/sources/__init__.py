"""The inputs: files in any mix, plain or compressed, patterns, rotated series, pipes and standard input."""

from logscope.sources.buffers import CHUNK_SIZE, PADDING, BufferPool, grown, new_buffer
from logscope.sources.find import Inputs, open_inputs, usual_files
from logscope.sources.source import Source

__all__ = [
    "CHUNK_SIZE",
    "PADDING",
    "BufferPool",
    "Inputs",
    "Source",
    "grown",
    "new_buffer",
    "open_inputs",
    "usual_files",
]
