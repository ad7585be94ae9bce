"""Tables to findings: one module for each thing that is looked for.

`masking` judges whether mail servers see their clients' addresses; `header_lines` gathers the lines about PROXY headers
that belong to no session; `tally` counts sessions by target; `pairing` compares when they started; `remedy` says what to change.
"""
