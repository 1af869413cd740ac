"""Everything that the sandbox remembers.

`memory` is the state, `records/` are its rows, `tables` notes which of them a request changed, `file` keeps them; `context_limits` and
`ratelimits` are the limits of a context.
"""
