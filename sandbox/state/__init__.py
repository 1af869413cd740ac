"""State of the sandbox.

`memory` is the state, `records/` are its rows, `tables` notes the rows that a request may have changed, `file` stores them; `faults`
are the rules that a test has set, and `ratelimits` counts requests.
"""
