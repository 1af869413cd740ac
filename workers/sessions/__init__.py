"""The life of a session: packing, dispatch, tracking, receipts, verdicts.

`advance` goes through the session's table of states and `actions` maps each action to its function. `midnight` decides when a session
may open, `processing_times` estimates when to ask for its status first.
"""
