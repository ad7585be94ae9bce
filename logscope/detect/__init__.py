"""Tables to findings: one module for each thing that is looked for.

`masking` judges whether mail servers see their clients' addresses. Its parts: `header_lines` gathers the
lines about PROXY headers that belong to no session; `tally` counts sessions; `targets` finds the listener of
each server, with `pairing` of moments; `verdict` and `unjudged` say what follows, `remedy` what to change.
"""
