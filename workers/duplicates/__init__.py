"""Invoices that KSeF called duplicates (440): the search for their originals, one kind of evidence after the other.

`originals` is the job of a tenant and gives the order. `sessions` asks for receipts and reads lists of sessions, `repository` asks for
metadata and documents, `receipts` fetches receipts of single invoices. `search` keeps what is still open.
"""
