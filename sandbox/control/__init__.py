"""`/_sandbox/`: what a test or a demo may see and do that a taxpayer may not.

`endpoints` and `trouble` are the calls, `input` reads their bodies; `faults` and `fault_middleware` break requests on demand,
`session_scripts` and `forced_outcomes` decide how sessions, logins and certificate requests end.
"""
