"""Grammars of log lines: a template language with two directions, and the engines that run it.

catalogue.load()                                     all grammars, compiled; from disk after the first time
scan.Scanner(catalogue).scan(buffer, start, end)     rows.Rows: one entry for each line
render.render_kind(catalogue, kind, values)          a line, as the relay writes it
columns.ColumnWriter(catalogue)                      lines by the million, as the simulator writes them
explain.explain(line, catalogue)                     what matched, or how far which templates came
check.check(paths)                                   the self test, also `python -m logscope.grammar check`
"""
