"""Compiles the grammars when the package is built, so that nobody's first run has to: that takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledGrammars(BuildHookInterface):
    """Puts the compiled catalogue beside the grammars, from where wheel and checkout have it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - Hatch's names
        """Called before the wheel is built, an editable one too."""
        sys.path.insert(0, self.root)
        try:
            from logscope.grammar import catalogue

            catalogue.keep(Path(self.root) / "grammars")
        finally:
            sys.path.remove(self.root)
