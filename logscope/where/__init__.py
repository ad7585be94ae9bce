"""Which rows are wanted, said in words: `client in 203.0.113.0/24 and outcome = rejected and duration > 5s`.

    condition   =  and-group { "or" and-group }
    and-group   =  part { "and" part }
    part        =  { "not" } ( "(" condition ")" | column [ test ] )
    test        =  ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
                |  [ "not" ] "in" value | [ "not" ] "in" "(" value { "," value } ")"
                |  [ "not" ] "contains" value | [ "not" ] "matches" value | "is" [ "not" ] "null"

A column is one of the table's. What its name says of the unit may be left out (`duration` for `duration_ms`,
`client` for `client_address`), and then the value has one: `5s`, `10M`. A column alone is true where it is
(`masked`). Of a list the test is true if it is of any of its values (`screen_tests = dnsbl`), a part of these
is named with a dot (`rejects.code = 554`), and so is one of the commands (`commands.auth > 3`, those refused
included). `contains` does not mind capitals, `matches` takes a regular expression.

What is not known equals nothing and is neither more nor less: a test of it is false, and `not`, `!=` and
`not in` are the opposite of their test, so true.

`syntax` reads the words, `names` and `values` give them a meaning in a table, `evaluate` looks at its
columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from logscope.where.names import Columns
from logscope.where.syntax import parse
from logscope.where.values import Meaning

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.where.evaluate import Mask
    from logscope.where.model import Formula

__all__ = ["Columns", "Condition", "condition"]


@dataclass(frozen=True)
class Condition:
    """Which rows of a table are wanted.

    Attributes:
        formula: what has to hold.
        columns: those that it looks at.
    """

    formula: Formula
    columns: tuple[str, ...]

    def select(self, batch: pa.RecordBatch, always: Mask | None = None) -> pa.RecordBatch:
        """The rows of a batch that are wanted; a column that it lacks is unknown in all of them.

        Args:
            always: rows that are, whatever the condition says.
        """
        import pyarrow as pa

        from logscope.where.evaluate import holds

        wanted = holds(self.formula, batch)
        return batch.filter(pa.array(wanted if always is None else wanted | always))


def condition(text: str, columns: Columns, moment: Callable[[str], int]) -> Condition:
    """What a text asks of a table.

    Args:
        text: in the language above.
        columns: of the table.
        moment: what a time means, as nanoseconds since 1970; raises `UsageError` for what is none.

    Raises:
        UsageError: it makes no sense, with the column where.
    """
    meaning = Meaning(text, columns, moment)
    formula = meaning.formula(parse(text))
    return Condition(formula, tuple(meaning.used))
