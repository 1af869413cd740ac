"""The control API `/_sandbox/`, with which a test or a demo reads and changes the sandbox.

`endpoints` and `trouble` have its operations, `input` reads their bodies; `fault_middleware` makes requests fail on demand and
`forced_outcomes` sets the results of logins and certificate requests.
"""
