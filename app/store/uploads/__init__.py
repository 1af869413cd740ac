"""Storage of uploads, chunks and invoices.

`uploads` and `resumable` are request bodies, `singles` are invoices posted one by one, `chunks` are checked invoices, `claims` find
duplicates, `late_invoices` await a decision of the tenant, `state_counts` keeps counts by state, `admission` counts the backlog.
"""
