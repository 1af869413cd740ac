"""Uploads, chunks and invoices.

`uploads` and `resumable` are request bodies, `singles` are invoices posted one by one, `chunks` are checked invoices, `claims` find
duplicates, `late_invoices` wait for a decision of the tenant, `state_counts` keeps counts by state, `admission` limits what is stored.
"""
