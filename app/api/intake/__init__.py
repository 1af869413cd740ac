"""Stores request bodies in the object store and the database.

`admission` limits the bodies and the waiting work, `arrival` the pace of one body, `request_body` makes an upload durable, `segments` and `tus` a body that is sent in pieces,
`group_commit` stores single posts that arrive together in one transaction, and `validation_pool` checks one invoice while its request waits.
"""
