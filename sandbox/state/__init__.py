"""Everything that the sandbox remembers.

`memory` is the state, `records/` are its rows, `tables` notes which of them a request changed, `file` keeps them; `faults` are the rules
that a test has set, and `ratelimits` counts requests.
"""
