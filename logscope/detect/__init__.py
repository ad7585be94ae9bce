"""Tables to findings: one module for each thing that is looked for.

`masking` judges whether mail servers see their clients' addresses. What it is given: `tally` counts
sessions (`sample` and `timeline` keep when they were, `effects` what was done to them), `signals` gathers
what no session tells, lines about PROXY headers (`header_lines`) and about addresses (`address_lines`)
among it. What it makes of them: `targets` finds the listener of each server, with `company` and `pairing`
for sessions that were not joined; `verdict` and `unjudged` say what follows, `states` since when,
`configured` what the configurations say of it, `consequences` (with `relayed`) what was decided on the
wrong address, `signs` what else is to be seen there, `recovered` who the clients were, `migration` how much
is visible in time, and `remedies` what to change.
"""
