"""Request bodies on their way to the object store and the database.

`admission` limits what arrives at once, `request_body` makes an upload durable, `segments` and `tus` do it for a body in pieces,
`group_commit` stores single posts that arrive together in one transaction, and `validation_pool` checks one document while its request waits.
"""
