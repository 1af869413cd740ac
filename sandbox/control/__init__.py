"""`/_sandbox/`: what a test or a demo may see and do that a taxpayer may not.

`endpoints` and `trouble` are the calls, `input` reads their bodies; `fault_middleware` breaks requests on demand and `forced_outcomes`
decides how logins and certificate requests end.
"""
