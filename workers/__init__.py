"""The stages of an invoice. Each stage is a job that carries an id and can be run again.

    intake/      an upload's body is read entry by entry; chunks are checked        received -> queued, invalid, duplicate
    sealing      a lane's oldest invoices become a session                          queued -> packed
    sessions/    packing; dispatch (open, store the parts, close)                   packed -> sent
                 tracking (status, receipts, refusals)                              sent -> accepted, rejected, failed
    ksef/        request limits, availability and permissions at KSeF
    delivery/    webhook deliveries
    maintenance  missing jobs are enqueued, expired data is deleted

Stages meet in the rows. `tasks` binds each to its queue, `context` is what they share, `runtime` is one worker process.
"""
