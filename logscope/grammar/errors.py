"""What can be wrong with a grammar file, said so that its author knows where and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from logscope.errors import GrammarError, LogscopeError, Place


class TemplateError(GrammarError):
    """A template whose text cannot be understood or whose fields cannot be told apart."""

    def __init__(self, problem: str, text: str = "", column: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.text = text
        self.column = column

    def placed(self, place: str) -> GrammarError:
        """The same error with the file and the template's kind in front, and the text with a pointer
        below.
        """
        where = f"{place}: column {self.column}" if self.column else place
        pointer = f"{self.text}\n{' ' * (self.column - 1)}^" if self.column and self.text else None
        return GrammarError(self.problem, place=Place(where), hint=pointer)


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure found by the self test of a grammar.

    `kind` is the template's kind, `what` names the test that failed, `detail` says what differed.
    """

    file: str
    kind: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: {self.what}\n    " + self.detail.replace("\n", "\n    ")


class RenderError(LogscopeError):
    """Values that a template cannot be written with."""
