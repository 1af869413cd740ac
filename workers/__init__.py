"""Stages of an invoice. Each stage is a job that carries an id and can be run again.

    intake/      reads an upload's body entry by entry; chunks are checked          received -> queued, invalid, duplicate
    sealing      makes a session of a lane's oldest invoices                        queued -> packed
    sessions/    packing; dispatch (open, store the parts, close)                   packed -> sent
                 tracking (status, receipts, refusals)                              sent -> accepted, rejected, failed
    duplicates/  originals of invoices that KSeF called duplicates                  sent -> accepted, rejected
    reconciling  invoices that KSeF has accepted and our records do not have        queued, packed, sent -> accepted
    ksef/        request limits, availability and permissions at KSeF
    delivery/    webhook deliveries
    maintenance  enqueues missing jobs, deletes expired data

Stages do not call each other (an import contract): each reads the rows that the one before has written. `tasks`
binds each to its queue, `context` holds their shared objects, `priorities` orders their jobs, `lane_due` says when a lane is sealed, `job_names`
names a job in log lines, `runtime` is one worker process.
"""
