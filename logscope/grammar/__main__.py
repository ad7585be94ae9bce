"""`python -m logscope.grammar check [FILE...]`: the self test of the grammars; exit code 1 when something
is wrong.
"""

from __future__ import annotations

import sys

from logscope.grammar.check import check


def main(arguments: list[str]) -> int:
    """Run the self test and print what is wrong."""
    if arguments[:1] != ["check"]:
        print("usage: python -m logscope.grammar check [FILE...]", file=sys.stderr)
        return 2
    problems = check(arguments[1:])
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems" if problems else "no problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
