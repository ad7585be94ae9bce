"""What to change for a masking verdict.

`steps` has it in words, for logs alone; `plan` makes steps with the exact lines out of the configurations
given, by way of `edits`; `chosen` says which targets need which.
"""
