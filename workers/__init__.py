"""The journey of an invoice, a stage a module. Each stage is a job that carries an id and can be run again.

    intake       an upload's body is read entry by entry; chunks go to the pool     received -> queued, invalid, duplicate
    singles      the same for invoices that were posted one by one
    pool         processes that check, hash and compress, a chunk a call (`checking`)
    sealing      a lane's oldest invoices become a session                          queued -> packed
    packing      ready entries are spliced, cut into parts and encrypted
    dispatch     open, store the parts, close                                       packed -> sent
    tracking     status, receipts, refusals; `looks` says when to look first        sent -> accepted, rejected, failed
    session      the shell that goes through the session's table; `stages` says which function performs which action
    receipts     UPO pages fetched, verified and kept; `verdicts` ends a session in one transaction
    midnight     who may open now, and what is noted of those that missed their day
    quota        every request is counted before it leaves; what must wait gives its slot back
    permissions  what KSeF lets each tenant send is asked now and then, so that intake need not ask
    outage       sending pauses while KSeF is away, by what every request tells (`watch`)
    webhooks     what happened is told (`event_bodies`), and `attempts` says what follows; `replay` makes due again what was missed
    maintenance  what was left lying is taken up again; what is no longer needed goes

Stages do not call each other: they meet in the rows, and `tasks` binds each to its queue. `runtime` is one worker process,
`supervisor` a whole service on one machine.
"""
