"""Tables to findings: one module for each thing that is looked for.

`masking` judges whether mail servers see their clients' addresses. What it is given: `tally` counts sessions
(`sample` and `timeline` keep when they were), `signals` gathers what no session tells, lines about PROXY
headers (`header_lines`) among it. What it makes of them: `targets` finds the listener of each server, with
`company` and `pairing` for sessions that were not joined; `verdict` and `unjudged` say what follows, `states`
since when, `remedy` what to change.
"""
