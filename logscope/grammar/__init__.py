"""Grammars of log lines: a template language with two directions, and the engines that run it.

`catalogue.load()` gives the compiled grammars, `scan.Scanner` turns bytes into rows, `render` writes lines,
`reference` and `explain` say why a line does not match, `check` is the self test.
"""
