"""The life of a session.

`advance` goes through the session's table of states and calls the function of each action: `dispatch` towards KSeF, `tracking` back from
it, `failures` when KSeF accepted nothing. `packing` makes the package before; `midnight` decides when a session may open. `receipts`
fetches and reads UPO pages, `ending` writes verdicts, `result` is what an action returns, `processing_times` schedules the first poll.
`ownership` lets one worker at a time advance a session.
"""
